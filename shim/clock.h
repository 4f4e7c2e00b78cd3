/* SPDX-License-Identifier: Apache-2.0
 * clock.h - Unix time anchored to the monotonic clock, so that a span's end >= its start whatever the wall
 * clock does.
 */
#ifndef FORKSPAN_CLOCK_H
#define FORKSPAN_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* What to add to CLOCK_MONOTONIC to have Unix time, and when that was found out. Looked at again after a
 * tenth of a second: a wall clock that is set is followed by later spans, never within one. */
struct clock_anchor {
    _Atomic uint64_t offset, at;
};
extern struct clock_anchor clock_anchor;

/* Compares the clocks and keeps what it finds. */
void clock_anchor_renew(uint64_t monotonic);

/* The Unix time of a moment just read from CLOCK_MONOTONIC. Any thread, any handler: two that renew the
 * anchor at once store nearly the same numbers. */
static inline uint64_t clock_unix_ns(uint64_t monotonic)
{
    if (__builtin_expect(
            monotonic - atomic_load_explicit(&clock_anchor.at, memory_order_relaxed) > 100000000u, 0))
        clock_anchor_renew(monotonic);
    return monotonic + atomic_load_explicit(&clock_anchor.offset, memory_order_relaxed);
}

#endif
