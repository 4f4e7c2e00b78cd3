/* SPDX-License-Identifier: Apache-2.0 */
#include "io/http_span.h"
#include "arena/ring.h"
#include "clock.h"
#include "io/http_half.h"
#include "io/http_record.h"
#include "io/nest.h"
#include "process.h"
#include "span/current.h"
#include "span/sampler.h"

#include <string.h>

/* ------------------------------------------------------------------ request half */

static enum http1_request_kind kind_of(const struct connection *c)
{
    if (c->method_len == 4 && memcmp(c->method, "HEAD", 4) == 0)
        return HTTP1_REQ_HEAD;
    if (c->method_len == 7 && memcmp(c->method, "CONNECT", 7) == 0)
        return HTTP1_REQ_CONNECT;
    return HTTP1_REQ_PLAIN;
}

static void request_drop(struct connection *c)
{
    request_release(process_requests(), c->current);
    c->current = NULL;
}

void http_half_begins(struct connection *c)
{
    c->handed_over = c->value_begun = c->value_ignored = false;
    c->method_len = c->traceparent_len = c->traceparents = 0;
    c->current = NULL;
    /* A child that was made for one connection gets no thread for it: it leaves by _exit in the middle of
     * what that sends, and it is sent again. One that lasts gets it. */
    if (c->inherited && clock_ns(CLOCK_MONOTONIC) - c->inherited_ns >=
                            (uint64_t)config_get()->schedule_delay_ms * UINT64_C(1000000))
        c->inherited = false;
    if (!process_serves(c->inherited))
        return;
    struct request *r = request_claim(process_requests());
    if (!r) {
        process_count(COUNT_DROPPED, 1);
        return;
    }
    r->start_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    r->start_realtime_ns = clock_unix_ns(r->start_monotonic_ns);
    r->peer_family = c->peer_family;
    r->peer_port = c->peer_port;
    memcpy(r->peer, c->peer, sizeof r->peer);
    r->peer_path_len = c->peer_path_len < sizeof r->peer_path ? c->peer_path_len : sizeof r->peer_path;
    memcpy(r->peer_path, c->peer_path, r->peer_path_len);
    c->current = r;
}

/* Values of these keys are credentials of the one who made the link. */
static bool key_is_secret(const char *key, size_t len)
{
    static const char *const secret[] = {"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token",
                                         "AWSAccessKeyId",  "Signature",        "sig",
                                         "X-Goog-Signature"};
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++)
        if (strlen(secret[i]) == len && memcmp(secret[i], key, len) == 0)
            return true;
    return false;
}

/* In place, at once: such a value never stays in shared memory. */
static void query_redact(struct request *r)
{
    static const char redacted[] = "REDACTED";
    const size_t room = sizeof r->target, word = sizeof redacted - 1;
    const char *question = memchr(r->target, '?', r->target_len);
    if (!question)
        return;
    size_t len = r->target_len;
    for (size_t i = (size_t)(question - r->target) + 1; i < len;) {
        const char *amp = memchr(r->target + i, '&', len - i);
        size_t end = amp ? (size_t)(amp - r->target) : len;
        const char *equals = memchr(r->target + i, '=', end - i);
        if (equals && key_is_secret(r->target + i, (size_t)(equals - r->target) - i)) {
            size_t value = (size_t)(equals - r->target) + 1;
            size_t new_end = value + word < room ? value + word : room;
            size_t tail = len - end < room - new_end ? len - end : room - new_end;
            if (tail < len - end)
                r->flags |= REQUEST_TRUNCATED;
            memmove(r->target + new_end, r->target + end, tail);
            memcpy(r->target + value, redacted, new_end - value);
            len = new_end + tail;
            end = new_end;
        }
        i = end + 1;
    }
    r->target_len = (uint16_t)len;
}

void http_half_target_end(struct connection *c)
{
    struct request *r = c->current;
    r->flags |= REQUEST_TARGET_DONE;
    REQUEST_TRIM(r, target);
    query_redact(r);
}

