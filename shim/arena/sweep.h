/* SPDX-License-Identifier: Apache-2.0
 * sweep.h - finding the rings that nobody empties.
 */
#ifndef FORKSPAN_ARENA_SWEEP_H
#define FORKSPAN_ARENA_SWEEP_H

#include "arena/arena.h"

/* Takes over every ring whose consumer is dead or not there. `me` is the calling consumer's word. A ring
 * whose owner has a consumer of its own, alive, is left to it. Returns how many slots were taken. The caller
 * holds no lock. */
unsigned sweep_adopt(const struct arena *a, uint64_t me);
/* Another consumer, alive and not on its way out, is in this arena. */
bool sweep_other_consumer(const struct arena *a, uint64_t me);
/* Somebody's ring holds something unsent (`me`: whose own, 0: nobody's, is to be looked at as well). */
bool sweep_unsent(const struct arena *a);

#endif
