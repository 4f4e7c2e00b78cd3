/* SPDX-License-Identifier: Apache-2.0
 * protocol.h - what happens at a fork, in order (DESIGN: before, prepare, parent, child).
 */
#ifndef FORKSPAN_FORK_PROTOCOL_H
#define FORKSPAN_FORK_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fork_call {
    uint32_t hold;     /* the wrapper's token */
    uint64_t ticket;   /* arena/news.h */
    bool threads;      /* other application threads existed: a child that no atfork handler repairs starts no
                          thread */
    bool shares_files; /* CLONE_FILES: the child closes nothing and, connecting to nobody, starts no thread */
};

/* Wrapper, before the real call: brings the batch thread to rest, at most FORK_WAIT. Holds nothing else.
 * `repaired`: libc runs the atfork handlers around this call. Any thread, also in a signal handler. */
void fork_before(struct fork_call *call, bool repaired);
/* Wrapper, after, in the parent; also where the call failed (pid < 0). */
void fork_after_parent(const struct fork_call *call, pid_t pid);
/* The same where the child has released the hold. */
void fork_after_vfork(const struct fork_call *call, pid_t pid);
/* Wrapper, after, in the child. Async-signal-safe. */
void fork_after_child(const struct fork_call *call, bool repaired);

/* Constructor: registers prepare, parent and child with pthread_atfork, once. */
void fork_protocol_init(void);

#endif