void http_half_value(struct connection *c, enum http1_field field, const struct http1_slice *s)
{
    struct request *r = c->current;
    bool first = !c->value_begun;
    c->value_begun = true;
#define LIST(name)                                                                                           \
    do {                                                                                                     \
        if (first && r->name##_len)                                                                          \
            REQUEST_APPEND(r, name, ",", 1);                                                                 \
        REQUEST_APPEND(r, name, s->p, s->len);                                                               \
    } while (0)
#define SINGLE(name)                                                                                         \
    do {                                                                                                     \
        if (first)                                                                                           \
            c->value_ignored = r->name##_len != 0; /* a second line of it: the first counts */               \
        if (!c->value_ignored)                                                                               \
            REQUEST_APPEND(r, name, s->p, s->len);                                                           \
    } while (0)
    switch (field) {
    case HTTP1_HOST:
        SINGLE(host);
        break;
    case HTTP1_USER_AGENT:
        SINGLE(user_agent);
        break;
    case HTTP1_FORWARDED:
        LIST(forwarded);
        break;
    case HTTP1_X_FORWARDED_FOR:
        LIST(x_forwarded_for);
        break;
    case HTTP1_X_FORWARDED_PROTO:
        LIST(x_forwarded_proto);
        break;
    case HTTP1_X_FORWARDED_HOST:
        LIST(x_forwarded_host);
        break;
    case HTTP1_TRACESTATE:
        if (sizeof r->tracestate - r->tracestate_len < s->len + (first && r->tracestate_len))
            r->flags |= REQUEST_TRACESTATE_CUT;
        LIST(tracestate);
        break;
    case HTTP1_TRACEPARENT: {
        if (c->traceparents)
            break;
        /* A value in several pieces is no 55 bytes in a row. */
        c->traceparent_at = c->head_at && c->traceparent_len == 0 ? (uint8_t *)(uintptr_t)s->p : NULL;
        size_t free_room = sizeof c->traceparent - c->traceparent_len;
        size_t n = s->len < free_room ? s->len : free_room;
        memcpy(c->traceparent + c->traceparent_len, s->p, n);
        c->traceparent_len = (uint8_t)(c->traceparent_len + n);
        break;
    }
    default:
        break;
    }
#undef LIST
#undef SINGLE
}

void http_half_value_end(struct connection *c, enum http1_field field)
{
    struct request *r = c->current;
    c->value_begun = false;
    switch (field) {
    case HTTP1_HOST:
        REQUEST_TRIM(r, host);
        break;
    case HTTP1_USER_AGENT:
        REQUEST_TRIM(r, user_agent);
        break;
    case HTTP1_FORWARDED:
        REQUEST_TRIM(r, forwarded);
        break;
    case HTTP1_X_FORWARDED_FOR:
        REQUEST_TRIM(r, x_forwarded_for);
        break;
    case HTTP1_X_FORWARDED_PROTO:
        REQUEST_TRIM(r, x_forwarded_proto);
        break;
    case HTTP1_X_FORWARDED_HOST:
        REQUEST_TRIM(r, x_forwarded_host);
        break;
    case HTTP1_TRACESTATE:
        REQUEST_TRIM(r, tracestate);
        break;
    case HTTP1_TRACEPARENT:
        if (c->traceparents < 2)
            c->traceparents++;
        break;
    default:
        break;
    }
}

static bool excluded(const struct config *config, const struct request *r)
{
    if (!config->exclude)
        return false;
    struct text path = http_target(r).path;
    for (const char **e = config->exclude; *e; e++) {
        size_t n = strlen(*e);
        bool prefix = n && (*e)[n - 1] == '*';
        n -= prefix;
        if ((prefix ? path.len >= n : path.len == n) && memcmp(path.p, *e, n) == 0)
            return true;
    }
    return false;
}

static void tracestate_keep(struct request *r)
{
    if (r->flags & REQUEST_TRACESTATE_CUT) {
        /* whole members only */
        size_t n = r->tracestate_len;
        while (n && r->tracestate[n - 1] != ',')
            n--;
        r->tracestate_len = (uint16_t)(n ? n - 1 : 0);
    }
    if (!r->has_parent || !tracestate_valid((const uint8_t *)r->tracestate, r->tracestate_len))
        r->tracestate_len = 0;
}

/* All that a sampler may see is known: does this request get a span? */
static bool request_decide(struct connection *c, struct request *r)
{
    const struct config *config = config_get();
    struct span_context parent = {.valid = false};
    if (config->propagate_tracecontext && c->traceparents == 1)
        r->has_parent = traceparent_parse((const uint8_t *)c->traceparent, c->traceparent_len, &parent);
    tracestate_keep(r);
    if (r->has_parent) {
        memcpy(r->context.trace_id, parent.trace_id, sizeof parent.trace_id);
        memcpy(r->parent_span_id, parent.span_id, sizeof parent.span_id);
        new_span_id(r->context.span_id);
    } else {
        new_root_ids(r->context.trace_id, r->context.span_id);
    }
    bool sampled =
        !excluded(config, r) && sampler_decide(config, process_sampling(), &parent, r->context.trace_id);
    r->context.flags = (uint8_t)((r->has_parent ? parent.flags & TRACE_RANDOM : TRACE_RANDOM) |
                                 (sampled ? TRACE_SAMPLED : 0));
    r->context.valid = true;
    return sampled;
}

/* What the application reads makes it a child of this request. Only where that is certain: with the client's
 * parent it is a sibling at worst, with a wrong one it is nonsense. A parent says that the header is single
 * and valid. */
static void nest(struct connection *c, const struct request *r, const uint8_t *head_end)
{
    if (!config_get()->propagate || !r->has_parent || !c->traceparent_at ||
        atomic_load_explicit(&c->ending, memory_order_relaxed) != CONNECTION_LIVE)
        return;
    if (c->protocol == PROTOCOL_UWSGI) /* lengths leave nothing to be read in two ways */
        nest_write(c->traceparent_at, &r->context);
    else if (!http1_odd(&c->request))
        nest_replace(c->head_at, (size_t)(head_end - c->head_at), c->traceparent_at, &r->context);
}

/* The head is complete and ends at head_end, or is answered before it is (NULL): the request goes to the
 * response half. */
void http_half_hand_over(struct connection *c, const uint8_t *head_end)
{
    struct request *r = c->current;
    c->current = NULL;
    c->handed_over = true;
    c->forks = process_forks_made();
    uint32_t put = atomic_load_explicit(&c->put, memory_order_relaxed);
    if (put - atomic_load_explicit(&c->got, memory_order_acquire) >= CONNECTION_PENDING) {
        /* More requests unanswered than fit: these are followed to their answers, no later one is. */
        request_release(process_requests(), r);
        process_count(COUNT_NO_ROOM, 1);
        current_untold();
        atomic_store(&c->request_final, true);
        return;
    }
    if (r) {
        bool recorded = request_decide(c, r);
        if (recorded) {
            process_count(COUNT_STARTED, 1);
            if (head_end)
                nest(c, r, head_end);
        }
        current_read(r);
        atomic_store_explicit(&r->phase, recorded ? REQUEST_OPEN : REQUEST_UNRECORDED, memory_order_release);
    } else {
        current_unseen(1);
    }
    atomic_store_explicit(&c->pending[put % CONNECTION_PENDING], (uintptr_t)r | PENDING_SET | kind_of(c),
                          memory_order_relaxed);
    /* Pairs with the acquire in oldest(): the request is written before it is seen there. */
    atomic_store_explicit(&c->put, put + 1, memory_order_release);
}

/* Nothing pending and nothing to come: the connection costs nothing from now on. */
static void done_if_drained(struct connection *c)
{
    if (atomic_load(&c->request_final) && atomic_load(&c->put) == atomic_load(&c->got))
        connection_end(c, CONNECTION_DONE);
}

void http_half_final(struct connection *c)
{
    request_drop(c);
    atomic_store(&c->request_final, true);
    done_if_drained(c);
}

void http_request_bytes(struct connection *c, uint8_t *p, size_t n)
{
    struct http1_slice in = {p, n}, out;
    /* A head that began in an earlier buffer is not whole in this one. */
    c->head_at = c->traceparent_at = NULL;
    if (atomic_load_explicit(&c->request_final, memory_order_relaxed))
        return;
    for (;;) {
        enum http1_event e = http1_next(&c->request, &in, &out);
        struct request *r = c->current;
        switch (e) {
        case HTTP1_NEED_MORE:
            return;
        case HTTP1_NOT_HTTP:
        case HTTP1_UPGRADED:
            http_half_final(c);
            return;
        case HTTP1_START:
            http_half_begins(c);
            c->traceparent_at = NULL;
            c->head_at = (size_t)(in.p - p) >= atomic_load_explicit(&c->peeked, memory_order_relaxed)
                             ? p + (in.p - p)
                             : NULL;
            break;
        case HTTP1_METHOD:
            for (size_t i = 0; i < out.len && c->method_len < sizeof c->method; i++)
                c->method[c->method_len++] = (char)out.p[i];
            if (r)
                REQUEST_APPEND(r, method, out.p, out.len);
            break;
        case HTTP1_TARGET:
            if (r)
                REQUEST_APPEND(r, target, out.p, out.len);
            break;
        case HTTP1_VERSION:
            if (r) {
                r->minor = c->request.minor;
                http_half_target_end(c);
            }
            break;
        case HTTP1_VALUE:
            if (r)
                http_half_value(c, c->request.field, &out);
            break;
        case HTTP1_VALUE_END:
            if (r)
                http_half_value_end(c, c->request.field);
            break;
        case HTTP1_HEAD_END:
            if (!c->handed_over)
                http_half_hand_over(c, in.p);
            if (kind_of(c) == HTTP1_REQ_CONNECT)
                http1_doubt(&c->request); /* what follows is a tunnel's, perhaps */
            if (atomic_load_explicit(&c->request_final, memory_order_relaxed)) {
                done_if_drained(c);
                return;
            }
            break;
        case HTTP1_STATUS:
        case HTTP1_MESSAGE_END:
            break;
        }
    }
}

void http_request_unseen(struct connection *c, size_t n)
{
    http1_skip_body(&c->request, n);
    http_request_bytes(c, NULL, 0);
}

bool http_looks_like_request(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && i < 16 && p[i] >= 'A' && p[i] <= 'Z')
        i++;
    if (i == 0 || i == 16)
        return false;
    if (i == n)
        return true; /* so far */
    if (p[i] != ' ' || i < 3)
        return false;
    if (i + 1 == n)
        return true;
    uint8_t c = p[i + 1];
    return c == '/' || c == '*' || c == 'h' || c == 'H' || (i == 7 && memcmp(p, "CONNECT", 7) == 0);
}

