/* SPDX-License-Identifier: Apache-2.0
 * sampling.h - what is set for a running server, in one word of its arena (`forkspan status --set`).
 *
 * 0: nothing is set, the configuration holds. Else a mark and what is set; a word that is not of this form
 * was written over, and nothing is set. Pure functions.
 */
#ifndef FORKSPAN_ARENA_SAMPLING_H
#define FORKSPAN_ARENA_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

struct sampling {
    bool off;      /* no new span */
    bool by_ratio; /* `ratio`, from 0 to 1, is in the place of the configured root sampler */
    double ratio;
};

#define SAMPLING_MARK UINT64_C(0x5a30000000000000)
#define SAMPLING_OFF (UINT64_C(1) << 40)
#define SAMPLING_BY_RATIO (UINT64_C(1) << 41)
#define SAMPLING_ONE (UINT64_C(1) << 32) /* the ratio 1; it is in the bits from here down */
#define SAMPLING_RATIO (2 * SAMPLING_ONE - 1)

/* False, and nothing set, where the word is 0 or was written over. */
static inline bool sampling_read(uint64_t word, struct sampling *out)
{
    *out = (struct sampling){.ratio = 1};
    const uint64_t known = SAMPLING_OFF | SAMPLING_BY_RATIO | SAMPLING_RATIO;
    if ((word & ~known) != SAMPLING_MARK || (word & SAMPLING_RATIO) > SAMPLING_ONE)
        return false;
    out->off = word & SAMPLING_OFF;
    out->by_ratio = word & SAMPLING_BY_RATIO;
    if (out->by_ratio)
        out->ratio = (double)(word & SAMPLING_RATIO) / (double)SAMPLING_ONE;
    return true;
}

static inline uint64_t sampling_write(const struct sampling *s)
{
    if (!s->off && !s->by_ratio)
        return 0;
    uint64_t ratio = s->by_ratio ? (uint64_t)(s->ratio * (double)SAMPLING_ONE + 0.5) : 0;
    if (ratio == 0 && s->by_ratio && s->ratio > 0)
        ratio = 1; /* little is not nothing */
    return SAMPLING_MARK | (s->off ? SAMPLING_OFF : 0) | (s->by_ratio ? SAMPLING_BY_RATIO : 0) | ratio;
}

static inline bool sampling_off(uint64_t word)
{
    struct sampling s;
    return word != 0 && sampling_read(word, &s) && s.off;
}

#endif
