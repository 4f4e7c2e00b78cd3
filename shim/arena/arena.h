/* SPDX-License-Identifier: Apache-2.0
 * arena.h - one shared memory a process tree. Made once, inherited by every fork, never grown.
 */
#ifndef FORKSPAN_ARENA_ARENA_H
#define FORKSPAN_ARENA_ARENA_H

#include "arena/layout.h"
#include "arena/ring_reader.h"
#include "config/config.h"

/* This process's own view. Sizes are copied out of the header at the making: a spoilt header cannot move
 * them. */
struct arena {
    struct arena_header *header;
    uint32_t slots;
    size_t slot_size, slots_off, size;
    uint32_t requests_off, ring_off, max_queued;
    struct ring_shape shape;
};

/* Makes it: System V shared memory marked for removal at once (no fd, no name), anonymous shared memory where
 * that is refused. Sized down under RLIMIT_AS. False (logged) when there is no memory at all. Ordinary
 * context, once. */
bool arena_make(struct arena *a, const struct config *config);

static inline struct slot *arena_slot(const struct arena *a, uint32_t i)
{
    return (struct slot *)((char *)a->header + a->slots_off + (size_t)i * a->slot_size);
}
static inline struct ring *slot_ring(const struct arena *a, struct slot *s)
{
    return (struct ring *)((char *)s + a->ring_off);
}

#endif