/* ------------------------------------------------------------------ span */

/* Writes the span of a request that ended, and lets the request go. */
static void request_finish(struct request *r, uint64_t end_monotonic_ns, const char *error_type)
{
    if (!r)
        return;
    uint32_t phase = atomic_load_explicit(&r->phase, memory_order_relaxed);
    uint64_t took = end_monotonic_ns > r->start_monotonic_ns ? end_monotonic_ns - r->start_monotonic_ns : 0;
    if (phase == REQUEST_OPEN || phase == REQUEST_UNRECORDED)
        process_answered(took, error_type || atomic_load_explicit(&r->status, memory_order_relaxed) >= 500);
    if (phase != REQUEST_OPEN) {
        request_release(process_requests(), r);
        return;
    }
    struct http_outcome o = {.end_ns = r->start_realtime_ns + took, .error_type = error_type};
    struct ring *ring = process_ring();
    struct ring_place place;
    struct http_span span;
    http_span_of(&span, config_get(), r, &o);
    if (ring && ring_reserve(ring, (uint32_t)span.room, &place)) {
        size_t n = http_span_write(&span, place.p, place.room);
        atomic_store_explicit(&r->record, place.number | REQUEST_RECORD_SET, memory_order_release);
        ring_commit(&place, (uint32_t)n, RING_SCOPE_HTTP);
        atomic_store_explicit(&r->phase, REQUEST_FINISHED, memory_order_release);
        process_count(COUNT_QUEUED, 1);
        request_release(process_requests(), r);
        process_committed();
        return;
    }
    process_count(COUNT_DROPPED, 1);
    request_release(process_requests(), r);
}

