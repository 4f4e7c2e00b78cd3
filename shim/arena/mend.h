/* SPDX-License-Identifier: Apache-2.0
 * mend.h - what a process knows of its own slot, so that it goes on when another one has written over it.
 */
#ifndef FORKSPAN_ARENA_MEND_H
#define FORKSPAN_ARENA_MEND_H

#include "arena/arena.h"

/* In the thread that guards slot `i`, when it has taken it. */
void mend_remember(const struct arena *a, uint32_t i);
/* The same thread, from time to time: puts right what only this process may say of its slot. Of a ring that
 * was written over, its reader gives up what is there (batch/queue.c). */
void mend_slot(const struct arena *a, uint32_t i);

#endif
