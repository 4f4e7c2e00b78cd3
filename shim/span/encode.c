/* SPDX-License-Identifier: Apache-2.0 */
#include "span/encode.h"
#include "wire/proto.h"
#include "wire/utf8.h"

#include <string.h>

enum { LENGTH_BYTES = 3 }; /* a length of up to 2 MiB, written padded so that nothing is moved afterwards */

static bool room(struct wire *w, size_t n)
{
    if (!w->over && n <= (size_t)(w->end - w->p))
        return true;
    w->over = true;
    return false;
}

/* Each put_* writes at p, where there is room, and returns the end of what it wrote. The place is a local
 * variable of who calls: a store of a byte may alias w->p, which then would be read again for each. */

/* Most keys and values are short: parts that overlap are copied sooner than memcpy is called. */
static inline uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    if (n >= 8 && n <= 16) {
        uint64_t first, last;
        memcpy(&first, from, 8), memcpy(&last, from + n - 8, 8);
        memcpy(p, &first, 8), memcpy(p + n - 8, &last, 8);
    } else if (n > 16 && n <= 32) {
        struct {
            uint64_t half[2];
        } first, last;
        memcpy(&first, from, 16), memcpy(&last, from + n - 16, 16);
        memcpy(p, &first, 16), memcpy(p + n - 16, &last, 16);
    } else if (n >= 4 && n < 8) {
        uint32_t first, last;
        memcpy(&first, from, 4), memcpy(&last, from + n - 4, 4);
        memcpy(p, &first, 4), memcpy(p + n - 4, &last, 4);
    } else if (n > 32) {
        memcpy(p, from, n);
    } else if (n) {
        p[0] = from[0], p[n / 2] = from[n / 2], p[n - 1] = from[n - 1];
    }
    return p + n;
}

static inline uint8_t *put_fixed64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, 8); /* both of our machines are little-endian */
    return p + 8;
}

static inline uint8_t *put_fixed32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
    return p + 4;
}

/* A length of LENGTH_BYTES. */
static void put_padded(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v | 0x80);
    p[1] = (uint8_t)(v >> 7 | 0x80);
    p[2] = (uint8_t)(v >> 14);
}

static size_t size_by_sequences(const uint8_t *s, size_t len)
{
    size_t size = 0;
    for (const uint8_t *end = s + len; s < end;) {
        size_t n = utf8_sequence(s, end);
        size += n ? n : 3;
        s += n ? n : 1;
    }
    return size;
}

static inline __attribute__((always_inline)) size_t utf8_size(const uint8_t *s, size_t len)
{
    return utf8_ascii(s, len) ? len : size_by_sequences(s, len);
}

static uint8_t *put_replaced(uint8_t *p, const uint8_t *s, size_t len)
{
    for (const uint8_t *end = s + len; s < end;) {
        size_t n = utf8_sequence(s, end);
        memcpy(p, n ? (const char *)s : "\xef\xbf\xbd", n ? n : 3);
        p += n ? n : 3;
        s += n ? n : 1;
    }
    return p;
}

/* size is utf8_size() of it: every byte that is not UTF-8 makes it longer. */
static inline uint8_t *put_utf8(uint8_t *p, const uint8_t *s, size_t len, size_t size)
{
    return size == len ? put_bytes(p, s, len) : put_replaced(p, s, len);
}

void wire_string(struct wire *w, uint8_t tag, const uint8_t *s, size_t len)
{
    size_t size = utf8_size(s, len);
    if (!room(w, size + 12))
        return;
    uint8_t *p = w->p;
    *p++ = tag;
    p = proto_put_varint(p, size);
    w->p = put_utf8(p, s, len, size);
}

void wire_bytes(struct wire *w, uint8_t tag, const uint8_t *bytes, size_t len)
{
    if (!room(w, len + 12))
        return;
    uint8_t *p = w->p;
    *p++ = tag;
    p = proto_put_varint(p, len);
    w->p = put_bytes(p, bytes, len);
}

void wire_uint(struct wire *w, uint8_t tag, uint64_t v)
{
    if (!room(w, 12))
        return;
    uint8_t *p = w->p;
    *p++ = tag;
    w->p = proto_put_varint(p, v);
}

void wire_fixed64(struct wire *w, uint8_t tag, uint64_t v)
{
    if (!room(w, 9))
        return;
    *w->p = tag;
    w->p = put_fixed64(w->p + 1, v);
}

void wire_fixed32(struct wire *w, uint8_t tag, uint32_t v)
{
    if (!room(w, 5))
        return;
    *w->p = tag;
    w->p = put_fixed32(w->p + 1, v);
}

uint8_t *wire_open(struct wire *w, uint8_t tag)
{
    uint8_t *start = w->p;
    if (!room(w, 1 + LENGTH_BYTES))
        return start;
    *start = tag;
    w->p = start + 1 + LENGTH_BYTES;
    return start;
}

void wire_close(struct wire *w, uint8_t *start)
{
    if (!w->over)
        put_padded(start + 1, (size_t)(w->p - start) - 1 - LENGTH_BYTES);
}

/* A KeyValue with its key and the head of an AnyValue of value_size bytes; the caller writes these and sets
 * w->p. NULL without room. */
