/* SPDX-License-Identifier: Apache-2.0
 * http_record.c - from what is known of a request to its span in wire form.
 *
 * Values of error.type:
 *   "500" .. "599"         the final status code of a complete response
 *   "connection_reset"     the connection broke (ECONNRESET, EPIPE) before the response was complete
 *   "timeout"              it broke with ETIMEDOUT
 *   "client_closed"        the client closed its side before the response was complete
 *   "response_incomplete"  the server closed it within the response
 *   "no_response"          the server closed it without any response
 *   "SIGKILL", "SIGSEGV", ... the signal that ended the process (batch/fatal.c)
 *   "exit 1", ...          the process left by itself with this code
 *   "exec"                 it became another program
 *   "_OTHER"               it ended, and nobody told how
 */
#include "io/http_record.h"
#include "span/encode.h"
#include "span/span.h"
#include "wire/proto.h"
#include "wire/utf8.h"

#include <stdatomic.h>
#include <string.h>

struct target http_target(const struct request *r)
{
    struct target t = {.path = {r->target, r->target_len}};
    if (r->method_len == 7 && memcmp(r->method, "CONNECT", 7) == 0) {
        t.authority = t.path;
        t.path.len = 0;
        return t;
    }
    if (t.path.len && t.path.p[0] != '/' && t.path.p[0] != '*') {
        const char *colon = memchr(t.path.p, ':', t.path.len);
        size_t left = colon ? t.path.len - (size_t)(colon - t.path.p) : 0;
        if (left > 3 && colon[1] == '/' && colon[2] == '/') {
            const char *begin = colon + 3, *end = r->target + r->target_len, *p = begin;
            while (p < end && *p != '/' && *p != '?')
                p++;
            const char *at = memchr(begin, '@', (size_t)(p - begin));
            if (at)
                begin = at + 1; /* never a password */
            t.authority = (struct text){begin, (size_t)(p - begin)};
            t.path = (struct text){p, (size_t)(end - p)};
        }
    }
    const char *question = t.path.len ? memchr(t.path.p, '?', t.path.len) : NULL;
    if (question) {
        t.query = (struct text){question + 1, t.path.len - (size_t)(question - t.path.p) - 1};
        t.path.len = (size_t)(question - t.path.p);
    }
    if (t.path.len == 0)
        t.path = (struct text){"/", 1};
    return t;
}

/* Two rounds over the same calls: with `wire` NULL it counts attributes and room, then it writes. */
struct sink {
    struct wire *wire;
    size_t room;
    uint32_t count, limit, dropped;
    uint32_t characters; /* OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT */
};

/* Bytes of a KeyValue with its tag. A ring gives away what is reserved, not what is used: so no generous
 * bound. */
static size_t attribute_size(size_t key, size_t value)
{
    size_t any = 1 + proto_varint_size(value) + value;
    size_t pair = 1 + proto_varint_size(key) + key + 1 + proto_varint_size(any) + any;
    return 1 + proto_varint_size(pair) + pair;
}

static bool sink_admits(struct sink *s)
{
    if (s->count >= s->limit) {
        s->dropped++;
        return false;
    }
    s->count++;
    return true;
}

static void put_text(struct sink *s, const char *key, size_t key_len, struct text v)
{
    if (!sink_admits(s))
        return;
    v.len = utf8_limited(v.p, v.len, s->characters);
    if (s->wire)
        wire_key_string(s->wire, key, key_len, (const uint8_t *)v.p, v.len);
    else
        s->room += attribute_size(key_len, utf8_ascii((const uint8_t *)v.p, v.len) ? v.len : 3 * v.len);
}

static void put_number(struct sink *s, const char *key, size_t key_len, int64_t v)
{
    if (!sink_admits(s))
        return;
    if (s->wire)
        wire_key_int(s->wire, key, key_len, v);
    else
        s->room += attribute_size(key_len, 10);
}

/* Their keys are constants: so are their lengths. */
static inline void put_string(struct sink *s, const char *key, struct text v)
{
    put_text(s, key, strlen(key), v);
}

static inline void put_int(struct sink *s, const char *key, int64_t v)
{
    put_number(s, key, strlen(key), v);
}

static struct text text_of(const char *s)
{
    return (struct text){s, strlen(s)};
}

static bool method_known(const struct config *config, const struct request *r)
{
    for (const char **m = config->known_methods; m && *m; m++)
        if (strlen(*m) == r->method_len && memcmp(*m, r->method, r->method_len) == 0)
            return true;
    return false;
}

static struct text scheme_of(const struct config *config, const struct request *r)
{
    struct text t;
    if (config->trust_forwarded) {
        if (forwarded_find((struct text){r->forwarded, r->forwarded_len}, "proto", &t))
            return t;
        t = list_first((struct text){r->x_forwarded_proto, r->x_forwarded_proto_len});
        if (t.len)
            return t;
    }
    if (r->flags & REQUEST_HTTPS)
        return text_of("https"); /* said the server in front */
    return text_of("http");      /* TLS is not parsed: what we can read came in clear */
}

static void find_server(struct http_facts *f, const struct config *config, const struct request *r)
{
    struct text from = {r->host, r->host_len};
    if (f->target.authority.len)
        from = f->target.authority; /* an absolute-form target overrides Host (RFC 9112, 3.2.2) */
    struct text t;
    if (config->trust_forwarded) {
        if (forwarded_find((struct text){r->forwarded, r->forwarded_len}, "host", &t))
            from = t;
        else if ((t = list_first((struct text){r->x_forwarded_host, r->x_forwarded_host_len})).len)
            from = t;
    }
    if (!address_split(from, &f->host, &f->port))
        f->host.len = 0;
    else if (f->port < 0)
        f->port = f->scheme.len == 5 && memcmp(f->scheme.p, "https", 5) == 0 ? 443 : 80;
}

