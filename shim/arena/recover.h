/* SPDX-License-Identifier: Apache-2.0
 * recover.h - what a start finds in an arena that others left behind.
 */
#ifndef FORKSPAN_ARENA_RECOVER_H
#define FORKSPAN_ARENA_RECOVER_H

#include "arena/arena.h"

/* The id of this boot; false where the system does not tell. */
bool recover_boot_id(char boot[BOOT_ID_MAX]);
/* Finds the dead. In an arena of another boot everybody is dead, and no pid, ticket or time in it means
 * anything; in one of this boot other trees may be at work. `start`: the caller begins a tree of its own.
 * What the dead left is not touched: the next consumer's sweep sends it. One caller at a time (the lock of
 * the file). */
void recover(const struct arena *a, const char boot[BOOT_ID_MAX], bool start);

#endif
