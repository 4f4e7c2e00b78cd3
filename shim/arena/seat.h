/* SPDX-License-Identifier: Apache-2.0
 * seat.h - who lives, where no thread of ours could tell: one semaphore of a System V set a process.
 *
 * A process takes a seat by raising a semaphore that is zero, with SEM_UNDO: the kernel lowers it again at
 * its end, however it ends, before its parent's wait returns. The set is its maker's; a seat is taken in the
 * fork's child handler, before any change of user id, and given back by hand before exec, where the kernel
 * would keep it. The answers are for a consumer in a process of its own (batch/process.h): a worker makes no
 * System V call. Everything here is a system call or two: also in a signal handler; errno kept.
 */
#ifndef FORKSPAN_ARENA_SEAT_H
#define FORKSPAN_ARENA_SEAT_H

#include "arena/arena.h"

/* Makes a set for `slots` processes; -1 where the kernel has none for us. Removes those that trees of this
 * user that were killed whole have left. Ordinary context. */
int seat_make(uint32_t slots);
/* The set that an arena names, for who attaches that; -1 where it is none of ours: any process of the tree
 * can have written another id there, of a set that nobody here may raise or remove. */
int seat_recognise(int id);
/* The tree has gone: removes the set. */
void seat_remove(const struct arena *a);

/* In the process that makes or joins the arena, in the child of each fork, and after an exec that failed.
 * Without a free seat, or without the right, the process has none: then its pid tells. */
void seat_take(const struct arena *a);
/* In a child that takes none: the seat is its parent's. */
void seat_forget(void);
/* Before exec. */
void seat_leave(const struct arena *a);
/* The seat of this process, for seat_note(). */
uint64_t seat_own(void);
/* At the claim of a slot: its process has that seat. Asked for before the claim: the child of a fork in a
 * handler that interrupts it goes on in its parent's slot, and its own seat would bury the living there. */
void seat_note(struct slot *s, uint64_t seat);

enum seat { SEAT_UNKNOWN, SEAT_TAKEN, SEAT_LEFT };
/* Is the slot's process still there? Unknown where nobody may ask, or nobody answers. */
enum seat seat_ask(const struct arena *a, struct slot *s);

#endif
