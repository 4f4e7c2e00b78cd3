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
/* Another consumer, alive and not on its way out, is in this arena. Where there are several, the one named
 * last here. */
enum sweep_others { SWEEP_NOBODY, SWEEP_ONE_SHOT, SWEEP_PERMANENT, SWEEP_WORKER };
enum sweep_others sweep_other_consumer(const struct arena *a, uint64_t me);
/* Somebody's ring holds something unsent. */
bool sweep_unsent(const struct arena *a);
/* Somebody's ring holds something unsent, and no live consumer that would send it: its owner is dead, or
 * alive without a consumer of its own. *many: more than half of the slots are such. */
bool sweep_orphaned(const struct arena *a, bool *many);
/* Something unsent lies in the ring of a process that is dead or on its way out. (What a process that came
 * meanwhile has queued is its own business.) */
bool sweep_left_behind(const struct arena *a);
/* The dead, whoever empties their rings, have more places than are free for the host's processes. */
bool sweep_crowded(const struct arena *a);
/* A process of the host that has a slot lives. */
bool sweep_alive(const struct arena *a);
/* Gives back the slots of the dead that hold nothing and are no live consumer's: in an arena full of them a
 * new consumer finds a place. */
void sweep_clear(const struct arena *a);
/* Every consumer in a process of its own is to send all now; a one-shot one then leaves. */
void sweep_finish(const struct arena *a);

#endif
