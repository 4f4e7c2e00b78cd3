/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/permanent.h"
#include "clock.h"
#include "futex.h"

#include <stddef.h>

static const uint64_t LOOK_NS = 20000000;

/* Its slot, NULL: it is not there. */
static struct slot *its_slot(const struct arena *a)
{
    uint32_t i = (uint32_t)atomic_load(&a->header->permanent) - 1;
    return i >= a->slots || permanent_lost(a) ? NULL : arena_slot(a, i);
}

void permanent_wake(const struct arena *a)
{
    struct slot *s = its_slot(a);
    if (!s)
        return;
    atomic_fetch_add(&s->wake, 1);
    futex_wake_all(&s->wake);
}

bool permanent_flush(const struct arena *a, bool last, uint32_t timeout_ms)
{
    const uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;
    struct slot *s = its_slot(a);
    if (!s)
        return false;
    if (last)
        atomic_store(&s->hasty, 1);
    uint32_t ticket = atomic_fetch_add(&s->finish, 1) + 1;
    permanent_wake(a);
    for (;;) {
        uint32_t done = atomic_load(&s->finished);
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if ((int32_t)(done - ticket) >= 0)
            return true;
        if (now >= end || its_slot(a) != s) /* killed, it tells nobody: looked at now and then */
            return false;
        futex_wait(&s->finished, done, end - now < LOOK_NS ? end - now : LOOK_NS);
    }
}
