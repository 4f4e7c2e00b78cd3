/* SPDX-License-Identifier: Apache-2.0
 * queue.h - the queue lock and sealed batches.
 *
 * The lock guards the consumer's side of every ring this process empties: seal cursor, hand-over and freeing
 * of a batch, among batch thread, forkers and flusher. It is a leaf: no other lock, no malloc, no log and no
 * system call under it. Producers never take it. It is held across a fork (prepare to parent handler) and
 * made anew in the child. A thread that holds it across its fork may come back to it from a signal handler:
 * nested, which queue_lock() tells, and then nothing is to be changed.
 */
#ifndef FORKSPAN_BATCH_QUEUE_H
#define FORKSPAN_BATCH_QUEUE_H

#include "arena/arena.h"

/* False: this thread holds it already (a signal handler inside a fork). queue_unlock() is due in both cases.
 */
bool queue_lock(void);
void queue_unlock(void);
/* Child only. */
void queue_reinit(void);

/* Under the lock, by the ring's consumer. Seals what is committed and not yet sealed, in batches of at most
 * max_batch records; over_torn: pass over unfinished records (their producer is dead). */
void queue_seal(const struct arena *a, struct slot *s, uint32_t max_batch, bool over_torn);
/* The same of whole batches of a living producer only: what is less than one stays open. */
void queue_seal_full(const struct arena *a, struct slot *s, uint32_t max_batch);
/* Under the lock: is a record before number `end`, counted from the tail, not sealed? */
bool queue_unsealed(const struct arena *a, struct slot *s, uint32_t end);
/* Under the lock: the oldest sealed batch, which stays there until queue_done(). */
bool queue_oldest(const struct slot *s, struct sealed *out);
/* Under the lock: the oldest batch is done with; its ring space is free. */
void queue_done(const struct arena *a, struct slot *s);

#endif