/* ------------------------------------------------------------------ response half */

/* The oldest request without a complete answer; 0: none. */
static uintptr_t oldest(struct connection *c)
{
    uint32_t got = atomic_load_explicit(&c->got, memory_order_relaxed);
    if (atomic_load_explicit(&c->put, memory_order_acquire) == got)
        return 0;
    return atomic_load_explicit(&c->pending[got % CONNECTION_PENDING], memory_order_relaxed);
}

static struct request *oldest_pop(struct connection *c)
{
    uintptr_t word = oldest(c);
    if (word) {
        atomic_store(&c->got, atomic_load_explicit(&c->got, memory_order_relaxed) + 1);
        if (!PENDING_POINTER(word))
            current_unseen(-1);
    }
    return PENDING_POINTER(word);
}

/* A fork came between the oldest request and its answer, which begins: whose is it? The child's that answers
 * what its parent read is a copy in the child's table; a request that another process answers is not ours. */
static void claim_oldest(struct connection *c)
{
    uintptr_t word = oldest(c);
    struct request *asked = PENDING_POINTER(word), *own = asked;
    if (!asked)
        return;
    if (c->foreign) {
        struct request_table *parents = process_request_table(asked, c->foreign_epoch);
        own = parents && process_serves(true) ? request_claim(process_requests()) : NULL;
        if (own && !request_take(parents, asked, own)) {
            request_release(process_requests(), own);
            own = NULL;
        }
        c->foreign = false;
    } else if (!request_answer(asked)) {
        request_release(process_requests(), asked);
        own = NULL;
    }
    if (own == asked)
        return;
    if (!own)
        current_unseen(1); /* as one that found no room */
    atomic_store_explicit(&c->pending[atomic_load(&c->got) % CONNECTION_PENDING],
                          (uintptr_t)own | (word & (PENDING_SET | PENDING_KIND_MASK)), memory_order_relaxed);
}

