/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: a consumer over the ring of a dead process that wrote what it liked there. The input is a
 * program: honest records, torn ones, and bytes over anything the reader reads, then the whole of
 * consumer_run(). Every record peeked lies within the ring; every batch handed over is whole; and it ends.
 */
#include "arena/arena.h"
#include "arena/requests.h"
#include "arena/slot.h"
#include "batch/consumer.h"
#include "batch/queue.h"
#include "config/config.h"
#include "futex.h"
#include "log.h"
#include "process.h"
#include "tls.h"
#include "wire/otlp.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CELLS = 64, UNITS = 256, MAX_QUEUED = 48, MAX_BATCH = 5, OWN = 0, DEAD = 1, SLOTS = 2 };

_Thread_local struct thread_state tls;

/* What submit.c and log.c's callers want of a process. */
bool process_makes_spans(bool signal_safe_only)
{
    (void)signal_safe_only;
    return false;
}
struct ring *process_ring(void)
{
    return NULL;
}
void process_count(enum counter c, uint64_t n)
{
    (void)c, (void)n;
}
void process_committed(void)
{
}
void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

/* ---- the exporter: reads every byte it is given */

static unsigned batches;

static void check_spans(const uint8_t *p, size_t len, uint32_t n)
{
    /* each record is field 2 of ScopeSpans, so one ResourceSpans around them counts them */
    uint8_t *message = malloc(len + 24), *w = message;
    size_t scope = len, resource = scope + 1;
    for (size_t v = scope;; v >>= 7, resource++)
        if (v < 0x80)
            break;
    resource++;
    const size_t lengths[] = {resource, scope};
    const uint8_t tags[] = {0x0a, 0x12};
    for (int i = 0; i < 2; i++) {
        *w++ = tags[i];
        size_t v = lengths[i];
        for (; v >= 0x80; v >>= 7)
            *w++ = (uint8_t)(v | 0x80);
        *w++ = (uint8_t)v;
    }
    memcpy(w, p, len);
    if (otlp_spans(message, (size_t)(w - message) + len) != (long)n)
        abort();
    free(message);
}

static void take_batch(struct exporter *e, const struct exporter_batch *b, uint64_t deadline_ns,
                       struct export_outcome *out)
{
    (void)e, (void)deadline_ns;
    uint32_t n = 0;
    uint8_t sum = 0;
    for (size_t i = 0; i < b->resource_len; i++)
        sum ^= b->resource[i];
    for (size_t i = 0; i < b->n_scopes; i++) {
        check_spans(b->scopes[i].spans, b->scopes[i].spans_len, b->scopes[i].n_spans);
        n += b->scopes[i].n_spans;
    }
    if (b->raw_len) {
        long raw = otlp_spans(b->raw, b->raw_len);
        if (raw <= 0)
            abort();
        n += (uint32_t)raw;
    }
    if (n != b->n_spans || n == 0)
        abort();
    /* as an exporter would answer, to walk each way */
    *out = (struct export_outcome){.result = (enum export_result)(sum % 2), .rejected = sum, .attempts = 1};
    /* 16 sealed batches are already there at most, and each one more frees its records */
    if (++batches > 4 * (CELLS + SEALED_MAX))
        abort();
}

static void no_rest(void *ctx)
{
    (void)ctx;
}
static bool never(void)
{
    return false;
}

/* ---- */

static struct arena arena;

static void arena_reset(void)
{
    arena.shape = (struct ring_shape){CELLS, UNITS};
    arena.max_queued = MAX_QUEUED;
    arena.slots = SLOTS;
    arena.requests_off = (sizeof(struct slot) + 63) / 64 * 64;
    arena.ring_off = arena.requests_off + (uint32_t)(request_table_size() + 63) / 64 * 64;
    arena.slot_size = (arena.ring_off + ring_size(CELLS, UNITS) + 63) / 64 * 64;
    arena.slots_off = (sizeof(struct arena_header) + 63) / 64 * 64;
    arena.size = arena.slots_off + SLOTS * arena.slot_size;
    /* its own allocation, the dead one's ring last: what reads beyond it is seen */
    ring_trust(&arena.shape, arena.max_queued);
    arena.header = aligned_alloc(64, arena.size);
    memset(arena.header, 0, arena.size);
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct slot *s = arena_slot(&arena, i);
        atomic_store(arena_state(&arena, i), (uint64_t)(uint32_t)getpid() << 32 | SLOT_LIVE);
        atomic_store(&s->epoch, 1);
        ring_init(slot_ring(&arena, s));
    }
    atomic_store(&arena.header->liveness[OWN], (uint32_t)gettid());
    atomic_store(&arena.header->liveness[DEAD], FUTEX_OWNER_DIED | 1);
}

