/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/sweep.h"
#include "arena/slot.h"

#include <linux/futex.h>
#include <stdatomic.h>

static bool slot_live(struct slot *s)
{
    return (uint32_t)atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_LIVE;
}

unsigned sweep_adopt(const struct arena *a, uint64_t me)
{
    unsigned taken = 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
        if ((uint32_t)state == SLOT_CLAIMED && slot_owner_dead(a, i))
            atomic_compare_exchange_strong(&s->state, &state, SLOT_FREE); /* died while it claimed */
        if (!slot_live(s))
            continue;
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

bool sweep_other_consumer(const struct arena *a, uint64_t me)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        uint64_t word = consumer_word(i, atomic_load(&s->epoch));
        if (word != me && slot_live(s) && atomic_load(&s->consuming) && !atomic_load(&s->leaving) &&
            consumer_alive(a, word))
            return true;
    }
    return false;
}

bool sweep_unsent(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        if (slot_live(s) && ring_queued(slot_ring(a, s)) != 0)
            return true;
    }
    return false;
}
