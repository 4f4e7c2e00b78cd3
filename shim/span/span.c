/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/ring.h"
#include "clock.h"
#include "config/config.h"
#include "fork/generation.h"
#include "process.h"
#include "span/current.h"
#include "span/sampler.h"
#include "span/span_internal.h"

#include <string.h>
#include <sys/mman.h>

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
    atomic_store_explicit(&s->serial, atomic_load_explicit(&s->serial, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    do {
        atomic_store(&s->next, (uint32_t)first);
        next = ((first >> 32) + 1) << 32 | index;
    } while (!atomic_compare_exchange_weak(&free_list, &first, next));
}

size_t span_limited(const char *s, size_t len, uint32_t limit)
{
    if (len <= limit)
        return len;
    size_t i = 0;
    for (uint32_t n = 0; i < len; i++)
        if (((uint8_t)s[i] & 0xc0) != 0x80 && n++ == limit)
            break;
    return i;
}

size_t span_copy_name(char *to, size_t room, const char *from)
{
    size_t len = strnlen(from, room);
    if (len == room)
        for (len = room - 1; len && ((uint8_t)from[len] & 0xc0) == 0x80;)
            len--;
    memcpy(to, from, len);
    to[len] = '\0';
    return len;
}

/* Ids, parent and trace state; all that a span has that is not recorded, too. */
static void give_context(struct span *s, const struct span_start *how)
{
    memset(&s->head, 0, sizeof s->head);
    const struct span_context *parent = how->parent;
    s->tracestate_len = 0;
    if (parent && parent->valid) {
        memcpy(s->head.ctx.trace_id, parent->trace_id, 16);
        memcpy(s->head.parent_span_id, parent->span_id, 8);
        s->head.has_parent = true;
        s->head.parent_remote = parent->remote;
        s->head.ctx.flags = parent->flags & TRACE_RANDOM;
        if (how->tracestate_len && how->tracestate_len <= sizeof s->tracestate) {
            memcpy(s->tracestate, how->tracestate, how->tracestate_len);
            s->tracestate_len = (uint16_t)how->tracestate_len;
        }
    } else {
        new_trace_id(s->head.ctx.trace_id);
        s->head.ctx.flags = TRACE_RANDOM;
    }
    new_span_id(s->head.ctx.span_id);
    s->head.ctx.valid = true;
}

struct span *span_start_with(const struct span_start *how)
{
    if (!process_makes_spans(how->in_handler))
        return NULL;
    struct span *s = take();
    if (!s) {
        process_count(COUNT_NO_ROOM, 1);
        return NULL;
    }
    s->generation = generation_now();
    give_context(s, how);
    s->recorded = sampler_decide(config_get(), how->parent, s->head.ctx.trace_id);
    process_count(COUNT_STARTED, 1);
    if (!s->recorded)
        return s;
    s->head.ctx.flags |= TRACE_SAMPLED;
    s->head.kind = (uint8_t)how->kind;
    s->head.tracestate = (const uint8_t *)s->tracestate;
    s->head.tracestate_len = s->tracestate_len;
    s->head.name = s->name;
    s->head.name_len = span_copy_name(s->name, sizeof s->name, how->name);
    s->attributes = s->dropped = s->events = s->links = 0;
    s->keys = 0;
    s->wire = (struct wire){.p = s->bytes, .end = s->bytes + SPAN_BYTES};
    s->start_mono = clock_ns(CLOCK_MONOTONIC);
    s->head.start_ns = how->unix_ns ? how->unix_ns : clock_unix_ns(s->start_mono);
    s->ended_by_clock = how->unix_ns != 0;
    return s;
}

struct span *span_start(const char *name, enum span_kind kind, const struct span_context *parent)
{
    return span_start_with(&(struct span_start){.name = name, .kind = kind, .parent = parent});
}

void span_rename(struct span *s, const char *name)
{
    if (s && s->recorded)
        s->head.name_len = span_copy_name(s->name, sizeof s->name, name);
}

void span_set_status(struct span *s, enum span_status status, const char *description)
{
    /* Ok > Error > Unset; a description goes with Error only */
    if (!s || !s->recorded || status == SPAN_STATUS_UNSET || s->head.status == SPAN_STATUS_OK)
        return;
    s->head.status = (uint8_t)status;
    s->head.status_message = NULL;
    if (status == SPAN_STATUS_ERROR && description) {
        span_copy_name(s->message, sizeof s->message, description);
        s->head.status_message = s->message;
    }
}

const struct span_context *span_get_context(const struct span *s)
{
    return &s->head.ctx;
}

const char *span_get_tracestate(const struct span *s, size_t *len)
{
    *len = s->tracestate_len;
    return s->tracestate;
}

/* Explicit times are the wall clock's; a span with none of its own ends as far after its start as the
 * monotonic clock says. */
static uint64_t end_of(const struct span *s, uint64_t unix_ns)
{
    if (unix_ns)
        return unix_ns;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    return s->ended_by_clock ? clock_unix_ns(now) : s->head.start_ns + (now - s->start_mono);
}

void span_end_at(struct span *s, uint64_t unix_ns)
{
    if (!s)
        return;
    current_detach(s);
    struct ring *ring = process_ring();
    if (s->recorded && ring && s->generation == generation_now()) {
        s->head.end_ns = end_of(s, unix_ns);
        s->head.dropped_attributes = s->dropped;
        size_t parts = (size_t)(s->wire.p - s->bytes);
        struct ring_place place;
        if (ring_reserve(ring, (uint32_t)(span_room(&s->head) + parts), &place)) {
            struct wire w = {.p = place.p, .end = place.p + place.room};
            uint8_t *start = span_open(&w, &s->head);
            memcpy(w.p, s->bytes, parts);
            w.p += parts;
            ring_commit(&place, (uint32_t)span_close(&w, start), RING_SCOPE_API);
            process_count(COUNT_QUEUED, 1);
            process_committed();
        } else {
            process_count(COUNT_DROPPED, 1);
        }
    }
    give_back(s);
}

void span_end(struct span *s)
{
    span_end_at(s, 0);
}
