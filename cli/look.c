/* SPDX-License-Identifier: Apache-2.0
 * look.c - from the bytes of an arena to what is going on in it.
 */
#include "look.h"
#include "arena/requests.h"
#include "arena/slot.h"
#include "clock.h"
#include "io/http_record.h"
#include "wire/proto.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct looking {
    struct image *image;
    uint64_t now_ns, unix_ns;
};

static void fetch(const struct looking *l, const void *at, size_t len)
{
    image_fetch(l->image, (size_t)((const char *)at - (const char *)l->image->arena.header), len);
}

/* Times are of this boot's clock or nonsense. */
static double since(uint64_t then, uint64_t now)
{
    return then == 0 ? -1 : then > now ? 0 : (double)(now - then) / 1e9;
}

/* Bytes up to `room` - 1 or a NUL, as a string. */
static void text_of(char *to, size_t room, const void *from, size_t len)
{
    size_t n = strnlen(from, len < room - 1 ? len : room - 1);
    memcpy(to, from, n);
    to[n] = '\0';
}

/* ---- finished spans */

/* The first field `number` of a message, which becomes the message. */
static bool descend(struct text *message, uint32_t number)
{
    const uint8_t *p = (const uint8_t *)message->p, *end = p + message->len;
    for (struct proto_field f; proto_next(&p, end, &f);)
        if (f.number == number && f.wire == PROTO_BYTES) {
            *message = (struct text){(const char *)f.p, f.len};
            return true;
        }
    return false;
}

/* When the first span of a record ended, and its name. */
static void read_span(struct look_process *to, const struct looking *l, const struct ring_record *record)
{
    enum { SPAN = 2, RESOURCE_SPANS = 1, SCOPE_SPANS = 2, NAME = 5, END = 8 };
    struct text span = {(const char *)record->bytes, record->len};
    if (record->scope == RING_SCOPE_RAW && !(descend(&span, RESOURCE_SPANS) && descend(&span, SCOPE_SPANS)))
        return;
    if (!descend(&span, SPAN))
        return;
    const uint8_t *p = (const uint8_t *)span.p, *end = p + span.len;
    uint64_t ended = 0;
    for (struct proto_field f; proto_next(&p, end, &f);) {
        if (f.number == NAME && f.wire == PROTO_BYTES)
            text_of(to->oldest, sizeof to->oldest, f.p, f.len);
        else if (f.number == END && f.wire == PROTO_FIXED64)
            memcpy(&ended, f.p, sizeof ended);
    }
    to->oldest_s = since(ended, l->unix_ns);
}

static void look_at_ring(struct look_process *to, const struct looking *l, struct slot *s)
{
    const struct arena *a = &l->image->arena;
    struct ring *r = slot_ring(a, s);
    fetch(l, r, sizeof *r);
    to->queued = ring_queued(r);
    to->spoilt = to->queued > a->shape.cells;
    if (to->spoilt)
        to->queued = 0;
    if (to->queued == 0)
        return;
    ring_at tail = atomic_load(&r->tail);
    struct ring_cell *cells = (struct ring_cell *)((char *)r + sizeof *r);
    fetch(l, &cells[at_number(tail) & (a->shape.cells - 1)], sizeof *cells);
    struct ring_record record;
    if (ring_peek(r, &a->shape, tail, &record) == RING_RECORD) {
        fetch(l, record.bytes, record.len);
        read_span(to, l, &record);
    }
}

/* ---- requests in progress */

static int older(const void *a, const void *b)
{
    double x = ((const struct look_request *)a)->age_s, y = ((const struct look_request *)b)->age_s;
    return (x < y) - (x > y);
}

static void look_at_requests(struct look_process *to, const struct looking *l, struct slot *s)
{
    struct request_table *t = slot_requests(&l->image->arena, s);
    fetch(l, t, request_table_head());
    to->requests = calloc(REQUESTS, sizeof *to->requests);
    for (unsigned i = 0; i < REQUESTS && to->requests; i++) {
        if (!request_in_use(t, i))
            continue;
        fetch(l, (char *)t + request_entry_at(i), sizeof(struct request));
        const struct request *r = request_in_progress(t, i);
        if (!r)
            continue;
        struct look_request *out = &to->requests[to->n_requests++];
        /* with its query, which may be anybody's secret, it is nobody's business here */
        struct text path = http_target(r).path;
        out->phase = atomic_load(&r->phase);
        out->status = atomic_load(&r->status);
        out->age_s = since(r->start_monotonic_ns, l->now_ns);
        if (out->age_s < 0)
            out->age_s = 0;
        text_of(out->method, sizeof out->method, r->method, r->method_len);
        if (out->phase != REQUEST_HEAD || r->flags & REQUEST_TARGET_DONE)
            text_of(out->path, sizeof out->path, path.p, path.len);
    }
    if (to->requests)
        qsort(to->requests, to->n_requests, sizeof *to->requests, older);
}

/* ---- processes */

static void look_at_exporter(struct look_process *to, const struct looking *l, const struct slot *s)
{
    const struct exporter_report *r = &s->report;
    uint32_t state = atomic_load(&r->state), len = atomic_load(&r->said_len);
    to->exporter = state <= EXPORTER_SENDS ? (enum exporter_state)state : EXPORTER_UNOPENED;
    to->failures = atomic_load(&r->failures);
    to->sending_s = state == EXPORTER_SENDS ? since(atomic_load(&r->begun_ns), l->now_ns) : -1;
    to->delivered_s = since(atomic_load(&r->delivered_ns), l->now_ns);
    to->said_s = since(atomic_load(&r->said_ns), l->now_ns);
    if (to->said_s >= 0)
        text_of(to->said, sizeof to->said, r->said, len < sizeof r->said ? len : sizeof r->said);
}

