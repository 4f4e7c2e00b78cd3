/* SPDX-License-Identifier: Apache-2.0
 * ring_reader.h - the consumer's side of a ring. The caller is the ring's only consumer (its slot's consumer
 * word) and holds the queue lock for ring_free; the ring may be another process's, dead or hostile.
 */
#ifndef FORKSPAN_ARENA_RING_READER_H
#define FORKSPAN_ARENA_RING_READER_H

#include "arena/layout.h"

/* The sizes as they are known from the process's own copy of the arena's shape, never from the ring itself:
 * both powers of two; `units` of 8 bytes. */
struct ring_shape {
    uint32_t cells, units;
};

struct ring_record {
    const uint8_t *bytes; /* in shared memory: may change under the reader's hands; copy, then check */
    uint32_t len;
    uint32_t scope;
};

enum ring_found { RING_RECORD, RING_END, RING_UNFINISHED, RING_CORRUPT };

size_t ring_size(uint32_t cells, uint32_t units);
/* Once, before any other of these and ring.h's functions: the shape of all rings of this process's arena. */
void ring_trust(const struct ring_shape *shape, uint32_t max_queued);
/* Takes back the stamps of all records, whatever lies there. */
void ring_wipe(struct ring *r);
/* Memory that is zero, or was an empty ring: every record's stamp has been taken back (ring_free, ring_wipe).
 */
void ring_init(struct ring *r);
uint32_t ring_queued(const struct ring *r);
ring_at ring_head(const struct ring *r);
ring_at ring_next(ring_at at);
/* The record with the number of `at` (its position is not looked at). */
enum ring_found ring_peek(struct ring *r, const struct ring_shape *shape, ring_at at,
                          struct ring_record *out);
/* An empty ring whose two ends are not at one place was written over, and nothing would fit into it any more.
 */
void ring_mend(struct ring *r);
/* Frees every record before `to`, torn ones included. */
void ring_free(struct ring *r, const struct ring_shape *shape, ring_at to);

#endif
