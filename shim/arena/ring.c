/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/ring.h"
#include "arena/layout.h"
#include "arena/ring_reader.h"

#include <stdatomic.h>
#include <string.h>

/* What a ring says of itself is not believed, neither by its reader nor by its writer: whoever can write to
 * the arena would else write anywhere in this process. All rings of a process have one shape. */
static struct ring_shape trusted;
static uint32_t trusted_max_queued;

void ring_trust(const struct ring_shape *shape, uint32_t max_queued)
{
    trusted = *shape;
    trusted_max_queued = max_queued;
}

static struct ring_cell *cell_of(struct ring *r, uint32_t number)
{
    return (struct ring_cell *)((char *)r + sizeof *r) + (number & (trusted.cells - 1));
}

static uint8_t *data_of(struct ring *r)
{
    return (uint8_t *)r + sizeof *r + (size_t)trusted.cells * sizeof(struct ring_cell);
}

size_t ring_size(uint32_t cells, uint32_t units)
{
    return sizeof(struct ring) + (size_t)cells * sizeof(struct ring_cell) + (size_t)units * RING_UNIT;
}

void ring_wipe(struct ring *r)
{
    for (uint32_t i = 0; i < trusted.cells; i++)
        atomic_store_explicit(&cell_of(r, i)->at, 0, memory_order_relaxed);
}

void ring_init(struct ring *r)
{
    /* numbers begin at 1, so that no finished record has the stamp 0 */
    atomic_store_explicit(&r->head, at_make(1, 0), memory_order_relaxed);
    atomic_store_explicit(&r->tail, at_make(1, 0), memory_order_relaxed);
    atomic_store_explicit(&r->dropped, 0, memory_order_relaxed);
    atomic_store(&r->open, 1);
}