static inline uint8_t *put_key(struct wire *w, const char *key, size_t key_len, size_t value_size)
{
    size_t value = 1 + proto_varint_size(value_size) + value_size;
    size_t pair = 1 + proto_varint_size(key_len) + key_len + value;
    if (!room(w, pair + 12))
        return NULL;
    uint8_t *p = w->p;
    *p++ = w->key_tag ? w->key_tag : 0x4a;
    if (__builtin_expect(pair < 0x80, 1)) { /* then so are the others */
        *p++ = (uint8_t)pair;
        *p++ = 0x0a; /* key = 1 */
        *p++ = (uint8_t)key_len;
        p = put_bytes(p, key, key_len);
        *p++ = 0x12; /* value = 2 */
        *p++ = (uint8_t)value_size;
        return p;
    }
    p = proto_put_varint(p, pair);
    *p++ = 0x0a;
    p = proto_put_varint(p, key_len);
    p = put_bytes(p, key, key_len);
    *p++ = 0x12;
    return proto_put_varint(p, value_size);
}

void wire_key_string(struct wire *w, const char *key, size_t key_len, const uint8_t *value, size_t len)
{
    size_t size = utf8_size(value, len);
    uint8_t *p = put_key(w, key, key_len, 1 + proto_varint_size(size) + size);
    if (!p)
        return;
    *p++ = 0x0a; /* string_value = 1: written also when empty */
    p = proto_put_varint(p, size);
    w->p = put_utf8(p, value, len, size);
}

void wire_key_int(struct wire *w, const char *key, size_t key_len, int64_t value)
{
    uint8_t *p = put_key(w, key, key_len, 1 + proto_varint_size((uint64_t)value));
    if (!p)
        return;
    *p++ = 0x18; /* int_value = 3 */
    w->p = proto_put_varint(p, (uint64_t)value);
}

void wire_key_double(struct wire *w, const char *key, size_t key_len, double value)
{
    uint8_t *p = put_key(w, key, key_len, 9);
    if (!p)
        return;
    *p++ = 0x21; /* double_value = 4 */
    uint64_t bits;
    memcpy(&bits, &value, 8);
    w->p = put_fixed64(p, bits);
}

void wire_key_bool(struct wire *w, const char *key, size_t key_len, bool value)
{
    uint8_t *p = put_key(w, key, key_len, 2);
    if (!p)
        return;
    *p++ = 0x10; /* bool_value = 2 */
    *p++ = value;
    w->p = p;
}

size_t span_room(const struct span_head *h)
{
    return 132 + 3 * h->name_len + 3 * h->tracestate_len +
           (h->status_message ? 3 * strlen(h->status_message) : 0);
}

static uint8_t *put_status(uint8_t *p, const struct span_head *h)
{
    const uint8_t *message = (const uint8_t *)h->status_message;
    size_t len = message && h->status == 2 ? strlen(h->status_message) : 0;
    size_t size = len ? utf8_size(message, len) : 0;
    *p++ = 0x7a; /* status = 15 */
    p = proto_put_varint(p, 2 + (size ? 1 + proto_varint_size(size) + size : 0));
    if (size) {
        *p++ = 0x12;
        p = proto_put_varint(p, size);
        p = put_utf8(p, message, len, size);
    }
    *p++ = 0x18, *p++ = h->status;
    return p;
}

static uint8_t *put_dropped(uint8_t *p, uint8_t tag, uint32_t n)
{
    if (n) {
        *p++ = tag;
        p = proto_put_varint(p, n);
    }
    return p;
}

uint8_t *span_open(struct wire *w, const struct span_head *h)
{
    uint8_t *start = w->p, *p = start;
    if (!room(w, span_room(h)))
        return start;
    *p++ = 0x12; /* ScopeSpans.spans = 2 */
    p += LENGTH_BYTES;
    *p++ = 0x0a, *p++ = 16; /* trace_id = 1 */
    p = put_bytes(p, h->ctx.trace_id, 16);
    *p++ = 0x12, *p++ = 8; /* span_id = 2 */
    p = put_bytes(p, h->ctx.span_id, 8);
    if (h->tracestate_len) {
        size_t size = utf8_size(h->tracestate, h->tracestate_len);
        *p++ = 0x1a; /* trace_state = 3 */
        p = proto_put_varint(p, size);
        p = put_utf8(p, h->tracestate, h->tracestate_len, size);
    }
    if (h->has_parent) {
        *p++ = 0x22, *p++ = 8; /* parent_span_id = 4 */
        p = put_bytes(p, h->parent_span_id, 8);
    }
    size_t name = utf8_size((const uint8_t *)h->name, h->name_len);
    *p++ = 0x2a; /* name = 5 */
    p = proto_put_varint(p, name);
    p = put_utf8(p, (const uint8_t *)h->name, h->name_len, name);
    *p++ = 0x30, *p++ = h->kind;
    *p++ = 0x39; /* start_time_unix_nano = 7, fixed64 */
    p = put_fixed64(p, h->start_ns);
    *p++ = 0x41;
    p = put_fixed64(p, h->end_ns < h->start_ns ? h->start_ns : h->end_ns);
    p = put_dropped(p, 0x50, h->dropped_attributes);
    p = put_dropped(p, 0x60, h->dropped_events);
    p = put_dropped(p, 0x70, h->dropped_links);
    if (h->status)
        p = put_status(p, h);
    *p++ = 0x85, *p++ = 0x01; /* flags = 16, fixed32 */
    w->p = put_fixed32(p, h->ctx.flags | 0x100u | (h->has_parent && h->parent_remote ? 0x200u : 0));
    return start;
}

size_t span_close(struct wire *w, uint8_t *start)
{
    if (w->over)
        return 0;
    put_padded(start + 1, (size_t)(w->p - start) - 1 - LENGTH_BYTES);
    return (size_t)(w->p - start);
}
