/* SPDX-License-Identifier: Apache-2.0
 * oneshot.h - starting `forkspan export`: a consumer of its own process, for the moments when nobody else is
 * left to send (--once), or for the whole life of the tree.
 *
 * It is not a child of the host: execve makes every child one that wait sees and that sends SIGCHLD, whatever
 * exit signal it was cloned with. So it is the child of a process that ends at once and was cloned with exit
 * signal 0, which no wait of the host sees; the system's reaper inherits it. Where that is the host itself
 * (process 1 of a container, a subreaper), its wrapped wait passes it over: oneshot_is_ours.
 */
#ifndef FORKSPAN_BATCH_ONESHOT_H
#define FORKSPAN_BATCH_ONESHOT_H

#include "arena/arena.h"
#include "config/config.h"

/* Once, when the arena is made: finds the command, puts arguments and environment together, remembers what
 * standard output and error are. Ordinary context. */
void oneshot_prepare(const struct arena *a, const struct config *config);

enum oneshot_mode {
    ONESHOT_LEAVE,  /* sends what is there and goes */
    ONESHOT_EXIT,   /* the same, within EXIT_FLUSH */
    ONESHOT_LINGER, /* stays as long as processes without a consumer go on making spans */
    ONESHOT_STAY,   /* stays as long as the tree: batch/permanent.h */
};
/* Starts it, and waits until it (or another one) has attached the arena: from then on the arena lives without
 * this process. At most timeout_ms; 0: does not wait. False: it can not be started (no command, another
 * user's arena, no process: said once; it would be in vain) or has not attached. Async-signal-safe; errno
 * kept; not in a vfork child. */
bool oneshot_start(const struct arena *a, enum oneshot_mode mode, uint32_t timeout_ms);
/* Starts the one that stays, unless somebody has within the last second, and waits until it has attached the
 * arena and opened the exporter (permanent_in_vain: or failed to), at most timeout_ms. False: it has not (see
 * oneshot_start), or it would be in vain. Not in a vfork child. */
bool oneshot_start_permanent(const struct arena *a, uint32_t timeout_ms);
/* Waits until no one-shot consumer is left in the arena, at most timeout_ms: it has left, or it stays as the
 * tree's permanent one. Async-signal-safe. */
bool oneshot_gone(const struct arena *a, uint64_t me, uint32_t timeout_ms);
/* A process that a wait of the host has just reaped is one of these: to be passed over. Asked of every pid
 * reaped: cheap for all others. Async-signal-safe. */
bool oneshot_is_ours(const struct arena *a, pid_t pid);
/* This process has children, and all of them are consumers of ours, alive or not. Without any of ours it
 * costs a few loads. Async-signal-safe. */
bool oneshot_only_child(const struct arena *a);
/* Child: another thread of the parent may have been starting one. */
void oneshot_postfork_child(void);

#endif
