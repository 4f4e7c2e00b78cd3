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

/* Ids, parent and trace state; all that a span has that is not recorded, too. Returns whether it is sampled.
 */
static bool give_context(struct span_body *b, const struct span_start *how)
{
    struct span_context current;
    const struct span_context *parent = how->parent;
    size_t len = 0;
    memset(&b->head, 0, sizeof b->head);
    if (how->below_current) {
        parent = current_get(&current, b->tracestate, &len) ? &current : NULL;
    } else if (parent && parent->valid && how->tracestate && how->tracestate_len <= sizeof b->tracestate) {
        len = how->tracestate_len;
        memcpy(b->tracestate, how->tracestate, len);
    }
    b->tracestate_len = (uint16_t)len;
    if (parent && parent->valid) {
        memcpy(b->head.ctx.trace_id, parent->trace_id, 16);
        memcpy(b->head.parent_span_id, parent->span_id, 8);
        b->head.has_parent = true;
        b->head.parent_remote = parent->remote;
        b->head.ctx.flags = parent->flags & TRACE_RANDOM;
        new_span_id(b->head.ctx.span_id);
    } else {
        new_root_ids(b->head.ctx.trace_id, b->head.ctx.span_id);
        b->head.ctx.flags = TRACE_RANDOM;
    }
    bool sampled = sampler_decide(config_get(), process_sampling(), parent, b->head.ctx.trace_id);
    b->head.ctx.valid = true;
    return sampled;
}

static void begin_recording(struct span_body *b, const struct span_start *how)
{
    process_count(COUNT_STARTED, 1);
    b->head.ctx.flags |= TRACE_SAMPLED;
    b->head.kind = (uint8_t)how->kind;
    b->head.name = b->name;
    b->head.name_len = span_copy_name(b->name, sizeof b->name, how->name);
    b->attributes = b->dropped = b->events = b->links = 0;
    for (int i = 0; i < MISSED; i++)
        atomic_store_explicit(&b->missed[i], 0, memory_order_relaxed);
    b->keys = 0;
    b->wire = (struct wire){.p = b->bytes, .end = b->bytes + SPAN_BYTES};
    b->start_mono = clock_ns(CLOCK_MONOTONIC);
    b->head.start_ns = how->unix_ns ? how->unix_ns : clock_unix_ns(b->start_mono);
    b->ended_by_clock = how->unix_ns != 0;
}

struct span *span_start_with(const struct span_start *how)
{
    if (!process_makes_spans(how->in_handler))
        return NULL;
    struct span *handle;
    struct span_body *b = pool_take(&handle);
    if (!b) {
        process_count(COUNT_NO_ROOM, 1);
        return NULL;
    }
    b->generation = generation_now();
    b->attached_to = NULL;
    b->recorded = give_context(b, how);
    if (b->recorded)
        begin_recording(b, how);
    pool_open(b);
    return handle;
}

struct span *span_start(const char *name, enum span_kind kind, const struct span_context *parent)
{
    return span_start_with(&(struct span_start){.name = name, .kind = kind, .parent = parent});
}

void span_miss(const struct span *handle, enum span_missed what)
{
    struct span_body *b = pool_look(handle);
    if (b)
        atomic_fetch_add_explicit(&b->missed[what], 1, memory_order_relaxed);
}

void span_rename(struct span *s, const char *name)
{
    struct span_body *b = pool_enter(s);
    if (!b)
        return;
    if (b->recorded)
        b->head.name_len = span_copy_name(b->name, sizeof b->name, name);
    pool_leave(b);
}

void span_set_status(struct span *s, enum span_status status, const char *description)
{
    struct span_body *b = pool_enter(s);
    if (!b)
        return;
    /* Ok > Error > Unset; a description goes with Error only */
    if (b->recorded && status != SPAN_STATUS_UNSET && b->head.status != SPAN_STATUS_OK) {
        b->head.status = (uint8_t)status;
        b->head.status_message = NULL;
        if (status == SPAN_STATUS_ERROR && description) {
            span_copy_name(b->message, sizeof b->message, description);
            b->head.status_message = b->message;
        }
    }
    pool_leave(b);
}

/* Another thread may end it, and a third use its place, while this copies: then the second look fails, and
 * what was copied is not used. */
__attribute__((no_sanitize("thread"))) bool span_get_context(const struct span *s, struct span_context *out,
                                                             char *tracestate, size_t *len)
{
    *len = 0;
    const struct span_body *b = pool_look(s);
    if (!b) {
        memset(out, 0, sizeof *out);
        return false;
    }
    *out = b->head.ctx;
    *len = b->tracestate_len <= TRACESTATE_MAX ? b->tracestate_len : 0;
    for (size_t i = 0; i < *len; i++)
        tracestate[i] = b->tracestate[i];
    atomic_thread_fence(memory_order_acquire);
    if (pool_look(s))
        return true;
    memset(out, 0, sizeof *out);
    *len = 0;
    return false;
}

uint64_t span_now(const struct span_body *b)
{
    /* Told times are the wall clock's; a span with none of its own goes by the monotonic clock from its start
     * on. */
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    return b->ended_by_clock ? clock_unix_ns(now) : b->head.start_ns + (now - b->start_mono);
}

static uint32_t missed(const struct span_body *b, enum span_missed what)
{
    return atomic_load_explicit(&b->missed[what], memory_order_relaxed);
}

void span_finish(struct span_body *b, uint64_t unix_ns)
{
    struct ring *ring = process_ring();
    if (!b->recorded || !ring || b->generation != generation_now())
        return;
    b->head.end_ns = unix_ns ? unix_ns : span_now(b);
    b->head.tracestate = (const uint8_t *)b->tracestate;
    b->head.tracestate_len = b->tracestate_len;
    b->head.dropped_attributes = b->dropped + missed(b, MISSED_ATTRIBUTES);
    b->head.dropped_events += missed(b, MISSED_EVENTS);
    b->head.dropped_links += missed(b, MISSED_LINKS);
    size_t parts = (size_t)(b->wire.p - b->bytes);
    struct ring_place place;
    if (!ring_reserve(ring, (uint32_t)(span_room(&b->head) + parts), &place)) {
        process_count(COUNT_DROPPED, 1);
        return;
    }
    struct wire w = {.p = place.p, .end = place.p + place.room};
    uint8_t *start = span_open(&w, &b->head);
    memcpy(w.p, b->bytes, parts);
    w.p += parts;
    ring_commit(&place, (uint32_t)span_close(&w, start), RING_SCOPE_API);
    process_count(COUNT_QUEUED, 1);
    process_committed();
}

void span_end_at(struct span *s, uint64_t unix_ns)
{
    if (!s)
        return;
    current_detach(s);
    pool_end(s, unix_ns);
}

void span_end(struct span *s)
{
    span_end_at(s, 0);
}
