/* SPDX-License-Identifier: Apache-2.0
 * tls.h - all thread-local state, a few words, initial-exec (a lazily allocated block would malloc in a
 * signal handler).
 */
#ifndef FORKSPAN_TLS_H
#define FORKSPAN_TLS_H

#include <stdbool.h>
#include <stdint.h>

struct span;
struct request;

#define OPEN_REQUESTS 8u

/* A request this thread has read the head of. */
struct open_request {
    const struct request *request; /* may be over and another's by now: its span id tells */
    uint8_t trace_id[16], span_id[8];
    uint8_t flags;
};

struct thread_state {
    uint32_t vfork_mark; /* thread id, set by fork/vfork.S (offset 0): we may be in a vfork child */
    uint32_t hold;       /* the token of the hold this thread has on the batch thread, 0: none */
    uint32_t fork_depth; /* forks of this thread under way (a signal handler may fork inside one) */
    bool own;            /* a thread of ours */
    bool python_hooks; /* PyOS_BeforeFork has run in this thread, what comes after it has not (fork/python.c)
                        */
    /* span/current.h */
    bool requests_lost; /* more were open at once than are remembered: no request is taken for the only one */
    uint8_t open_requests;
    uint32_t attached_serial;
    struct span *attached;
    struct open_request open[OPEN_REQUESTS];
};
extern _Thread_local struct thread_state tls __attribute__((tls_model("initial-exec")));

#endif
