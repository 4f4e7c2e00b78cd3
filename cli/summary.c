/* SPDX-License-Identifier: Apache-2.0
 * summary.c - what the servers below `forkspan run` have done, in two lines at their end.
 */
#include "arena/slot.h"
#include "cli.h"
#include "look.h"

#include <stdatomic.h>

/* Sums over an arena of this process's own: of the places that were given back, and of those that are
 * taken yet. */
static void add_up(const struct arena *a, uint64_t counters[COUNTERS], uint64_t latencies[LATENCY_BUCKETS])
{
    const struct arena_header *h = a->header;
    for (int c = 0; c < COUNTERS; c++)
        counters[c] = atomic_load(&h->former[c]);
    latency_sum(latencies, h->former_latencies);
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        const struct slot *s = arena_slot(a, i);
        for (int c = 0; c < COUNTERS; c++)
            counters[c] += atomic_load(&s->counters[c]);
        latency_sum(latencies, s->latencies);
    }
}

void summary_print(FILE *to, const struct arena *a)
{
    uint64_t n[COUNTERS] = {0}, latencies[LATENCY_BUCKETS] = {0};
    add_up(a, n, latencies);
    fputs("forkspan: ", to);
    show_latencies(to, latencies, n[COUNT_ERRORS]);
    fprintf(to, "\nforkspan: %llu spans exported, %llu dropped, %llu failed, %llu batches sent again",
            (unsigned long long)n[COUNT_EXPORTED], (unsigned long long)n[COUNT_DROPPED],
            (unsigned long long)n[COUNT_FAILED], (unsigned long long)n[COUNT_RESENT]);
    uint64_t workers = atomic_load(&a->header->workers) + atomic_load(&a->header->without_slot);
    uint64_t forks = atomic_load(&a->header->tickets);
    fprintf(to, "; %llu worker%s, %llu swept, %llu fork%s\n", (unsigned long long)workers,
            workers == 1 ? "" : "s", (unsigned long long)n[COUNT_SWEPT], (unsigned long long)forks,
            forks == 1 ? "" : "s");
    fflush(to);
}