struct input {
    const uint8_t *p, *end;
};

static uint64_t number(struct input *in, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes-- && in->p < in->end)
        v = v << 8 | *in->p++;
    return v;
}

static void produce(struct input *in, struct ring *ring, bool commit)
{
    atomic_store(&ring->open, 1);
    uint16_t scope = (uint16_t)number(in, 1);
    size_t len = number(in, 1);
    if (len > (size_t)(in->end - in->p))
        len = (size_t)(in->end - in->p);
    struct ring_place place;
    if (!ring_reserve(ring, (uint32_t)len + 1, &place))
        return;
    memcpy(place.p, in->p, len);
    in->p += len;
    if (commit)
        ring_commit(&place, (uint32_t)len, scope);
}

static void peek_all(struct ring *ring)
{
    const uint8_t *begin = (const uint8_t *)ring, *end = begin + ring_size(CELLS, UNITS);
    ring_at at = atomic_load(&ring->tail);
    for (unsigned i = 0; i <= CELLS; i++, at = ring_next(at)) {
        struct ring_record record;
        enum ring_found found = ring_peek(ring, &arena.shape, at, &record);
        if (found == RING_END)
            return;
        if (found == RING_RECORD && (record.bytes < begin || record.len > (size_t)(end - record.bytes) ||
                                     record.scope >= RING_SCOPES))
            abort();
    }
}

static void step(struct input *in, struct slot *s)
{
    struct ring *ring = slot_ring(&arena, s);
    struct ring_cell *cells = (struct ring_cell *)((char *)ring + sizeof *ring);
    switch (number(in, 1) % 8) {
    case 0:
    case 1:
        produce(in, ring, true);
        break;
    case 2:
        produce(in, ring, false);
        break;
    case 3: { /* any bytes anywhere in the slot */
        size_t at = number(in, 2) % arena.slot_size, n = number(in, 1) % 16;
        for (; n-- && at < arena.slot_size && in->p < in->end; at++)
            ((uint8_t *)s)[at] = *in->p++;
        break;
    }
    case 4: { /* a batch of nonsense */
        atomic_store(&s->sealed_first, (uint32_t)number(in, 1));
        atomic_store(&s->sealed_count, (uint32_t)number(in, 1));
        uint32_t i = (uint32_t)number(in, 1) % SEALED_MAX;
        s->sealed[i] = (struct sealed){at_make((uint32_t)number(in, 1), number(in, 2)),
                                       at_make((uint32_t)number(in, 1), number(in, 2))};
        break;
    }
    case 5:
        atomic_store(&ring->head, at_make((uint32_t)number(in, 3), number(in, 2)));
        break;
    case 6:
        atomic_store(&ring->tail, at_make((uint32_t)number(in, 3), number(in, 2)));
        break;
    default: {
        struct ring_cell *c = &cells[number(in, 1) % CELLS];
        c->len = (uint32_t)number(in, 2);
        c->scope = (uint32_t)number(in, 2);
        atomic_store(&c->at, at_make((uint32_t)number(in, 3), number(in, 2)));
        break;
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct exporter_ops ops = {.send = take_batch};
    static const struct config config = {.max_batch = MAX_BATCH};
    static char exporter; /* never looked into */
    arena_reset();
    queue_reinit();
    batches = 0;
    struct consumer consumer = {.arena = &arena,
                                .config = &config,
                                .ops = &ops,
                                .exporter = (struct exporter *)&exporter,
                                .rest_point = no_rest,
                                .stopping = never,
                                .me = consumer_word(OWN, 1)};
    struct input in = {data, data + size};
    struct slot *s = arena_slot(&arena, DEAD);
    while (in.p < in.end) {
        for (uint64_t n = number(&in, 1) % 16; n-- && in.p < in.end;)
            step(&in, s);
        peek_all(slot_ring(&arena, s));
        consumer_run(&consumer, 0);
        batches = 0;
    }
    if (consumer.buffer)
        munmap(consumer.buffer, consumer.buffer_size);
    free(arena.header);
    return 0;
}
