/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/consumer.h"
#include "arena/requests.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "batch/fatal.h"
#include "batch/queue.h"
#include "batch/report.h"
#include "clock.h"
#include "log.h"
#include "wire/otlp.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Scope names, in the order of enum ring_scope. */
static const char *const scope_names[RING_SCOPES] = {"forkspan.http", "forkspan.api"};

static void count(struct slot *s, enum counter which, uint64_t n)
{
    if (n)
        atomic_fetch_add_explicit(&s->counters[which], n, memory_order_relaxed);
}

static bool buffer_room(struct consumer *c, size_t need)
{
    if (need <= c->buffer_size)
        return true;
    size_t size = c->buffer_size ? c->buffer_size : 65536;
    while (size < need)
        size *= 2;
    /* a mapping, not malloc: this thread holds no lock of the host's allocator */
    void *p = c->buffer ? mremap(c->buffer, c->buffer_size, size, MREMAP_MAYMOVE)
                        : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    madvise(p, size, MADV_DONTFORK); /* a fork need not copy it: the child's thread has one of its own */
    c->buffer = p;
    c->buffer_size = size;
    return true;
}

struct batch {
    size_t used; /* bytes of the buffer */
    size_t scope_begin[RING_SCOPES], scope_len[RING_SCOPES];
    uint32_t scope_spans[RING_SCOPES];
    uint32_t spans, corrupt;
};

/* Copies the batch's records of one scope behind what is in the buffer. */
static bool collect_scope(struct consumer *c, struct slot *s, const struct sealed *sealed, uint32_t scope,
                          struct batch *b)
{
    struct ring *r = slot_ring(c->arena, s);
    b->scope_begin[scope] = b->used;
    uint32_t done = 0;
    for (ring_at at = sealed->from; at_number(at) != at_number(sealed->to) && done <= c->arena->shape.cells;
         at = ring_next(at), done++) {
        struct ring_record record;
        enum ring_found found = ring_peek(r, &c->arena->shape, at, &record);
        if (found != RING_RECORD) {
            b->corrupt += scope == 0;
            continue;
        }
        if (record.scope != scope)
            continue;
        if (!buffer_room(c, b->used + record.len))
            return false;
        memcpy(c->buffer + b->used, record.bytes, record.len);
        /* Any process of the tree can write there, and one wrong field spoils its whole batch at the
         * receiver.
         */
        long spans = scope == RING_SCOPE_RAW ? otlp_spans(c->buffer + b->used, record.len)
                                             : (long)otlp_span_record(c->buffer + b->used, record.len);
        if (spans <= 0) {
            b->corrupt++;
            continue;
        }
        b->used += record.len;
        b->scope_len[scope] += record.len;
        b->scope_spans[scope] += (uint32_t)spans;
        b->spans += (uint32_t)spans;
        if (done % 256 == 255)
            c->rest_point(NULL);
    }
    return true;
}

/* A handshake or a decompression that leads to nothing, for each 512 spans, is felt in the host's latency
 * where its processors are busy. A failure or two may be a batch's own. */
static bool gives_way(const struct consumer *c)
{
    enum { FAILURES_MOST = 3 };
    return c->paced && c->failures >= FAILURES_MOST;
}

static void failed(struct consumer *c)
{
    enum { PAUSE_MOST_MS = 5000 }; /* the default OTEL_BSP_SCHEDULE_DELAY: it may be set to hours */
    uint32_t pause_ms = c->config->schedule_delay_ms;
    if (pause_ms > PAUSE_MOST_MS)
        pause_ms = PAUSE_MOST_MS;
    c->failures++;
    c->resume_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)pause_ms * 1000000u;
}

