/* SPDX-License-Identifier: Apache-2.0 */
#include "span/span.h"
#include "clock.h"
#include "fork/generation.h"
#include "process.h"
#include "span/encode.h"
#include "span/sampler.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { SPAN_POOL = 1024, ATTRIBUTES = 1600, NAME = 128 };

struct span {
    uint64_t generation; /* a child's end of its parent's span is dropped */
    _Atomic uint32_t next;
    uint32_t attributes, dropped;
    bool recorded;
    uint64_t start_mono;
    struct span_head head;
    char name[NAME], message[NAME];
    struct wire wire; /* attributes, encoded as they come */
    uint8_t bytes[ATTRIBUTES];
};

static struct span *_Atomic pool;
/* The free list: index + 1 of its first span, under a tag that changes at each take (a handler may take and
 * give back between our load and our swap). */
static _Atomic uint64_t free_list;
static _Atomic uint32_t untouched; /* spans of the pool that were never given out */

static struct span *have_pool(void)
{
    struct span *p = atomic_load(&pool);
    if (p)
        return p;
    p = mmap(NULL, SPAN_POOL * sizeof(struct span), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    struct span *none = NULL;
    if (!atomic_compare_exchange_strong(&pool, &none, p)) {
        munmap(p, SPAN_POOL * sizeof(struct span));
        p = none;
    }
    return p;
}

static struct span *take(void)
{
    struct span *p = have_pool();
    if (!p)
        return NULL;
    uint64_t first = atomic_load(&free_list);
    while ((uint32_t)first) {
        struct span *s = &p[(uint32_t)first - 1];
        uint64_t rest = ((first >> 32) + 1) << 32 | atomic_load(&s->next);
        if (atomic_compare_exchange_weak(&free_list, &first, rest))
            return s;
    }
    uint32_t fresh = atomic_load(&untouched);
    while (fresh < SPAN_POOL)
        if (atomic_compare_exchange_weak(&untouched, &fresh, fresh + 1))
            return &p[fresh];
    return NULL;
}

static void give_back(struct span *s)
{
    uint32_t index = (uint32_t)(s - atomic_load(&pool)) + 1;
    uint64_t first = atomic_load(&free_list), next;
    do {
        atomic_store(&s->next, (uint32_t)first);
        next = ((first >> 32) + 1) << 32 | index;
    } while (!atomic_compare_exchange_weak(&free_list, &first, next));
}

struct span *span_start(const char *name, enum span_kind kind, const struct span_context *parent)
{
    if (!process_makes_spans())
        return NULL;
    struct span *s = take();
    if (!s) {
        process_count(COUNT_NO_ROOM, 1);
        return NULL;
    }
    const struct config *config = config_get();
    memset(&s->head, 0, sizeof s->head);
    s->generation = generation_now();
    s->attributes = s->dropped = 0;
    bool child = parent && parent->valid;
    if (child) {
        memcpy(s->head.ctx.trace_id, parent->trace_id, 16);
        memcpy(s->head.parent_span_id, parent->span_id, 8);
        s->head.has_parent = true;
        s->head.parent_remote = parent->remote;
        s->head.ctx.flags = parent->flags & TRACE_RANDOM;
    } else {
        new_trace_id(s->head.ctx.trace_id);
        s->head.ctx.flags = TRACE_RANDOM;
    }
    s->recorded = sampler_decide(config, parent, s->head.ctx.trace_id);
    new_span_id(s->head.ctx.span_id);
    s->head.ctx.valid = true;
    process_count(COUNT_STARTED, 1);
    if (!s->recorded)
        return s;
    s->head.ctx.flags |= TRACE_SAMPLED;
    s->head.kind = (uint8_t)kind;
    size_t len = strlen(name);
    if (len > NAME)
        len = NAME;
    memcpy(s->name, name, len);
    s->head.name = s->name;
    s->head.name_len = len;
    s->wire = (struct wire){.p = s->bytes, .end = s->bytes + ATTRIBUTES};
    s->start_mono = clock_ns(CLOCK_MONOTONIC);
    s->head.start_ns = clock_unix_ns(s->start_mono);
    return s;
}

/* Room for one more attribute, which is kept whole or not at all. */
static bool may_set(struct span *s, uint8_t **mark)
{
    if (!s || !s->recorded)
        return false;
    *mark = s->wire.p;
    if (s->attributes < config_get()->attribute_count)
        return true;
    s->dropped++;
    return false;
}

static void was_set(struct span *s, uint8_t *mark)
{
    if (s->wire.over) {
        s->wire.p = mark;
        s->wire.over = false;
        s->dropped++;
    } else {
        s->attributes++;
    }
}

/* Bytes of the first `limit` characters. */
static size_t limited(const char *s, size_t len, uint32_t limit)
{
    if (len <= limit)
        return len;
    size_t i = 0;
    for (uint32_t n = 0; i < len; i++)
        if (((uint8_t)s[i] & 0xc0) != 0x80 && n++ == limit)
            break;
    return i;
}

void span_set_string(struct span *s, const char *key, const char *value, size_t len)
{
    uint8_t *mark;
    if (!may_set(s, &mark))
        return;
    wire_key_string(&s->wire, key, (const uint8_t *)value,
                    limited(value, len, config_get()->attribute_length));
    was_set(s, mark);
}

void span_set_int(struct span *s, const char *key, int64_t value)
{
    uint8_t *mark;
    if (!may_set(s, &mark))
        return;
    wire_key_int(&s->wire, key, value);
    was_set(s, mark);
}

void span_set_double(struct span *s, const char *key, double value)
{
    uint8_t *mark;
    if (!may_set(s, &mark))
        return;
    wire_key_double(&s->wire, key, value);
    was_set(s, mark);
}

void span_set_bool(struct span *s, const char *key, bool value)
{
    uint8_t *mark;
    if (!may_set(s, &mark))
        return;
    wire_key_bool(&s->wire, key, value);
    was_set(s, mark);
}

void span_set_status(struct span *s, enum span_status status, const char *description)
{
    /* Ok > Error > Unset; a description goes with Error only */
    if (!s || !s->recorded || status == SPAN_STATUS_UNSET || s->head.status == SPAN_STATUS_OK)
        return;
    s->head.status = (uint8_t)status;
    s->head.status_message = NULL;
    if (status == SPAN_STATUS_ERROR && description) {
        size_t len = strnlen(description, NAME - 1);
        memcpy(s->message, description, len);
        s->message[len] = '\0';
        s->head.status_message = s->message;
    }
}

const struct span_context *span_get_context(const struct span *s)
{
    return &s->head.ctx;
}

void span_end(struct span *s)
{
    if (!s)
        return;
    struct ring *ring = process_ring();
    if (s->recorded && ring && s->generation == generation_now()) {
        s->head.end_ns = s->head.start_ns + (clock_ns(CLOCK_MONOTONIC) - s->start_mono);
        s->head.dropped_attributes = s->dropped;
        size_t attributes = (size_t)(s->wire.p - s->bytes);
        struct ring_place place;
        if (ring_reserve(ring, (uint32_t)(span_room(&s->head) + attributes), &place)) {
            struct wire w = {.p = place.p, .end = place.p + place.room};
            uint8_t *start = span_open(&w, &s->head);
            memcpy(w.p, s->bytes, attributes);
            w.p += attributes;
            ring_commit(&place, (uint32_t)span_close(&w, start), RING_SCOPE_API);
            process_count(COUNT_QUEUED, 1);
            process_committed();
        } else {
            process_count(COUNT_DROPPED, 1);
        }
    }
    give_back(s);
}
