/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/recover.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "next.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>

bool recover_boot_id(char boot[BOOT_ID_MAX])
{
    memset(boot, 0, BOOT_ID_MAX);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : __read(fd, boot, BOOT_ID_MAX - 1);
    if (fd >= 0)
        __close(fd);
    return n > 0;
}

/* A slot of another boot. Nobody knows when its requests ended: a death at 1 ns is before each of them began,
 * and a span of that length has none (batch/fatal.c). */
static void void_slot(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    uint32_t state = (uint32_t)atomic_load(arena_state(a, i));
    if (state != SLOT_CLAIMED && state != SLOT_LIVE) {
        slot_vacate(a, i);
        return;
    }
    atomic_store(&s->ticket, UINT64_MAX);
    atomic_store(&s->news_ns, 0);
    atomic_store(&s->dead_since_ns, 1);
    atomic_store(&s->consumer, 0);
    atomic_store(&s->consuming, 0);
    atomic_store(&a->header->liveness[i], FUTEX_OWNER_DIED);
}

/* Nobody who could be at work here has a slot. */
static bool deserted(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        uint32_t state = (uint32_t)atomic_load(arena_state(a, i));
        if ((state == SLOT_CLAIMED || state == SLOT_LIVE) && !slot_owner_dead(a, i))
            return false;
    }
    return true;
}

/* Consumers of another time: their pids may be those of the host's children now, which its wait would pass
 * over (batch/oneshot.h). */
static void forget_consumers(struct arena_header *h, bool all)
{
    for (uint32_t i = 0; i < REGISTERED_MAX; i++) {
        struct registered *r = &h->registered[i];
        uint64_t where = atomic_load(&r->pid_namespace);
        if (all || (where == own_pid_namespace() &&
                    process_start_time((pid_t)atomic_load(&r->pid)) != atomic_load(&r->start_time)))
            atomic_compare_exchange_strong(&r->pid_namespace, &where, 0);
    }
}

static void put_in_order(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        uint32_t state = (uint32_t)atomic_load(arena_state(a, i));
        if (state != SLOT_FREE && state != SLOT_CLAIMED && state != SLOT_LIVE)
            slot_vacate(a, i); /* its sweeper died half-way, or it was written over */
    }
}

void recover(const struct arena *a, const char boot[BOOT_ID_MAX], bool start)
{
    struct arena_header *h = a->header;
    bool other_boot = memcmp(h->boot, boot, BOOT_ID_MAX) != 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        if (other_boot)
            void_slot(a, i);
        else
            slot_judge(a, i);
    }
    if (start || other_boot)
        forget_consumers(h, other_boot);
    if (deserted(a)) {
        put_in_order(a);
        if (start) {
            atomic_store(&h->user, 0); /* this tree's workers may be another user's */
            atomic_store(&h->sampling, 0);
            atomic_store(&h->permanent, 0);
            atomic_store(&h->permanent_ns, 0); /* this tree may be able to open the exporter */
            atomic_store(&h->one_shot_ns, 0);
        }
    }
    /* Last: a death before it makes the next start do all of it again. */
    if (other_boot) {
        atomic_store(&h->in_vain, 0);
        atomic_thread_fence(memory_order_seq_cst);
        memcpy(h->boot, boot, BOOT_ID_MAX);
    }
    sweep_clear(a);
}
