/* SPDX-License-Identifier: Apache-2.0 */
#include "io/uwsgi_span.h"
#include "io/http_half.h"

#include <string.h>

static enum http1_field field_of(enum uwsgi_var var)
{
    switch (var) {
    case UWSGI_HOST:
        return HTTP1_HOST;
    case UWSGI_USER_AGENT:
        return HTTP1_USER_AGENT;
    case UWSGI_TRACEPARENT:
        return HTTP1_TRACEPARENT;
    case UWSGI_TRACESTATE:
        return HTTP1_TRACESTATE;
    case UWSGI_FORWARDED:
        return HTTP1_FORWARDED;
    case UWSGI_X_FORWARDED_FOR:
        return HTTP1_X_FORWARDED_FOR;
    case UWSGI_X_FORWARDED_PROTO:
        return HTTP1_X_FORWARDED_PROTO;
    case UWSGI_X_FORWARDED_HOST:
        return HTTP1_X_FORWARDED_HOST;
    default:
        return HTTP1_FIELD_OTHER;
    }
}

/* Where REQUEST_URI does not come, the target is put together of PATH_INFO and QUERY_STRING, in whichever
 * order they do: the path's bytes go in at `at`, before a query that is already there. */
static void path_insert(struct request *r, size_t at, const struct http1_slice *s)
{
    size_t room = sizeof r->target - r->target_len, n = s->len < room ? s->len : room;
    if (n < s->len)
        r->flags |= REQUEST_TRUNCATED;
    memmove(r->target + at + n, r->target + at, r->target_len - at);
    memcpy(r->target + at, s->p, n);
    r->target_len = (uint16_t)(r->target_len + n);
}

static void target_bytes(struct connection *c, const struct http1_slice *s)
{
    struct request *r = c->current;
    bool first = !c->value_begun;
    c->value_begun = true;
    if (c->uwsgi.var == UWSGI_REQUEST_URI) {
        if (first) {
            c->value_ignored = c->uri_seen; /* a second one: the first counts */
            if (!c->uri_seen)
                r->target_len = 0;
            c->uri_seen = true;
        }
        if (!c->value_ignored)
            REQUEST_APPEND(r, target, s->p, s->len);
        return;
    }
    if (c->uri_seen)
        return;
    if (c->uwsgi.var == UWSGI_PATH_INFO) {
        path_insert(r, c->path_len, s);
        c->path_len = (uint16_t)(c->path_len + s->len < r->target_len ? c->path_len + s->len : r->target_len);
        return;
    }
    if (first)
        REQUEST_APPEND(r, target, "?", 1);
    REQUEST_APPEND(r, target, s->p, s->len);
}

/* Short values that are only compared: their first bytes. */
static void word_bytes(struct connection *c, const struct http1_slice *s)
{
    if (!c->value_begun)
        c->word_len = 0;
    c->value_begun = true;
    size_t room = sizeof c->word - c->word_len, n = s->len < room ? s->len : room;
    memcpy(c->word + c->word_len, s->p, n);
    c->word_len = (uint8_t)(c->word_len + n);
}

static bool word_is(const struct connection *c, const char *text)
{
    return strlen(text) == c->word_len && memcmp(text, c->word, c->word_len) == 0;
}

static void value_bytes(struct connection *c, const struct http1_slice *s)
{
    struct request *r = c->current;
    switch ((enum uwsgi_var)c->uwsgi.var) {
    case UWSGI_REQUEST_METHOD:
        for (size_t i = 0; i < s->len && c->method_len < sizeof c->method; i++)
            c->method[c->method_len++] = (char)s->p[i];
        if (r)
            REQUEST_APPEND(r, method, s->p, s->len);
        break;
    case UWSGI_REQUEST_URI:
    case UWSGI_PATH_INFO:
    case UWSGI_QUERY_STRING:
        if (r)
            target_bytes(c, s);
        break;
    case UWSGI_SERVER_PROTOCOL:
    case UWSGI_SCHEME:
    case UWSGI_HTTPS:
        word_bytes(c, s);
        break;
    case UWSGI_REMOTE_ADDR:
        if (r)
            REQUEST_APPEND(r, remote_addr, s->p, s->len);
        break;
    default:
        if (r)
            http_half_value(c, field_of((enum uwsgi_var)c->uwsgi.var), s);
        break;
    }
}

static void value_ends(struct connection *c)
{
    struct request *r = c->current;
    bool empty = !c->value_begun; /* a word's last value stands in c->word yet */
    c->value_begun = false;
    if (!r)
        return;
    switch ((enum uwsgi_var)c->uwsgi.var) {
    case UWSGI_SERVER_PROTOCOL:
        if (!empty)
            r->minor = word_is(c, "HTTP/1.0")                           ? 0
                       : word_is(c, "HTTP/2") || word_is(c, "HTTP/2.0") ? REQUEST_HTTP_2
                       : word_is(c, "HTTP/3") || word_is(c, "HTTP/3.0") ? REQUEST_HTTP_3
                                                                        : 1;
        break;
    case UWSGI_SCHEME:
        if (!empty && word_is(c, "https"))
            r->flags |= REQUEST_HTTPS;
        break;
    case UWSGI_HTTPS:
        if (!empty && !word_is(c, "off"))
            r->flags |= REQUEST_HTTPS;
        break;
    case UWSGI_REMOTE_ADDR:
        REQUEST_TRIM(r, remote_addr);
        break;
    default:
        /* A header that is empty makes no traceparent. */
        if (!empty || c->uwsgi.var != UWSGI_TRACEPARENT)
            http_half_value_end(c, field_of((enum uwsgi_var)c->uwsgi.var));
        break;
    }
}

static void head_ends(struct connection *c, const uint8_t *head_end)
{
    /* Without a method it was another kind of packet, of which no span tells. */
    if (c->method_len) {
        if (c->current)
            http_half_target_end(c);
        if (!c->handed_over)
            http_half_hand_over(c, head_end);
    }
    http_half_final(c);
}

void uwsgi_request_bytes(struct connection *c, uint8_t *p, size_t n)
{
    struct http1_slice in = {p, n}, out;
    c->head_at = c->traceparent_at = NULL;
    if (atomic_load_explicit(&c->request_final, memory_order_relaxed))
        return;
    for (;;) {
        switch (uwsgi_next(&c->uwsgi, &in, &out)) {
        case UWSGI_NEED_MORE:
            return;
        case UWSGI_NOT_UWSGI:
            http_half_final(c);
            return;
        case UWSGI_START:
            http_half_begins(c);
            if (c->current)
                c->current->minor = 1;
            c->uri_seen = false;
            c->path_len = c->word_len = 0;
            c->head_at = atomic_load_explicit(&c->peeked, memory_order_relaxed) == 0 ? p : NULL;
            break;
        case UWSGI_VALUE:
            value_bytes(c, &out);
            break;
        case UWSGI_VALUE_END:
            value_ends(c);
            break;
        case UWSGI_HEAD_END:
            head_ends(c, in.p);
            return;
        }
    }
}