static struct text client_of(const struct config *config, const struct request *r, struct text peer)
{
    struct text node, address;
    if (config->trust_forwarded) {
        if (forwarded_find((struct text){r->forwarded, r->forwarded_len}, "for", &node) &&
            address_of_node(node, &address))
            return address;
        if (address_of_node(list_first((struct text){r->x_forwarded_for, r->x_forwarded_for_len}), &address))
            return address;
    }
    if (r->remote_addr_len)
        return (struct text){r->remote_addr, r->remote_addr_len};
    return peer;
}

static struct text version_of(const struct request *r)
{
    switch (r->minor) {
    case REQUEST_HTTP_2:
        return text_of("2");
    case REQUEST_HTTP_3:
        return text_of("3");
    case 0:
        return text_of("1.0");
    default:
        return text_of("1.1");
    }
}

static const char *code_text(unsigned status, char out[4])
{
    for (int i = 2; i >= 0; i--, status /= 10)
        out[i] = (char)('0' + status % 10);
    out[3] = 0;
    return out;
}

static void find_facts(struct http_facts *f, const struct config *config, const struct request *r)
{
    f->target = http_target(r);
    f->method_known = method_known(config, r);
    f->scheme = scheme_of(config, r);
    find_server(f, config, r);
    f->peer = (struct text){f->peer_text, address_format(r->peer_family, r->peer, f->peer_text)};
    f->socket_peer = f->peer.len != 0;
    if (!f->socket_peer && r->peer_path_len)
        f->peer = (struct text){r->peer_path, r->peer_path_len};
    f->client = client_of(config, r, f->peer);
}

static void put_attributes(struct sink *s, const struct http_facts *f, const struct request *r,
                           const struct http_outcome *o)
{
    unsigned status = atomic_load_explicit(&r->status, memory_order_relaxed);
    struct text method = {r->method, r->method_len};
    if (f->method_known) {
        put_string(s, "http.request.method", method);
    } else {
        put_string(s, "http.request.method", text_of("_OTHER"));
        put_string(s, "http.request.method_original", method);
    }
    put_string(s, "url.path", f->target.path);
    put_string(s, "url.scheme", f->scheme);
    if (f->target.query.len)
        put_string(s, "url.query", f->target.query);
    char code[4];
    code_text(status % 1000, code);
    if (status)
        put_int(s, "http.response.status_code", status);
    if (o->error_type)
        put_string(s, "error.type", text_of(o->error_type));
    else if (status >= 500)
        put_string(s, "error.type", (struct text){code, 3});
    put_string(s, "network.protocol.version", version_of(r));
    if (f->host.len) {
        put_string(s, "server.address", f->host);
        put_int(s, "server.port", f->port);
    }
    if (f->client.len)
        put_string(s, "client.address", f->client);
    if (f->peer.len)
        put_string(s, "network.peer.address", f->peer);
    if (f->socket_peer)
        put_int(s, "network.peer.port", r->peer_port);
    if (r->user_agent_len)
        put_string(s, "user_agent.original", (struct text){r->user_agent, r->user_agent_len});
}

static void head_of(bool known, const struct request *r, const struct http_outcome *o, struct span_head *h)
{
    unsigned status = atomic_load_explicit(&r->status, memory_order_relaxed);
    *h = (struct span_head){
        .ctx = r->context,
        .has_parent = r->has_parent,
        .parent_remote = r->has_parent,
        .kind = SPAN_SERVER,
        .status = o->error_type || status >= 500 ? SPAN_STATUS_ERROR : SPAN_STATUS_UNSET,
        .start_ns = r->start_realtime_ns,
        .end_ns = o->end_ns > r->start_realtime_ns ? o->end_ns : r->start_realtime_ns,
        .name = known ? r->method : "HTTP",
        .name_len = known ? r->method_len : 4,
        .tracestate = (const uint8_t *)r->tracestate,
        .tracestate_len = r->tracestate_len,
    };
    memcpy(h->parent_span_id, r->parent_span_id, sizeof h->parent_span_id);
}

static struct sink attributes_of(const struct http_span *s, struct wire *wire)
{
    struct sink sink = {
        .wire = wire, .limit = s->config->attribute_count, .characters = s->config->attribute_length};
    put_attributes(&sink, &s->facts, s->request, s->outcome);
    return sink;
}

void http_span_of(struct http_span *s, const struct config *config, const struct request *r,
                  const struct http_outcome *o)
{
    s->config = config;
    s->request = r;
    s->outcome = o;
    find_facts(&s->facts, config, r);
    head_of(s->facts.method_known, r, o, &s->head);
    struct sink measured = attributes_of(s, NULL);
    s->attributes = measured.count;
    s->head.dropped_attributes = measured.dropped;
    s->room = span_room(&s->head) + measured.room + 16; /* the writer wants a little room in hand */
}

size_t http_span_write(const struct http_span *s, uint8_t *out, size_t room)
{
    struct wire w = {.p = out, .end = out + room};
    uint8_t *start = span_open(&w, &s->head);
    attributes_of(s, &w);
    if (!w.over)
        return span_close(&w, start);
    /* The bound is wrong, or the copy changed: a span without attributes tells at least that there was a
     * request. */
    struct span_head bare = s->head;
    bare.dropped_attributes += s->attributes;
    w = (struct wire){.p = out, .end = out + room};
    start = span_open(&w, &bare);
    return w.over ? 0 : span_close(&w, start);
}
