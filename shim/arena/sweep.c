/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/sweep.h"
#include "arena/requests.h"
#include "arena/slot.h"
#include "futex.h"

#include <linux/futex.h>
#include <stdatomic.h>

/* Something of the slot is to be sent: finished spans, or requests that its death cut off. */
static bool unsent(const struct arena *a, struct slot *s, bool dead)
{
    return ring_queued(slot_ring(a, s)) != 0 ||
           (dead && request_next_open(slot_requests(a, s), 0) < REQUESTS);
}

unsigned sweep_adopt(const struct arena *a, uint64_t me)
{
    unsigned taken = 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        _Atomic uint64_t *state = arena_state(a, i);
        uint64_t seen = atomic_load_explicit(state, memory_order_relaxed);
        /* Died while it claimed. By way of a state that is nobody's: of two sweepers one vacates. */
        if ((uint32_t)seen == SLOT_CLAIMED && slot_owner_dead(a, i) &&
            atomic_compare_exchange_strong(state, &seen, SLOT_VACANT))
            slot_vacate(a, i);
        if (!arena_slot_live(a, i))
            continue;
        struct slot *s = arena_slot(a, i);
        uint64_t now = atomic_load(&s->consumer);
        if (now == me)
            continue;
        if (now != 0 && consumer_alive(a, now))
            continue;
        if (consumer_word(i, atomic_load(&s->epoch)) != me && atomic_load(&s->consuming) &&
            !atomic_load(&s->leaving) && !slot_owner_dead(a, i))
            continue; /* its own consumer is about to take it */
        if (atomic_compare_exchange_strong(&s->consumer, &now, me))
            taken++;
    }
    return taken;
}

enum sweep_others sweep_other_consumer(const struct arena *a, uint64_t me)
{
    enum sweep_others found = SWEEP_NOBODY;
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        struct slot *s = arena_slot(a, i);
        uint64_t word = consumer_word(i, atomic_load(&s->epoch));
        if (word == me || !atomic_load(&s->consuming) || atomic_load(&s->leaving) || !consumer_alive(a, word))
            continue;
        uint32_t kind = atomic_load(&s->one_shot);
        if (kind == SLOT_HOST)
            return SWEEP_WORKER;
        if (found != SWEEP_PERMANENT)
            found = kind == SLOT_PERMANENT ? SWEEP_PERMANENT : SWEEP_ONE_SHOT;
    }
    return found;
}

bool sweep_unsent(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        if (arena_slot_live(a, i) && (unsent(a, s, false) || (unsent(a, s, true) && slot_owner_dead(a, i))))
            return true;
    }
    return false;
}

bool sweep_left_behind(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        struct slot *s = arena_slot(a, i);
        bool dead = slot_owner_dead(a, i);
        if ((dead || atomic_load(&s->leaving)) && unsent(a, s, dead))
            return true;
    }
    return false;
}

bool sweep_orphaned(const struct arena *a, bool *many)
{
    bool found = false;
    uint32_t dead = 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        struct slot *s = arena_slot(a, i);
        uint64_t consumer = atomic_load(&s->consumer);
        if (consumer != 0 && consumer_alive(a, consumer))
            continue;
        if (slot_owner_dead(a, i)) {
            dead++;
            found |= unsent(a, s, true);
        } else if (!atomic_load(&s->consuming) || atomic_load(&s->leaving)) {
            found |= unsent(a, s, false);
        }
    }
    *many = dead > a->slots / 2;
    return found || *many;
}

bool sweep_crowded(const struct arena *a)
{
    uint32_t dead = 0, living = 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        if (slot_owner_dead(a, i))
            dead++;
        else if (atomic_load(&arena_slot(a, i)->one_shot) == SLOT_HOST)
            living++;
    }
    return 2 * dead + living + CONSUMER_SLOTS > a->slots;
}

bool sweep_alive(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++)
        if (arena_slot_live(a, i) && atomic_load(&arena_slot(a, i)->one_shot) == SLOT_HOST &&
            !slot_owner_dead(a, i))
            return true;
    return false;
}

void sweep_clear(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        if (arena_slot_live(a, i) && slot_owner_dead(a, i) && !unsent(a, s, true) &&
            !consumer_alive(a, atomic_load(&s->consumer)))
            slot_release(a, i);
    }
}

void sweep_finish(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        if (!arena_slot_live(a, i) || !atomic_load(&s->one_shot))
            continue;
        atomic_store(&s->hasty, 1);
        atomic_fetch_add(&s->finish, 1);
        atomic_fetch_add(&s->wake, 1);
        futex_wake_all(&s->wake);
    }
}
