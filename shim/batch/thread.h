/* SPDX-License-Identifier: Apache-2.0
 * thread.h - the batch thread: the consumer's home in a process that serves.
 */
#ifndef FORKSPAN_BATCH_THREAD_H
#define FORKSPAN_BATCH_THREAD_H

#include "arena/arena.h"

/* Starts it for slot `slot`, which was claimed in `generation`. Ordinary context only (pthread_create
 * allocates). False: it could not be created; asked again at the next chance. A fork in a signal handler may
 * leave its child in the middle of this, or about to call it: what starts there finds itself in another
 * generation, and ends without a look at the slot, which is the parent's. */
bool thread_start(const struct arena *a, const struct config *config, uint32_t slot, uint64_t generation);
bool thread_running(void);
/* The process has threads besides the calling one and this one. Where that is not known, true. One system
 * call. */
bool thread_others(void);
/* Wakes it to export what is there. Handler-safe. */
void thread_wake(void);
/* It exports everything now and says when it is done; returns whether it was within timeout_ms. `last`: it
 * takes what leaving processes still hold, too. Handler-safe: waits on a futex only. */
bool thread_flush(uint32_t timeout_ms, bool last);
/* The last flush has left something that the receiver did not take: it stays queued. Handler-safe. */
bool thread_undelivered(void);
/* It starts no further batch; true when it is quiet within timeout_ms. Final: for exit. Handler-safe. */
bool thread_quiesce(uint32_t timeout_ms);
/* Child: there is no thread. */
void thread_postfork_child(void);

#endif