static void look_at_slot(struct look_process *to, const struct looking *l, uint32_t i)
{
    const struct arena *a = &l->image->arena;
    struct slot *s = arena_slot(a, i);
    *to = (struct look_process){.slot = i, .epoch = atomic_load(&s->epoch), .oldest_s = -1};
    to->pid = (int32_t)arena_slot_pid(a, i);
    to->here = atomic_load(&s->pid_namespace) == own_pid_namespace();
    to->consumer = atomic_load(&s->one_shot);
    to->sends = atomic_load(&s->consuming);
    to->thread = (int32_t)(atomic_load(&a->header->liveness[i]) & FUTEX_TID_MASK);
    uint64_t consumer = atomic_load(&s->consumer);
    if (consumer && (uint32_t)consumer - 1 < a->slots) {
        struct slot *its = arena_slot(a, (uint32_t)consumer - 1);
        if (its != s) /* what is being judged stays as it is */
            fetch(l, its, offsetof(struct slot, resource));
        if (atomic_load(&its->epoch) == consumer >> 32)
            to->emptied_by = (int32_t)arena_slot_pid(a, (uint32_t)consumer - 1);
    }
    to->state = slot_owner_dead(a, i) ? LOOK_DEAD : atomic_load(&s->leaving) ? LOOK_LEAVING : LOOK_ALIVE;
    uint32_t news = news_of(s);
    if (news & NEWS_SET)
        news_type(news, to->end);
    for (int c = 0; c < COUNTERS; c++)
        to->counters[c] = atomic_load(&s->counters[c]);
    look_at_exporter(to, l, s);
    look_at_ring(to, l, s);
    look_at_requests(to, l, s);
}

/* Who is named in the header, if it is still who was named. */
static struct look_sender sender_of(const struct looking *l)
{
    const struct arena *a = &l->image->arena;
    uint64_t word = atomic_load(&a->header->permanent);
    uint32_t i = (uint32_t)word - 1, why = atomic_load(&a->header->permanent_why);
    struct look_sender sender = {.is = SENDER_THREADS,
                                 .why = why <= PERMANENT_AGAIN ? (enum permanent_why)why : PERMANENT_ASKED};
    if (atomic_load(&a->header->permanent_ns) == UINT64_MAX) {
        sender.is = SENDER_IN_VAIN;
    } else if (word != 0 && i < a->slots) {
        fetch(l, arena_slot(a, i), offsetof(struct slot, resource));
        bool there = consumer_alive(a, word);
        sender.is = there ? SENDER_PROCESS : SENDER_KILLED;
        sender.pid = there ? (int32_t)arena_slot_pid(a, i) : 0;
    }
    return sender;
}

void look_into(struct look *look, struct image *image, uint64_t now_ns, uint64_t unix_ns)
{
    const struct looking l = {image, now_ns, unix_ns};
    const struct arena *a = &image->arena;
    const struct arena_header *h = a->header;
    *look = (struct look){.at = (double)now_ns / 1e9,
                          .place = image->place,
                          .maker_pid = image->maker,
                          .maker_uid = h->maker,
                          .slots = a->slots - CONSUMER_SLOTS,
                          .max_queued = a->max_queued,
                          .without_slot = atomic_load(&h->without_slot)};
    text_of(look->version, sizeof look->version, h->version, sizeof h->version);
    uint64_t word = atomic_load(&h->sampling);
    look->sampling_spoilt = !sampling_read(word, &look->sampling) && word != 0;
    look->sender = sender_of(&l);
    for (int c = 0; c < COUNTERS; c++)
        look->totals[c] = atomic_load(&h->former[c]);
    latency_sum(look->latencies, h->former_latencies);
    look->processes = calloc(a->slots, sizeof *look->processes);
    for (uint32_t i = 0; i < a->slots && look->processes; i++) {
        /* A place never taken has no page behind it. */
        uint64_t state = atomic_load(arena_state(a, i));
        if ((uint32_t)state != SLOT_LIVE)
            continue;
        fetch(&l, arena_slot(a, i), offsetof(struct slot, resource));
        fetch(&l, arena_state(a, i), sizeof state);
        if (atomic_load(arena_state(a, i)) != state)
            continue; /* another process's, by now */
        struct look_process *p = &look->processes[look->n_processes++];
        look_at_slot(p, &l, i);
        for (int c = 0; c < COUNTERS; c++)
            look->totals[c] += p->counters[c];
        latency_sum(look->latencies, arena_slot(a, i)->latencies);
    }
}

const char *look_at(struct look *look, const struct arena_place *place)
{
    struct image image;
    const char *why = image_open(&image, place);
    if (why)
        return why;
    look_into(look, &image, clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_REALTIME));
    image_close(&image);
    return look->processes ? NULL : "no memory";
}

void look_free(struct look *look)
{
    for (size_t i = 0; i < look->n_processes; i++)
        free(look->processes[i].requests);
    free(look->processes);
    *look = (struct look){0};
}

/* ---- two looks */

double look_rate(const struct look *before, const struct look *now, enum counter which)
{
    if (!before || now->at <= before->at || now->totals[which] < before->totals[which])
        return -1;
    return (double)(now->totals[which] - before->totals[which]) / (now->at - before->at);
}

const struct look_process *look_same(const struct look *before, const struct look_process *p)
{
    for (size_t i = 0; before && i < before->n_processes; i++)
        if (before->processes[i].slot == p->slot && before->processes[i].epoch == p->epoch)
            return &before->processes[i];
    return NULL;
}
