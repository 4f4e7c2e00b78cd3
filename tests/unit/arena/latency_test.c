/* SPDX-License-Identifier: Apache-2.0 */
#include "../../random64.h"
#include "arena/latency.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(latency, everything_falls_into_the_bucket_that_holds_it)
{
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
        cr_assert_eq(latency_bucket(latency_least(b)), b);
        cr_assert_eq(latency_bucket(latency_least(b + 1) - 1), b);
        cr_assert_lt(latency_least(b), latency_least(b + 1));
    }
    cr_assert_eq(latency_bucket(0), 0);
    cr_assert_eq(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
    cr_assert_gt(latency_least(LATENCY_BUCKETS), UINT64_C(30) * 60 * 1000000000, "half an hour");
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

Test(latency, quantiles_are_a_sixteenth_wrong_at_most)
{
    enum { N = 5000 };
    static uint64_t took[N];
    static _Atomic uint64_t shared[LATENCY_BUCKETS];
    for (int round = 0; round < 20; round++) {
        uint64_t buckets[LATENCY_BUCKETS] = {0};
        latency_clear(shared);
        for (int i = 0; i < N; i++) {
            took[i] = 1000 + random64() % (UINT64_C(1) << (10 + random64() % 30));
            latency_add(shared, took[i]);
        }
        qsort(took, N, sizeof *took, by_value);
        latency_sum(buckets, shared);
        cr_assert_eq(latency_count(buckets), N);
        static const double wanted[] = {0.001, 0.5, 0.95, 0.99, 1};
        for (size_t q = 0; q < sizeof wanted / sizeof *wanted; q++) {
            double is = (double)took[(int)(wanted[q] * N) - 1];
            double told = (double)latency_quantile(buckets, wanted[q]);
            cr_assert(told > is * 0.93 - 128 && told < is * 1.07 + 128, "%g: %g is told as %g", wanted[q], is,
                      told);
        }
    }
}

Test(latency, nothing_has_no_quantile)
{
    uint64_t none[LATENCY_BUCKETS] = {0};
    cr_assert_eq(latency_quantile(none, 0.5), 0);
    none[0] = 1;
    cr_assert_eq(latency_quantile(none, 0.99), 64);
}

Test(latency, what_is_moved_is_in_one_place)
{
    static _Atomic uint64_t from[LATENCY_BUCKETS], to[LATENCY_BUCKETS];
    uint64_t sum[LATENCY_BUCKETS] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        latency_add(from, i * i * 1000);
        latency_add(to, i * 100);
    }
    latency_move(to, from);
    latency_sum(sum, from);
    cr_assert_eq(latency_count(sum), 0);
    latency_sum(sum, to);
    cr_assert_eq(latency_count(sum), 2000);
}