bool ring_reserve(struct ring *r, uint32_t room, struct ring_place *place)
{
    /* In a fork's child the slot lies under private zeroes: a producer that was interrupted by the fork ends
     * here. */
    if (atomic_load_explicit(&r->open, memory_order_relaxed) == 0)
        return false;
    const uint32_t all = trusted.units, units = (room + RING_UNIT - 1) / RING_UNIT;
    if (units > all)
        return false;
    ring_at head = atomic_load_explicit(&r->head, memory_order_relaxed);
    for (;;) {
        /* Pairs with the release in ring_free: the consumer has done with the bytes before tail. */
        ring_at tail = atomic_load_explicit(&r->tail, memory_order_acquire);
        uint64_t pos = at_pos(head);
        uint64_t in_lap = pos & (all - 1);
        if (in_lap + units > all)
            pos += all - in_lap; /* a record is never cut in two */
        uint64_t used = (pos + units - at_pos(tail)) & RING_POS_MASK;
        uint32_t queued = (uint32_t)((at_number(head) - at_number(tail)) & RING_NUMBER_MASK);
        if (queued >= trusted_max_queued || used > all) {
            atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
            return false;
        }
        ring_at next = at_make(at_number(head) + 1, pos + units);
        if (atomic_compare_exchange_weak_explicit(&r->head, &head, next, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            place->ring = r;
            place->number = at_number(head);
            place->room = room;
            place->p = data_of(r) + (pos & (all - 1)) * RING_UNIT;
            return true;
        }
    }
}

void ring_commit(const struct ring_place *place, uint32_t len, uint16_t scope)
{
    struct ring *r = place->ring;
    if (atomic_load_explicit(&r->open, memory_order_relaxed) == 0)
        return;
    struct ring_cell *c = cell_of(r, place->number);
    atomic_store_explicit(&c->len, len, memory_order_relaxed);
    atomic_store_explicit(&c->scope, scope, memory_order_relaxed);
    uint64_t pos = (uint64_t)(place->p - data_of(r)) / RING_UNIT;
    /* Pairs with the acquire in ring_peek: bytes, length and scope are there before the stamp is. The place
     * within the lap is enough: the reader takes the rest from its own count. */
    atomic_store_explicit(&c->at, at_make(place->number, pos), memory_order_release);
}

uint32_t ring_queued(const struct ring *r)
{
    return (at_number(atomic_load_explicit(&r->head, memory_order_relaxed)) -
            at_number(atomic_load_explicit(&r->tail, memory_order_relaxed))) &
           RING_NUMBER_MASK;
}

enum ring_found ring_peek(struct ring *r, const struct ring_shape *shape, ring_at at, struct ring_record *out)
{
    ring_at head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint32_t left = (at_number(head) - at_number(at)) & RING_NUMBER_MASK;
    if (left == 0)
        return RING_END;
    if (left > shape->cells)
        return RING_CORRUPT;
    struct ring_cell *cells = (struct ring_cell *)((char *)r + sizeof *r);
    struct ring_cell *c = &cells[at_number(at) & (shape->cells - 1)];
    ring_at stamp = atomic_load_explicit(&c->at, memory_order_acquire);
    if (stamp == 0 || at_number(stamp) != at_number(at))
        return RING_UNFINISHED;
    uint64_t begin = at_pos(stamp);
    uint32_t len = atomic_load_explicit(&c->len, memory_order_relaxed);
    uint32_t scope = atomic_load_explicit(&c->scope, memory_order_relaxed);
    if (begin >= shape->units || len == 0 || len > (shape->units - begin) * RING_UNIT)
        return RING_CORRUPT;
    out->bytes =
        (const uint8_t *)r + sizeof *r + (size_t)shape->cells * sizeof(struct ring_cell) + begin * RING_UNIT;
    out->len = len;
    out->scope = scope < RING_SCOPES ? scope : RING_SCOPE_RAW;
    return RING_RECORD;
}

ring_at ring_next(ring_at at)
{
    return at_make(at_number(at) + 1, 0);
}

ring_at ring_head(const struct ring *r)
{
    return atomic_load_explicit(&r->head, memory_order_acquire);
}

/* The place where record `number` begins, or the head's where there is no such record (yet). */
static bool begin_of(struct ring *r, const struct ring_shape *shape, uint32_t number, uint64_t tail_pos,
                     uint64_t *pos)
{
    struct ring_cell *cells = (struct ring_cell *)((char *)r + sizeof *r);
    ring_at stamp = atomic_load_explicit(&cells[number & (shape->cells - 1)].at, memory_order_acquire);
    if (stamp == 0 || at_number(stamp) != (number & RING_NUMBER_MASK))
        return false;
    uint64_t in_lap = at_pos(stamp) & (shape->units - 1);
    /* the first position at or behind tail that has this place in its lap */
    *pos = tail_pos + ((in_lap - tail_pos) & (shape->units - 1));
    return true;
}

void ring_free(struct ring *r, const struct ring_shape *shape, ring_at to)
{
    ring_at tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    struct ring_cell *cells = (struct ring_cell *)((char *)r + sizeof *r);
    uint32_t n = (at_number(to) - at_number(tail)) & RING_NUMBER_MASK;
    if (n > shape->cells) {
        /* Somebody wrote over `to`, or over head or tail: then no freeing would ever bring the two together,
         * and whoever empties the ring would not come to an end. */
        ring_at head = ring_head(r);
        if (((at_number(head) - at_number(tail)) & RING_NUMBER_MASK) > shape->cells)
            atomic_store_explicit(&r->tail, head, memory_order_release);
        return;
    }
    /* Free bytes end where the next record begins. Read the head first: if `to` is the head's number, nobody
     * has reserved behind it and the head's position is the end. */
    uint64_t pos = at_pos(tail);
    bool known = false;
    for (ring_at head = ring_head(r); !known;) {
        if (at_number(head) == at_number(to)) {
            pos = at_pos(head);
            known = true;
        } else if (begin_of(r, shape, at_number(to), at_pos(tail), &pos)) {
            known = true;
        } else {
            break; /* the next record is not finished: its bytes, and those before, are freed with it */
        }
    }
    for (uint32_t i = 0; i < n; i++)
        atomic_store_explicit(&cells[(at_number(tail) + i) & (shape->cells - 1)].at, 0, memory_order_relaxed);
    /* Pairs with the acquire in ring_reserve. */
    atomic_store_explicit(&r->tail, at_make(at_number(to), pos), memory_order_release);
}

void ring_mend(struct ring *r)
{
    ring_at tail = atomic_load_explicit(&r->tail, memory_order_relaxed), head = ring_head(r);
    if (at_number(tail) == at_number(head) && tail != head)
        atomic_compare_exchange_strong(&r->tail, &tail, head);
}
