/* SPDX-License-Identifier: Apache-2.0
 *
 * The samplers of the configuration, and what is set over them while a server runs.
 */
#include "arena/sampling.h"
#include "span/sampler.h"

#include <criterion/criterion.h>
#include <string.h>

/* A trace id whose halved low 64 bits are this part of 2^63. */
static const uint8_t *trace_at(double part)
{
    static uint8_t id[16];
    uint64_t low = (uint64_t)(part * 9223372036854775808.0) << 1;
    for (int i = 0; i < 8; i++)
        id[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    return id;
}

static bool keeps(const struct config *c, const struct sampling *s, const char *parent, double at)
{
    struct span_context p = {.valid = parent != NULL, .flags = parent && *parent == '1' ? TRACE_SAMPLED : 0};
    return sampler_decide(c, s ? sampling_write(s) : 0, &p, trace_at(at));
}

static const struct config on = {.sampler = SAMPLER_ALWAYS_ON}, off = {.sampler = SAMPLER_ALWAYS_OFF},
                           tenth = {.sampler = SAMPLER_RATIO, .ratio = 0.1},
                           parent_on = {.sampler = SAMPLER_ALWAYS_ON, .parent_based = true},
                           parent_off = {.sampler = SAMPLER_ALWAYS_OFF, .parent_based = true};

Test(sampler, nothing_set)
{
    cr_assert(keeps(&on, NULL, NULL, 0.5) && !keeps(&off, NULL, NULL, 0.5));
    cr_assert(keeps(&tenth, NULL, NULL, 0.09) && !keeps(&tenth, NULL, NULL, 0.11));
    cr_assert(keeps(&parent_off, NULL, "1", 0.5) && !keeps(&parent_off, NULL, NULL, 0.5));
    cr_assert(!keeps(&parent_on, NULL, "0", 0.5) && keeps(&parent_on, NULL, NULL, 0.5));
}

Test(sampler, turned_off_whatever_the_parent_says)
{
    const struct sampling set = {.off = true}, both = {.off = true, .by_ratio = true, .ratio = 1};
    const struct config *all[] = {&on, &off, &tenth, &parent_on, &parent_off};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        cr_assert(!keeps(all[i], &set, NULL, 0) && !keeps(all[i], &set, "1", 0), "%zu", i);
        cr_assert(!keeps(all[i], &both, NULL, 0) && !keeps(all[i], &both, "1", 0), "%zu", i);
    }
}

Test(sampler, a_ratio_is_in_the_place_of_the_root_sampler)
{
    const struct sampling half = {.by_ratio = true, .ratio = 0.5}, none = {.by_ratio = true},
                          all = {.by_ratio = true, .ratio = 1};
    const struct config *any[] = {&on, &off, &tenth, &parent_on, &parent_off};
    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++) {
        cr_assert(keeps(any[i], &half, NULL, 0.49) && !keeps(any[i], &half, NULL, 0.51), "%zu", i);
        cr_assert(!keeps(any[i], &none, NULL, 0) && keeps(any[i], &all, NULL, 0.999999), "%zu", i);
        /* a parent decides where the configured sampler asks it, and only there */
        cr_assert_eq(keeps(any[i], &none, "1", 0.1), any[i]->parent_based, "%zu", i);
        cr_assert_eq(keeps(any[i], &all, "0", 0.1), !any[i]->parent_based, "%zu", i);
    }
}

Test(sampling, what_is_written_is_read)
{
    const double ratios[] = {0, 1e-12, 0.000001, 0.1, 1.0 / 3, 0.5, 0.999999, 1};
    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++)
        for (int k = 0; k < 4; k++) {
            const struct sampling in = {.off = k & 1, .by_ratio = k & 2, .ratio = ratios[i]};
            struct sampling out;
            uint64_t word = sampling_write(&in);
            cr_assert_eq(sampling_read(word, &out), k != 0);
            cr_assert(out.off == in.off && out.by_ratio == in.by_ratio);
            cr_assert_float_eq(out.ratio, k & 2 ? in.ratio : 1, 3e-10);
            cr_assert(!(k & 2) || (out.ratio > 0) == (in.ratio > 0)); /* little is not nothing */
            cr_assert_eq(sampling_off(word), in.off);
        }
}

Test(sampling, what_was_written_over_sets_nothing)
{
    uint64_t good = sampling_write(&(struct sampling){.off = true, .by_ratio = true, .ratio = 0.5});
    struct sampling out;
    for (int bit = 42; bit < 64; bit++) {
        cr_assert(!sampling_read(good ^ UINT64_C(1) << bit, &out) && !out.off && !out.by_ratio, "%d", bit);
        cr_assert(!sampling_off(good ^ UINT64_C(1) << bit));
        cr_assert(keeps(&on, NULL, NULL, 0.5) &&
                  sampler_decide(&on, good ^ UINT64_C(1) << bit, NULL, trace_at(0.5)));
    }
    cr_assert(!sampling_read(UINT64_MAX, &out) && !sampling_read(0, &out) && !sampling_read(1, &out));
    cr_assert(!sampling_read(SAMPLING_MARK | SAMPLING_BY_RATIO | (SAMPLING_ONE + 1), &out)); /* more than 1 */
}
