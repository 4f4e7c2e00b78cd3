/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/fatal.h"
#include "arena/news.h"
#include "arena/requests.h"
#include "arena/ring.h"
#include "clock.h"
#include "io/http_record.h"

#include <stdatomic.h>

static const uint64_t NEWS_WAIT_NS = 5000000000;

/* A record has been committed if it is there, or was there: a consumer passes an unfinished one only after
 * this question has been answered. */
static bool committed(const struct arena *a, struct slot *s, uint32_t number)
{
    struct ring *ring = slot_ring(a, s);
    uint32_t ahead = (number - at_number(atomic_load(&ring->tail))) & (uint32_t)RING_NUMBER_MASK;
    struct ring_record record;
    return ahead >= ring_queued(ring) ||
           ring_peek(ring, &a->shape, at_make(number, 0), &record) == RING_RECORD;
}

void fatal_settle(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    struct request_table *t = slot_requests(a, s);
    for (unsigned e = request_next_open(t, 0); e < REQUESTS; e = request_next_open(t, e + 1)) {
        struct request *r = request_entry(t, e);
        uint32_t record = atomic_load(&r->record);
        if (!(record & REQUEST_RECORD_SET))
            continue;
        if (committed(a, s, record & ~REQUEST_RECORD_SET))
            atomic_store(&r->phase, REQUEST_FINISHED);
        else
            atomic_store(&r->record, 0);
    }
}

static uint64_t dead_since(struct slot *s)
{
    uint64_t since = 0, now = clock_ns(CLOCK_MONOTONIC);
    if (atomic_compare_exchange_strong(&s->dead_since_ns, &since, now) || since > now)
        since = now;
    return since;
}

static bool write_one(struct slot *s, struct ring *ring, struct request *r, const struct config *config,
                      const struct request *copy, const struct http_outcome *o)
{
    struct ring_place place;
    struct http_span span;
    http_span_of(&span, config, copy, o);
    if (!ring_reserve(ring, (uint32_t)span.room, &place))
        return false;
    size_t n = http_span_write(&span, place.p, place.room);
    atomic_store(&r->record, place.number | REQUEST_RECORD_SET);
    ring_commit(&place, (uint32_t)n, RING_SCOPE_HTTP);
    atomic_store(&r->phase, REQUEST_FINISHED);
    atomic_fetch_add_explicit(&s->counters[COUNT_QUEUED], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->counters[COUNT_FATAL], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->counters[COUNT_ERRORS], 1, memory_order_relaxed);
    latency_add(s->latencies, o->end_ns - copy->start_realtime_ns);
    return true;
}

enum fatal fatal_write(const struct arena *a, const struct config *config, uint32_t i, bool patient)
{
    struct slot *s = arena_slot(a, i);
    struct request_table *t = slot_requests(a, s);
    unsigned e = request_next_open(t, 0);
    if (e >= REQUESTS)
        return FATAL_NONE;
    uint64_t since = dead_since(s);
    uint32_t news = news_of(s);
    if (news == 0 && patient && clock_ns(CLOCK_MONOTONIC) - since < NEWS_WAIT_NS)
        return FATAL_WAITS;
    /* Both are later than the death. */
    uint64_t told = atomic_load(&s->news_ns), end = news & NEWS_SET && told && told < since ? told : since;
    char type[NEWS_TYPE_MAX];
    news_type(news, type);
    struct ring *ring = slot_ring(a, s);
    bool any = false;
    for (; e < REQUESTS; e = request_next_open(t, e + 1)) {
        struct request *r = request_entry(t, e);
        static struct request copy; /* one consumer a process */
        if (!request_copy(r, &copy)) {
            atomic_store(&r->phase, REQUEST_UNUSED);
            atomic_fetch_add_explicit(&s->counters[COUNT_CORRUPT], 1, memory_order_relaxed);
            continue;
        }
        struct http_outcome o = {.error_type = type, .end_ns = copy.start_realtime_ns};
        if (end > copy.start_monotonic_ns)
            o.end_ns += end - copy.start_monotonic_ns;
        if (write_one(s, ring, r, config, &copy, &o)) {
            any = true;
        } else if (any) {
            return FATAL_WRITTEN; /* full: the rest when these are sent */
        } else {
            atomic_store(&r->phase, REQUEST_UNUSED); /* larger than the whole ring */
            atomic_fetch_add_explicit(&s->counters[COUNT_DROPPED], 1, memory_order_relaxed);
        }
    }
    return any ? FATAL_WRITTEN : FATAL_NONE;
}
