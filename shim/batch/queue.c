/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/queue.h"
#include "fork/knobs.h"
#include "futex.h"
#include "tls.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* The control that shows what the lock is for: one seal in so many waits for another one to come in. With
 * each one the two may sleep in step, and write the same. */
#ifdef FORKSPAN_WITHOUT_QUEUE_LOCK
enum { WITHOUT_LOCK = true, ONE_IN = FORKSPAN_WITHOUT_QUEUE_LOCK };
#else
enum { WITHOUT_LOCK = false, ONE_IN = 1 };
#endif

/* 0 free, 1 held, 2 held and waited for. */
static _Atomic uint32_t lock;
static _Atomic(struct thread_state *) owner;
static unsigned nested;

bool queue_lock(void)
{
    if (WITHOUT_LOCK)
        return true;
    if (atomic_load_explicit(&owner, memory_order_relaxed) == &tls && !KNOB_OFF(queue_nesting)) {
        nested++;
        return false;
    }
    uint32_t was = 0;
    if (!atomic_compare_exchange_strong(&lock, &was, 1))
        while (atomic_exchange(&lock, 2) != 0)
            futex_wait(&lock, 2, 0);
    atomic_store_explicit(&owner, &tls, memory_order_relaxed);
    return true;
}

void queue_unlock(void)
{
    if (WITHOUT_LOCK)
        return;
    if (nested) {
        nested--;
        return;
    }
    atomic_store_explicit(&owner, NULL, memory_order_relaxed);
    if (atomic_exchange(&lock, 0) == 2)
        futex_wake_all(&lock);
}

void queue_reinit(void)
{
    if (KNOB_OFF(queue_reinit))
        return;
    /* never unlocked: whoever waited for it is not here, and the word may be anything */
    atomic_store(&lock, 0);
    atomic_store(&owner, NULL);
    nested = 0;
}

static uint32_t between(ring_at from, ring_at to)
{
    return (at_number(to) - at_number(from)) & (uint32_t)RING_NUMBER_MASK;
}

/* Where the next batch begins. */
static ring_at unsealed_from(const struct arena *a, struct slot *s, uint32_t first, uint32_t count)
{
    ring_at tail = atomic_load(&slot_ring(a, s)->tail);
    ring_at at = count ? s->sealed[(first + count - 1) % SEALED_MAX].to : tail;
    return between(tail, at) > a->shape.cells ? tail : at;
}

static void seal(const struct arena *a, struct slot *s, uint32_t max_batch, bool over_torn, bool full_only)
{
    struct ring *r = slot_ring(a, s);
    uint32_t first = atomic_load(&s->sealed_first) % SEALED_MAX, count = atomic_load(&s->sealed_count);
    if (count > SEALED_MAX)
        count = 0;
    ring_mend(r);
    ring_at at = unsealed_from(a, s, first, count);
    while (count < SEALED_MAX) {
        ring_at from = at;
        enum ring_found found = RING_RECORD;
        uint32_t n = 0;
        for (; n < max_batch; at = ring_next(at)) {
            struct ring_record record;
            found = ring_peek(r, &a->shape, at, &record);
            if (found == RING_RECORD)
                n++;
            else if (found == RING_END || (found == RING_UNFINISHED && !over_torn))
                break;
            else if (between(at, ring_head(r)) > a->shape.cells) {
                /* head and tail do not fit together: somebody wrote over them. What is there is given up. */
                at = ring_head(r);
                break;
            }
        }
        if (between(from, at) == 0 || (full_only && n < max_batch))
            break;
        if (WITHOUT_LOCK && rand() % ONE_IN == 0)
            usleep(1000);
        s->sealed[(first + count) % SEALED_MAX] = (struct sealed){from, at};
        atomic_store(&s->sealed_count, ++count);
        if (found == RING_END || found == RING_UNFINISHED)
            break;
    }
}

void queue_seal(const struct arena *a, struct slot *s, uint32_t max_batch, bool over_torn)
{
    seal(a, s, max_batch, over_torn, false);
}

void queue_seal_full(const struct arena *a, struct slot *s, uint32_t max_batch)
{
    seal(a, s, max_batch, false, true);
}

bool queue_unsealed(const struct arena *a, struct slot *s, uint32_t end)
{
    uint32_t count = atomic_load(&s->sealed_count);
    ring_at at =
        unsealed_from(a, s, atomic_load(&s->sealed_first) % SEALED_MAX, count > SEALED_MAX ? 0 : count);
    uint32_t left = (end - at_number(at)) & (uint32_t)RING_NUMBER_MASK;
    return left != 0 && left <= a->shape.cells;
}

bool queue_oldest(const struct slot *s, struct sealed *out)
{
    uint32_t count = atomic_load(&s->sealed_count);
    if (count == 0 || count > SEALED_MAX)
        return false;
    *out = s->sealed[atomic_load(&s->sealed_first) % SEALED_MAX];
    return true;
}

void queue_done(const struct arena *a, struct slot *s)
{
    struct sealed batch;
    if (!queue_oldest(s, &batch))
        return;
    ring_free(slot_ring(a, s), &a->shape, batch.to);
    atomic_store(&s->sending, 0);
    atomic_store(&s->sealed_first, (atomic_load(&s->sealed_first) + 1) % SEALED_MAX);
    atomic_fetch_sub(&s->sealed_count, 1);
}
