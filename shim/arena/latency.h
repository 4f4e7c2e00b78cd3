/* SPDX-License-Identifier: Apache-2.0
 * latency.h - how long requests took, in buckets of a log scale: eight a doubling, so that what is read out
 * is at most a sixteenth wrong. From 128 ns steps to 36 minutes; what is longer counts as that.
 *
 * To add is one relaxed addition, from any process, thread or signal handler. What is read lies in shared
 * memory: whoever reads it copies it first.
 */
#ifndef FORKSPAN_ARENA_LATENCY_H
#define FORKSPAN_ARENA_LATENCY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LATENCY_BUCKETS 256u
#define LATENCY_STEP_BITS 7
#define LATENCY_PART_BITS 3

/* Which bucket ns falls into. */
static inline unsigned latency_bucket(uint64_t ns)
{
    const unsigned parts = 1u << LATENCY_PART_BITS;
    uint64_t steps = ns >> LATENCY_STEP_BITS;
    if (steps < parts)
        return (unsigned)steps;
    unsigned shift = 63u - (unsigned)__builtin_clzll(steps) - LATENCY_PART_BITS;
    unsigned bucket = (shift + 1) * parts + (unsigned)(steps >> shift & (parts - 1));
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}
/* The least that falls into it. */
static inline uint64_t latency_least(unsigned bucket)
{
    const unsigned parts = 1u << LATENCY_PART_BITS;
    if (bucket < parts)
        return (uint64_t)bucket << LATENCY_STEP_BITS;
    return (uint64_t)(parts + bucket % parts) << (bucket / parts - 1 + LATENCY_STEP_BITS);
}

static inline void latency_add(_Atomic uint64_t buckets[LATENCY_BUCKETS], uint64_t ns)
{
    atomic_fetch_add_explicit(&buckets[latency_bucket(ns)], 1, memory_order_relaxed);
}
/* Adds it to what is in `to`. */
void latency_sum(uint64_t to[LATENCY_BUCKETS], const _Atomic uint64_t from[LATENCY_BUCKETS]);
/* Moves what is in `from` to `to`, so that each is in one of them whoever else adds to either. */
void latency_move(_Atomic uint64_t to[LATENCY_BUCKETS], _Atomic uint64_t from[LATENCY_BUCKETS]);
void latency_clear(_Atomic uint64_t buckets[LATENCY_BUCKETS]);

uint64_t latency_count(const uint64_t buckets[LATENCY_BUCKETS]);
/* In ns, the middle of the bucket that the quantile (0 to 1) lies in; 0 where nothing was added. */
uint64_t latency_quantile(const uint64_t buckets[LATENCY_BUCKETS], double quantile);

#endif