/* Nobody has begun to answer it here: a child may. True: it is not this process's to end. */
static bool left_to_a_child(struct connection *c, struct request *r)
{
    if (c->foreign) {
        c->foreign = false;
        return true; /* a child that lets go of what it could have answered */
    }
    return r && !c->answering && c->forks != process_forks_made() && request_leave(process_requests(), r);
}

/* A response begins: what does it answer? An answer before the end of the head (400, 408, 431) takes the
 * request as far as it is known. */
static void response_begins(struct connection *c)
{
    c->status_told = false;
    c->answering = false;
    if (!oldest(c) && !atomic_load(&c->request_final) && connection_try(c, HALF_REQUEST)) {
        if (c->current && c->current->flags & REQUEST_TARGET_DONE)
            http_half_hand_over(c, NULL);
        connection_leave(c, HALF_REQUEST);
    }
    if (c->foreign || c->forks != process_forks_made())
        claim_oldest(c);
    uintptr_t word = oldest(c);
    if (word) {
        c->answering = true;
        http1_set_request_kind(&c->response, (enum http1_request_kind)(word & PENDING_KIND_MASK));
    }
}

static void response_status(struct connection *c)
{
    struct request *r = c->answering ? PENDING_POINTER(oldest(c)) : NULL;
    unsigned status = c->response.status;
    if (status < 200 && status != 101)
        return;
    c->status_told = true;
    if (r)
        atomic_store_explicit(&r->status, (uint16_t)status, memory_order_release);
}

