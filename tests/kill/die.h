/* SPDX-License-Identifier: Apache-2.0
 * die.h - the ways a worker ends in the middle of a request. None of them returns. They take what a Lua state
 * gives and return what it wants, so that Apache's mod_lua can call them as they are.
 */
#ifndef FORKSPAN_KILL_DIE_H
#define FORKSPAN_KILL_DIE_H

#pragma GCC visibility push(default)
int die_hang(void *unused);   /* until somebody kills it */
int die_abort(void *unused);  /* SIGABRT */
int die_exit(void *unused);   /* _exit(7) */
int die_exec(void *unused);   /* becomes true(1) */
int die_rlimit(void *unused); /* runs into RLIMIT_AS, and aborts, as programs do that cannot go on without */
int die_grow(void *unused);   /* takes memory until the kernel kills it */
#pragma GCC visibility pop

#endif
