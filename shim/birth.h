/* SPDX-License-Identifier: Apache-2.0
 * birth.h - what a process tells of itself in its slot when it is in no hurry any more.
 */
#ifndef FORKSPAN_BIRTH_H
#define FORKSPAN_BIRTH_H

#include "arena/arena.h"

/* Its start time, by which another process of the same pid is known, and the rest of its Resource. The files
 * of /proc it looks into cost more than the claim of the slot. Called once, by whoever is first: the batch
 * thread when it begins, or the thread that has claimed slot `i` for a process that gets none. */
void birth_tell(const struct arena *a, const struct config *config, uint32_t i);

#endif
