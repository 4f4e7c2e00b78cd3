/* SPDX-License-Identifier: Apache-2.0
 * arena.h - one shared memory a process tree. Made once, inherited by every fork, never grown.
 */
#ifndef FORKSPAN_ARENA_ARENA_H
#define FORKSPAN_ARENA_ARENA_H

#include "arena/layout.h"
#include "arena/ring_reader.h"
#include "config/config.h"

#include <stdatomic.h>

struct request_table; /* arena/requests.h */

/* This process's own view. Sizes are copied out of the header at the making: a spoilt header cannot move
 * them. */
struct arena {
    struct arena_header *header;
    int id;           /* of the System V segment; -1: there is none */
    const char *file; /* the path of the file it lies in (arena/file.h); NULL: in memory. With neither, no
                         other program can attach it */
    int life; /* with a file: a System V segment that each process of this tree has attached and nothing lies
                 in, so that the kernel can be asked whether the tree lives; -1: none */
    uint32_t slots; /* with those of consumers */
    int semaphores; /* arena/seat.h; -1: none */
    bool asks;      /* this process is one of its maker's that only sends: it may ask the kernel who lives */
    size_t slot_size, slots_off, size;
    uint32_t requests_off, ring_off, max_queued;
    struct ring_shape shape;
};

/* Makes it: in the file that FORKSPAN_ARENA names, which may be there already; else, or where that is refused
 * (said once), System V shared memory marked for removal at once (no fd, no name), anonymous shared memory
 * where that is refused. Sized down under RLIMIT_AS. False (logged) when there is no memory at all. Ordinary
 * context, once. */
bool arena_make(struct arena *a, const struct config *config);
/* May a process of this user use the arena? Its maker's may, and those of the first other one that asks (a
 * server that drops its rights): `config` says whether more or fewer. Handler-safe. */
bool arena_admits(const struct arena *a, const struct config *config);
/* Puts fresh memory in the place of an arena that does not admit this process; it is for this process and its
 * children. Nobody else's spans can be seen or written from here any more. Handler-safe. */
bool arena_renew(struct arena *a);
/* The same for one process alone, in private memory of the same shape: what is in it dies with the process.
 * False without memory. Handler-safe. */
bool arena_make_alone(struct arena *alone, const struct arena *like);
/* Attaches an arena that another process made, for a consumer or a program of its tree; NULL, or why not: of
 * another version, another user's, gone, or nonsense. Every size is checked against the segment's. */
const char *arena_attach(struct arena *a, int id);
/* Undoes that, before anybody else knows of it. */
void arena_detach(struct arena *a);
/* A consumer in a file joins the tree whose segment is `life`, to be able to ask for its mappings. */
void arena_join(struct arena *a, int life);
/* How many mappings it has; 1: the caller's only, its tree is gone. 0: not known. A consumer's question,
 * never a worker's. */
unsigned arena_mappings(const struct arena *a);

/* For who maps one. Writes into the header what another program needs to know. */
void arena_describe(const struct arena *a);
/* Takes the shape from a header, a copy that nobody writes to, and keeps the rest of `a`. NULL, or why the
 * `size` bytes behind it are no arena of ours: nothing of it is used unless arena_make() would have written
 * it.
 */
const char *arena_recognise(struct arena *a, const struct arena_header *h, size_t size);

/* The state word of a slot. */
static inline _Atomic uint64_t *arena_state(const struct arena *a, uint32_t i)
{
    return &a->header->state[i];
}
static inline bool arena_slot_live(const struct arena *a, uint32_t i)
{
    return (uint32_t)atomic_load_explicit(arena_state(a, i), memory_order_acquire) == SLOT_LIVE;
}
static inline pid_t arena_slot_pid(const struct arena *a, uint32_t i)
{
    return (pid_t)(atomic_load(arena_state(a, i)) >> 32);
}
/* The segment that each process of the tree has attached, by which the kernel tells whether it lives; -1:
 * none.
 */
static inline int arena_segment(const struct arena *a)
{
    return a->file ? a->life : a->id;
}
static inline struct slot *arena_slot(const struct arena *a, uint32_t i)
{
    return (struct slot *)((char *)a->header + a->slots_off + (size_t)i * a->slot_size);
}
static inline struct request_table *slot_requests(const struct arena *a, struct slot *s)
{
    return (struct request_table *)((char *)s + a->requests_off);
}
static inline struct ring *slot_ring(const struct arena *a, struct slot *s)
{
    return (struct ring *)((char *)s + a->ring_off);
}

#endif