static void response_ends(struct connection *c, uint64_t end_ns)
{
    if (c->answering)
        request_finish(oldest_pop(c), end_ns, NULL);
    c->answering = false;
    c->status_told = false;
}

/* Events of `in`, to its last byte. */
static void response_events(struct connection *c, struct http1_slice *in)
{
    struct http1_slice out;
    for (;;) {
        switch (http1_next(&c->response, in, &out)) {
        case HTTP1_NEED_MORE:
            if (http1_ends_at_close(&c->response))
                c->last_sent_ns = clock_ns(CLOCK_MONOTONIC);
            return;
        case HTTP1_NOT_HTTP:
            connection_end(c, oldest(c) ? CONNECTION_UNSURE : CONNECTION_DONE);
            return;
        case HTTP1_START:
            response_begins(c);
            break;
        case HTTP1_STATUS:
            response_status(c);
            break;
        case HTTP1_MESSAGE_END:
            response_ends(c, clock_ns(CLOCK_MONOTONIC));
            done_if_drained(c);
            break;
        case HTTP1_UPGRADED:
            response_ends(c, clock_ns(CLOCK_MONOTONIC));
            connection_end(c, CONNECTION_DONE);
            return;
        default:
            break;
        }
    }
}

void http_response_bytes(struct connection *c, const uint8_t *p, size_t n)
{
    struct http1_slice in = {p, n};
    response_events(c, &in);
}

void http_response_unseen(struct connection *c, size_t n)
{
    struct http1_slice in = {NULL, 0};
    http1_skip_body(&c->response, n);
    response_events(c, &in);
}

void http_response_shut(struct connection *c)
{
    if (!http1_ends_at_close(&c->response))
        return;
    response_ends(c, c->last_sent_ns);
    connection_end(c, CONNECTION_CLOSED); /* what else was asked is never answered */
}

void http_write_ahead(struct connection *c, const uint8_t *p, size_t n)
{
    /* Without the half: the word it reads may be a moment old. Then the entry is told again, or nothing is.
     */
    if (n < 12 || !http1_idle(&c->response) || memcmp(p, "HTTP/1.", 7) != 0 || p[8] != ' ')
        return;
    unsigned status = 0;
    for (int i = 9; i < 12; i++) {
        if (p[i] < '0' || p[i] > '9')
            return;
        status = status * 10 + (p[i] - '0');
    }
    if (c->foreign)
        return; /* not taken yet */
    struct request *r = PENDING_POINTER(oldest(c));
    if (r && (status >= 200 || status == 101))
        atomic_store_explicit(&r->status, (uint16_t)status, memory_order_relaxed);
}

/* ------------------------------------------------------------------ the end */

static const char *fault_type(const struct connection *c, bool begun)
{
    switch (atomic_load_explicit(&c->fault, memory_order_relaxed)) {
    case FAULT_RESET:
        return "connection_reset";
    case FAULT_TIMEOUT:
        return "timeout";
    case FAULT_EOF:
        return "client_closed";
    default:
        return begun ? "response_incomplete" : "no_response";
    }
}

void http_connection_closed(struct connection *c)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (http1_ends_at_close(&c->response))
        response_ends(c, c->last_sent_ns);
    while (oldest(c)) {
        struct request *r = oldest_pop(c);
        if (left_to_a_child(c, r))
            continue;
        if (r && !c->status_told)
            atomic_store_explicit(&r->status, 0,
                                  memory_order_relaxed); /* told ahead of a write that failed */
        if (!c->answering && atomic_load_explicit(&c->passed_on, memory_order_relaxed))
            request_release(process_requests(), r); /* whoever has it now answers it */
        else
            request_finish(r, now, fault_type(c, c->answering));
        c->answering = c->status_told = false;
    }
    request_drop(c);
}

void http_connection_forget(struct connection *c)
{
    while (oldest(c)) {
        current_untold(); /* its work goes on, and nobody will know when it is over */
        struct request *r = oldest_pop(c);
        if (!left_to_a_child(c, r))
            request_release(process_requests(), r);
    }
    request_drop(c);
}
