/* SPDX-License-Identifier: Apache-2.0
 * stuck.h - the oldest record of a ring that nobody will finish any more: its producer was left by a longjmp
 * out of a handler, or somebody wrote over it. Where the producer lives it else takes a microsecond.
 */
#ifndef FORKSPAN_BATCH_STUCK_H
#define FORKSPAN_BATCH_STUCK_H

#include "arena/layout.h"
#include "arena/ring_reader.h"

/* What was seen of one ring; zero: nothing yet. */
struct stuck {
    ring_at at;
    uint64_t since; /* CLOCK_MONOTONIC */
};

/* The ring's oldest record is the one that was its oldest `after_ns` ago. The ring's consumer only. */
static inline bool stuck_for(struct stuck *seen, struct ring *r, uint64_t now_ns, uint64_t after_ns)
{
    ring_at tail = atomic_load(&r->tail);
    if (tail != seen->at || ring_queued(r) == 0 || seen->since == 0)
        *seen = (struct stuck){tail, now_ns};
    return now_ns - seen->since >= after_ns;
}

#endif
