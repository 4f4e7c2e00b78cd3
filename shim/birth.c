/* SPDX-License-Identifier: Apache-2.0 */
#include "birth.h"
#include "arena/slot.h"
#include "config/resource.h"

#include <stdatomic.h>
#include <unistd.h>

/* Of which claim it has been told. A fork's child finds its parent's here, and has another slot or epoch. */
static struct {
    const struct slot *slot;
    uint32_t epoch;
} told;

void birth_tell(const struct arena *a, const struct config *config, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    uint32_t epoch = atomic_load(&s->epoch);
    if (told.slot == s && told.epoch == epoch)
        return; /* the process got a thread later */
    told.slot = s;
    told.epoch = epoch;
    uint64_t ticks = process_start_time(getpid());
    atomic_store(&s->start_time, ticks);
    uint32_t len = atomic_load(&s->resource_len);
    if (len <= RESOURCE_MAX)
        atomic_store(&s->resource_len,
                     (uint32_t)resource_complete(config, s->resource, len, RESOURCE_MAX, ticks));
}
