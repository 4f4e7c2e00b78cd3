/* SPDX-License-Identifier: Apache-2.0
 * permanent.h - the tree's permanent consumer (`forkspan export ID`, batch/process.h) as other processes
 * see it; oneshot.h starts it. All of it is async-signal-safe; errno kept.
 */
#ifndef FORKSPAN_BATCH_PERMANENT_H
#define FORKSPAN_BATCH_PERMANENT_H

#include "arena/arena.h"

#include <linux/futex.h>
#include <stdatomic.h>

/* It has been, and was killed, or left with another tree (two may share a file). Some loads: also asked at
 * every span. */
static inline bool permanent_lost(const struct arena *a)
{
    uint64_t word = atomic_load_explicit(&a->header->permanent, memory_order_relaxed);
    uint32_t i = (uint32_t)word - 1;
    if (i >= a->slots)
        return false;
    /* Whoever sweeps the dead gives its slot back, to anybody. */
    uint32_t live = atomic_load_explicit(&a->header->liveness[i], memory_order_relaxed);
    return live == 0 || live & FUTEX_OWNER_DIED ||
           atomic_load_explicit(&arena_slot(a, i)->epoch, memory_order_relaxed) != (uint32_t)(word >> 32);
}
/* There is none, and will be none: it can not open the exporter. Asked at every span, too. */
static inline bool permanent_in_vain(const struct arena *a)
{
    return atomic_load_explicit(&a->header->permanent_ns, memory_order_relaxed) == UINT64_MAX;
}
/* Wakes it: a batch is full. */
void permanent_wake(const struct arena *a);
/* It sends all that is there now; waits until it has, at most timeout_ms. `last`: it waits for no news of how
 * processes died, as nobody is left to bring any. False: it is not there, or the time was too short. */
bool permanent_flush(const struct arena *a, bool last, uint32_t timeout_ms);

#endif
