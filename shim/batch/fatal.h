/* SPDX-License-Identifier: Apache-2.0
 * fatal.h - the requests that a dead process was serving become spans.
 *
 * They are written into the dead process's own ring, in the steps a living one takes: so they go out as its
 * other spans do, and a death of the sweeper in between leaves nothing that the next one could not go on
 * with. The caller is the slot's consumer; the owner is dead.
 */
#ifndef FORKSPAN_BATCH_FATAL_H
#define FORKSPAN_BATCH_FATAL_H

#include "arena/arena.h"

/* Before a torn record of the ring is passed over: which of the requests have theirs in it already? */
void fatal_settle(const struct arena *a, uint32_t i);

enum fatal {
    FATAL_NONE,    /* nothing is owed (any more) */
    FATAL_WRITTEN, /* the ring has records to send; there may be more to write after that */
    FATAL_WAITS,   /* for the news of how it ended; ask again */
};
/* `patient`: up to 5 s after the death was first seen. The ring is empty. */
enum fatal fatal_write(const struct arena *a, const struct config *config, uint32_t i, bool patient);

#endif
