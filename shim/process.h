/* SPDX-License-Identifier: Apache-2.0
 * process.h - what this process is to forkspan: its slot in the arena, whether it serves, whether it traces.
 */
#ifndef FORKSPAN_PROCESS_H
#define FORKSPAN_PROCESS_H

#include "arena/ring.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct request_table; /* arena/requests.h: the in-progress table of a slot */
struct request;

/* listen() succeeded in this process: makes the arena, opens the exporter. Ordinary context. */
void process_listens(void);
/* A connection was accepted, or a request's first bytes came in: claims the slot and starts (or asks for) the
 * batch thread. `signal_safe_only`: true in a place that may be a signal handler: then only what is possible
 * there. False when nothing is to be traced here. Cheap when already done (one load and compare). */
bool process_serves(bool signal_safe_only);
/* A connection was accepted: makes the arena, and starts a thread that is due, but does not count as serving:
 * the connection may be a child's that is yet to be forked. False when nothing is to be traced here. Ordinary
 * context. */
bool process_accepts(void);
/* For spans of the C API: as above, but does not count as serving. */
bool process_makes_spans(bool signal_safe_only);
/* The C API: exports all that this process has queued, by its batch thread, which is started for it. Ordinary
 * context. False: not all was delivered within timeout_ms. */
bool process_flush(uint32_t timeout_ms);

/* After process_serves() or process_makes_spans() said true; NULL in a child that has not claimed its own
 * yet. */
struct ring *process_ring(void);
struct request_table *process_requests(void);
/* A record was committed: wakes the batch thread where the batch size is reached. Handler-safe. */
void process_committed(void);

/* How often this process has forked. */
uint32_t process_forks_made(void);
/* In a child: the shared entry behind `r`, an entry of its parent's table as its parent had it; NULL where
 * `r` is none. *epoch: for process_request_table(). */
struct request *process_inherited_request(struct request *r, uint32_t *epoch);
/* The table that `r`, so found, lies in; NULL when its slot has been given to another process since. */
struct request_table *process_request_table(const struct request *r, uint32_t epoch);

/* What was set while the server runs (arena/sampling.h). The pointer is good after process_serves() or
 * process_makes_spans() said true, and stays. One load more for a span that begins. */
extern const _Atomic uint64_t *process_sampling_word;
static inline uint64_t process_sampling(void)
{
    return atomic_load_explicit(process_sampling_word, memory_order_relaxed);
}

/* Counters of the slot, handler-safe. */
enum counter {
    COUNT_STARTED,
    COUNT_QUEUED,
    COUNT_EXPORTED,
    COUNT_DROPPED,
    COUNT_FAILED,
    COUNT_SWEPT,
    COUNT_RESENT,
    COUNT_UNSURE,
    COUNT_FORK_UNHELD,
    COUNT_FORK_UNHOOKED, /* without CPython's hooks, where they were due (fork/python.h) */
    COUNT_CORRUPT,
    COUNT_NO_ROOM,
    COUNT_FATAL,  /* requests whose process died */
    COUNT_ERRORS, /* requests with an answer of 500 and more, or none to its end */
    COUNTERS
};
void process_count(enum counter c, uint64_t n);
/* A request was answered, or will not be; sampled or not. */
void process_answered(uint64_t ns, bool error);
/* This process's own count so far. */
uint64_t process_counted(enum counter c);

/* True in a thread of ours (the batch thread): its I/O is never looked at. */
bool process_own_thread(void);
/* True in a child made by vfork that runs in its parent's memory: leave every table alone. Clears the mark in
 * the parent. Only called where an fd is tracked. */
bool process_in_vfork_child(void);

#endif