/* Sends the oldest sealed batch. False: aborted, or no memory; it stays. */
static bool send_oldest(struct consumer *c, uint32_t i, const struct sealed *sealed, uint64_t deadline_ns)
{
    struct slot *s = arena_slot(c->arena, i);
    struct batch b = {0};
    size_t resource_len = atomic_load(&s->resource_len);
    if (resource_len > RESOURCE_MAX)
        resource_len = 0;
    bool whole = buffer_room(c, RESOURCE_MAX);
    if (whole) {
        memcpy(c->buffer, s->resource, resource_len);
        b.used = resource_len;
        for (uint32_t scope = 0; scope < RING_SCOPES && whole; scope++)
            whole = collect_scope(c, s, sealed, scope, &b);
    }
    if (!whole) {
        log_warn("no memory for a batch: it is tried again");
        return false;
    }
    count(s, COUNT_CORRUPT, b.corrupt);
    if (b.spans == 0)
        return true; /* an envelope without spans is never sent */
    if (!c->exporter || c->lets_go) {
        count(s, COUNT_FAILED, b.spans);
        return true;
    }
    struct exporter_scope_spans scopes[RING_SCOPES];
    struct exporter_batch batch = {
        .resource = c->buffer, .resource_len = resource_len, .scopes = scopes, .n_spans = b.spans};
    batch.raw = c->buffer + b.scope_begin[RING_SCOPE_RAW];
    batch.raw_len = b.scope_len[RING_SCOPE_RAW];
    batch.kept = c->keeps || c->arena->file != NULL; /* it is there for a receiver that is not */
    for (uint32_t k = 0; k < RING_SCOPE_RAW; k++) {
        if (b.scope_spans[k] == 0)
            continue;
        scopes[batch.n_scopes++] = (struct exporter_scope_spans){.scope_name = scope_names[k],
                                                                 .scope_version = FORKSPAN_VERSION,
                                                                 .spans = c->buffer + b.scope_begin[k],
                                                                 .spans_len = b.scope_len[k],
                                                                 .n_spans = b.scope_spans[k]};
    }
    /* A death from here on can make this batch, and only this batch, be sent again. */
    uint32_t before = atomic_exchange(&s->sender, (uint32_t)getpid());
    bool again = atomic_exchange(&s->sending, sealed->to) == sealed->to;
    if (again) {
        count(s, COUNT_RESENT, 1);
        log_debug(
            "%u spans of process %u are sent again: process %u began to and had no answer (records from %u)",
            b.spans, (unsigned)arena_slot_pid(c->arena, i), before, at_number(sealed->from));
    }
    struct export_outcome out = {0};
    report_begun();
    c->ops->send(c->exporter, &batch, deadline_ns, &out);
    report_ended(out.result);
    switch (out.result) {
    case EXPORT_OK:
        if (out.rejected < b.spans)
            c->failures = 0;
        else
            failed(c);
        count(s, COUNT_EXPORTED, out.rejected < b.spans ? b.spans - out.rejected : 0);
        count(s, COUNT_FAILED, out.rejected);
        return true;
    case EXPORT_UNDELIVERED:
        c->undelivered = true;
        __attribute__((fallthrough));
    case EXPORT_ABORTED:
    case EXPORT_NO_MEMORY:
        if (!out.any_byte_sent &&
            again) /* it was not, after all; but what was sent before may have arrived */
            atomic_fetch_sub_explicit(&s->counters[COUNT_RESENT], 1, memory_order_relaxed);
        else if (!out.any_byte_sent)
            atomic_store(&s->sending, 0);
        return false;
    case EXPORT_FAILED:
    default:
        failed(c);
        count(s, COUNT_FAILED, b.spans);
        return true;
    }
}

/* Empties one ring, but for less than a batch that came while it did: a busy server would be sent batches as
 * small as the receiver is quick. False: stop. */
static bool empty_ring(struct consumer *c, uint32_t i, bool dead, uint64_t deadline_ns)
{
    struct slot *s = arena_slot(c->arena, i);
    uint32_t end = at_number(ring_head(slot_ring(c->arena, s)));
    if (dead)
        fatal_settle(c->arena, i);
    bool over_torn = dead || (c->over_torn && c->me == consumer_word(i, atomic_load(&s->epoch))) ||
                     (c->stuck && c->stuck(i));
    for (;;) {
        if (c->stopping())
            return false;
        struct sealed oldest;
        queue_lock();
        if (over_torn || (!c->full_only && queue_unsealed(c->arena, s, end)))
            queue_seal(c->arena, s, c->config->max_batch, over_torn);
        else
            queue_seal_full(c->arena, s, c->config->max_batch);
        bool any = queue_oldest(s, &oldest);
        queue_unlock();
        if (!any)
            return true;
        if (!send_oldest(c, i, &oldest, deadline_ns))
            return false;
        queue_lock();
        queue_done(c->arena, s);
        queue_unlock();
        if (gives_way(c) && !c->lets_go) {
            c->undelivered = true;
            return false;
        }
        c->rest_point(NULL);
    }
}

/* What another consumer holds, or a process that has one foot outside: it is there until that is gone. */
static bool held(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    return arena_slot_live(a, i) && atomic_load(&s->leaving) &&
           (ring_queued(slot_ring(a, s)) || request_next_open(slot_requests(a, s), 0) < REQUESTS);
}

static enum consumer_result stopped(const struct consumer *c)
{
    return c->undelivered ? CONSUMER_LATER : CONSUMER_STOPPED;
}

/* One ring that the receiver takes nothing of now may hold a batch that it never takes: the others go on. Of
 * two it is the receiver. */
