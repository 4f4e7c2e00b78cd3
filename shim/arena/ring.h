/* SPDX-License-Identifier: Apache-2.0
 * ring.h - the ring of finished spans of one slot: many producers, one consumer.
 *
 * A record is one OTLP Span message with its tag and length as field 2 of ScopeSpans. Producers never lock,
 * never allocate and make no system call; every function marked P may be called in a signal handler.
 * Reservation is one compare-and-swap on `head`, which packs a record number and a byte position, so that a
 * record torn by its producer's death is passed over by its descriptor's neighbours.
 *
 *                     [1]  [2]  [3]  [4]
 * [1] ring_reserve  P  -    -    -    -      "-": may run beside it, also on one thread in a signal handler
 * [2] ring_commit   P  -    -    -    -      "X": the caller keeps them apart (queue lock and consumer word)
 * [3] ring_peek        -    -    X    X
 * [4] ring_free        -    -    X    X
 */
#ifndef FORKSPAN_ARENA_RING_H
#define FORKSPAN_ARENA_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring; /* in shared memory: arena/layout.h */

/* A place in the ring of the calling process, between reserve and commit. */
struct ring_place {
    struct ring *ring;
    uint8_t *p;    /* where the record goes */
    uint32_t room; /* bytes reserved */
    uint32_t number;
};

/* Reserves `room` bytes; false when the ring is full (counted as dropped) or closed. Any thread, any handler.
 */
bool ring_reserve(struct ring *ring, uint32_t room, struct ring_place *place);
/* Publishes `len` <= room bytes of scope `scope` (an index, enum ring_scope). After it the place is gone. */
void ring_commit(const struct ring_place *place, uint32_t len, uint16_t scope);

enum ring_scope { RING_SCOPE_HTTP, RING_SCOPE_API, RING_SCOPE_RAW, RING_SCOPES };

#endif
