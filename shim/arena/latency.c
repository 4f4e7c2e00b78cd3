/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/latency.h"

void latency_sum(uint64_t to[LATENCY_BUCKETS], const _Atomic uint64_t from[LATENCY_BUCKETS])
{
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
        to[b] += atomic_load_explicit(&from[b], memory_order_relaxed);
}

/* Most are empty, and a place that nobody has had has pages that nobody has written to. */
static uint64_t take(_Atomic uint64_t *bucket)
{
    return atomic_load_explicit(bucket, memory_order_relaxed) ? atomic_exchange(bucket, 0) : 0;
}

void latency_move(_Atomic uint64_t to[LATENCY_BUCKETS], _Atomic uint64_t from[LATENCY_BUCKETS])
{
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
        uint64_t n = take(&from[b]);
        if (n)
            atomic_fetch_add_explicit(&to[b], n, memory_order_relaxed);
    }
}

void latency_clear(_Atomic uint64_t buckets[LATENCY_BUCKETS])
{
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
        take(&buckets[b]);
}

uint64_t latency_count(const uint64_t buckets[LATENCY_BUCKETS])
{
    uint64_t n = 0;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
        n += buckets[b];
    return n;
}

uint64_t latency_quantile(const uint64_t buckets[LATENCY_BUCKETS], double quantile)
{
    uint64_t all = latency_count(buckets), seen = 0;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
        seen += buckets[b];
        if (buckets[b] && (double)seen >= quantile * (double)all)
            return latency_least(b) + (latency_least(b + 1) - latency_least(b)) / 2;
    }
    return 0;
}