enum { REFUSALS_MOST = 2 };

/* A dead one's ring is empty: now what it was at when it died, then its slot is free. */
static enum consumer_result bury(struct consumer *c, uint32_t i, uint64_t deadline_ns)
{
    const struct arena *a = c->arena;
    for (;;) {
        switch (fatal_write(a, c->config, i, !c->impatient)) {
        case FATAL_WAITS:
            return CONSUMER_WAITS;
        case FATAL_WRITTEN:
            if (!empty_ring(c, i, true, deadline_ns))
                return stopped(c);
            continue;
        case FATAL_NONE:
            break;
        }
        if (ring_queued(slot_ring(a, arena_slot(a, i))) == 0) {
            count(arena_slot(a, (uint32_t)c->me - 1), COUNT_SWEPT, 1);
            slot_release(a, i);
        }
        return CONSUMER_EMPTY;
    }
}

/* While a receiver fails, the dead would keep their places: where each request has a process of its own,
 * until there is none for the living, whose spans would be lost with them, and for a while after the receiver
 * is well again. So what they left goes the way of all that the receiver is sent. */
static void let_the_dead_go(struct consumer *c)
{
    const struct arena *a = c->arena;
    unsigned gone = 0;
    if (sweep_other_consumer(a, c->me) == SWEEP_NOBODY) /* to another one the receiver may be kinder */
        sweep_adopt(a, c->me);
    c->lets_go = true;
    for (uint32_t i = 0; i < a->slots; i++) {
        bool other = arena_slot_live(a, i) && atomic_load(&arena_slot(a, i)->consumer) == c->me &&
                     c->me != consumer_word(i, atomic_load(&arena_slot(a, i)->epoch));
        if (other && slot_owner_dead(a, i) && empty_ring(c, i, true, 0)) {
            bury(c, i, 0);
            gone++;
        }
    }
    c->lets_go = false;
    if (gone)
        log_warn("the receiver fails, and the dead take up the places: what %u of them left is dropped",
                 gone);
}

/* What is left stays for now. */
static enum consumer_result later(struct consumer *c)
{
    if (gives_way(c) && !c->keeps && !c->arena->file && sweep_crowded(c->arena))
        let_the_dead_go(c);
    return CONSUMER_LATER;
}

enum consumer_result consumer_run(struct consumer *c, uint64_t deadline_ns)
{
    const struct arena *a = c->arena;
    enum consumer_result result = CONSUMER_EMPTY;
    unsigned refusals = 0;
    if (c->full_only && gives_way(c) && clock_ns(CLOCK_MONOTONIC) < c->resume_ns)
        return later(c);
    sweep_adopt(a, c->me);
    for (uint32_t i = 0; i < a->slots; i++) {
        if (!arena_slot_live(a, i))
            continue;
        struct slot *s = arena_slot(a, i);
        uint64_t owner = atomic_load(&s->consumer);
        if (owner != c->me) {
            if (held(a, i) && result < CONSUMER_FOREIGN)
                result = CONSUMER_FOREIGN;
            continue;
        }
        bool own = c->me == consumer_word(i, atomic_load(&s->epoch));
        /* asked before emptying: what comes later is in the ring by then */
        bool dead = slot_owner_dead(a, i);
        c->undelivered = false;
        bool emptied = empty_ring(c, i, dead, deadline_ns);
        if (!emptied && !own && !c->undelivered &&
            !c->stopping()) /* another process may have the memory, or the time */
            atomic_compare_exchange_strong(&s->consumer, &owner, 0);
        enum consumer_result burial = !emptied       ? stopped(c)
                                      : dead && !own ? bury(c, i, deadline_ns)
                                                     : CONSUMER_EMPTY;
        if (burial > result)
            result = burial;
        if (burial == CONSUMER_STOPPED)
            return burial;
        if (burial == CONSUMER_LATER && ++refusals == REFUSALS_MOST)
            return later(c);
        if (dead || own)
            continue;
        if (held(a, i) && result < CONSUMER_FOREIGN)
            result = CONSUMER_FOREIGN;
        if (atomic_load(&s->consuming) && !atomic_load(&s->leaving))
            atomic_compare_exchange_strong(&s->consumer, &owner, 0); /* its own thread has come */
    }
    return result;
}

void consumer_release(const struct arena *a, uint64_t me)
{
    queue_lock();
    for (uint32_t i = 0; i < a->slots; i++) {
        uint64_t mine = me;
        if (arena_slot_live(a, i))
            atomic_compare_exchange_strong(&arena_slot(a, i)->consumer, &mine, 0);
    }
    queue_unlock();
}
