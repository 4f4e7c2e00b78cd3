/* SPDX-License-Identifier: Apache-2.0
 * tls.h - all thread-local state, a few words, initial-exec (a lazily allocated block would malloc in a
 * signal handler).
 */
#ifndef FORKSPAN_TLS_H
#define FORKSPAN_TLS_H

#include <stdbool.h>
#include <stdint.h>

struct span;

struct thread_state {
    uint32_t vfork_mark; /* thread id, set by fork/vfork.S (offset 0): we may be in a vfork child */
    uint32_t hold;       /* the token of the hold this thread has on the batch thread, 0: none */
    uint32_t fork_depth; /* forks of this thread under way (a signal handler may fork inside one) */
    bool own;            /* a thread of ours */
    bool python_hooks; /* PyOS_BeforeFork has run in this thread, what comes after it has not (fork/python.c)
                        */
    uint32_t reader;   /* number of this thread among those that have read requests, 0: it has not */
    struct span *attached; /* the innermost span attached to it */
};
extern _Thread_local struct thread_state tls __attribute__((tls_model("initial-exec")));

#endif
