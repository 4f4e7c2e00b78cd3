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

static void put_varint(struct wire *w, uint64_t v)
{
    w->p = proto_put_varint(w->p, v);
}

/* Most keys and values are short: parts that overlap are copied sooner than memcpy is called. */
static inline void put_bytes(struct wire *w, const void *from, size_t n)
{
    const uint8_t *p = from;
    if (n >= 8 && n <= 16) {
        uint64_t first, last;
        memcpy(&first, p, 8), memcpy(&last, p + n - 8, 8);
        memcpy(w->p, &first, 8), memcpy(w->p + n - 8, &last, 8);
    } else if (n > 16 && n <= 32) {
        struct {
            uint64_t half[2];
        } first, last;
        memcpy(&first, p, 16), memcpy(&last, p + n - 16, 16);
        memcpy(w->p, &first, 16), memcpy(w->p + n - 16, &last, 16);
    } else if (n >= 4 && n < 8) {
        uint32_t first, last;
        memcpy(&first, p, 4), memcpy(&last, p + n - 4, 4);
        memcpy(w->p, &first, 4), memcpy(w->p + n - 4, &last, 4);
    } else if (n > 32) {
        memcpy(w->p, p, n);
    } else if (n) {
        w->p[0] = p[0], w->p[n / 2] = p[n / 2], w->p[n - 1] = p[n - 1];
    }
    w->p += n;
}

static void put_padded(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v | 0x80);
    p[1] = (uint8_t)(v >> 7 | 0x80);
    p[2] = (uint8_t)(v >> 14);
}

static void put_fixed64(struct wire *w, uint64_t v)
{
    memcpy(w->p, &v, 8); /* both of our machines are little-endian */
    w->p += 8;
}

static size_t utf8_size(const uint8_t *s, size_t len)
{
    if (utf8_ascii(s, len))
        return len;
    size_t size = 0;
    for (const uint8_t *end = s + len; s < end;) {
        size_t n = utf8_sequence(s, end);
        size += n ? n : 3;
        s += n ? n : 1;
    }
    return size;
}

static void put_utf8(struct wire *w, const uint8_t *s, size_t len, size_t size)
{
    if (size == len) { /* every byte that is not UTF-8 would have made it longer */
        put_bytes(w, s, len);
        return;
    }
    for (const uint8_t *end = s + len; s < end;) {
        size_t n = utf8_sequence(s, end);
        if (n) {
            memcpy(w->p, s, n);
            w->p += n;
            s += n;
        } else {
            memcpy(w->p, "\xef\xbf\xbd", 3);
            w->p += 3;
            s++;
        }
    }
}

void wire_string(struct wire *w, uint8_t tag, const uint8_t *s, size_t len)
{
    size_t size = utf8_size(s, len);
    if (!room(w, size + 12))
        return;
    *w->p++ = tag;
    put_varint(w, size);
    put_utf8(w, s, len, size);
}

void wire_bytes(struct wire *w, uint8_t tag, const uint8_t *p, size_t len)
{
    if (!room(w, len + 12))
        return;
    *w->p++ = tag;
    put_varint(w, len);
    memcpy(w->p, p, len);
    w->p += len;
}

void wire_uint(struct wire *w, uint8_t tag, uint64_t v)
{
    if (!room(w, 12))
        return;
    *w->p++ = tag;
    put_varint(w, v);
}

void wire_fixed64(struct wire *w, uint8_t tag, uint64_t v)
{
    if (!room(w, 9))
        return;
    *w->p++ = tag;
    put_fixed64(w, v);
}

void wire_fixed32(struct wire *w, uint8_t tag, uint32_t v)
{
    if (!room(w, 5))
        return;
    *w->p++ = tag;
    memcpy(w->p, &v, 4);
    w->p += 4;
}

uint8_t *wire_open(struct wire *w, uint8_t tag)
{
    uint8_t *start = w->p;
    if (!room(w, 1 + LENGTH_BYTES))
        return start;
    *w->p++ = tag;
    w->p += LENGTH_BYTES;
    return start;
}

void wire_close(struct wire *w, uint8_t *start)
{
    if (!w->over)
        put_padded(start + 1, (size_t)(w->p - start) - 1 - LENGTH_BYTES);
}

/* Opens a KeyValue with its key and the head of an AnyValue of value_size bytes; false without room.
 */
static bool put_key(struct wire *w, const char *key, size_t key_len, size_t value_size)
{
    size_t value = 1 + proto_varint_size(value_size) + value_size;
    size_t pair = 1 + proto_varint_size(key_len) + key_len + value;
    if (!room(w, pair + 12))
        return false;
    *w->p++ = w->key_tag ? w->key_tag : 0x4a;
    put_varint(w, pair);
    *w->p++ = 0x0a; /* key = 1 */
    put_varint(w, key_len);
    put_bytes(w, key, key_len);
    *w->p++ = 0x12; /* value = 2 */
    put_varint(w, value_size);
    return true;
}

void wire_key_string(struct wire *w, const char *key, size_t key_len, const uint8_t *value, size_t len)
{
    size_t size = utf8_size(value, len);
    if (!put_key(w, key, key_len, 1 + proto_varint_size(size) + size))
        return;
    *w->p++ = 0x0a; /* string_value = 1: written also when empty */
    put_varint(w, size);
    put_utf8(w, value, len, size);
}

void wire_key_int(struct wire *w, const char *key, size_t key_len, int64_t value)
{
    if (!put_key(w, key, key_len, 1 + proto_varint_size((uint64_t)value)))
        return;
    *w->p++ = 0x18; /* int_value = 3 */
    put_varint(w, (uint64_t)value);
}

void wire_key_double(struct wire *w, const char *key, size_t key_len, double value)
{
    if (!put_key(w, key, key_len, 9))
        return;
    *w->p++ = 0x21; /* double_value = 4 */
    uint64_t bits;
    memcpy(&bits, &value, 8);
    put_fixed64(w, bits);
}

void wire_key_bool(struct wire *w, const char *key, size_t key_len, bool value)
{
    if (!put_key(w, key, key_len, 2))
        return;
    *w->p++ = 0x10; /* bool_value = 2 */
    *w->p++ = value;
}

size_t span_room(const struct span_head *h)
{
    return 132 + 3 * h->name_len + h->tracestate_len +
           (h->status_message ? 3 * strlen(h->status_message) : 0);
}

uint8_t *span_open(struct wire *w, const struct span_head *h)
{
    uint8_t *start = w->p;
    if (!room(w, span_room(h)))
        return start;
    *w->p++ = 0x12; /* ScopeSpans.spans = 2 */
    w->p += LENGTH_BYTES;
    *w->p++ = 0x0a, *w->p++ = 16; /* trace_id = 1 */
    memcpy(w->p, h->ctx.trace_id, 16);
    w->p += 16;
    *w->p++ = 0x12, *w->p++ = 8; /* span_id = 2 */
    memcpy(w->p, h->ctx.span_id, 8);
    w->p += 8;
    if (h->tracestate_len)
        wire_string(w, 0x1a, h->tracestate, h->tracestate_len);
    if (h->has_parent) {
        *w->p++ = 0x22, *w->p++ = 8; /* parent_span_id = 4 */
        memcpy(w->p, h->parent_span_id, 8);
        w->p += 8;
    }
    wire_string(w, 0x2a, (const uint8_t *)h->name, h->name_len);
    *w->p++ = 0x30, *w->p++ = h->kind;
    *w->p++ = 0x39; /* start_time_unix_nano = 7, fixed64 */
    put_fixed64(w, h->start_ns);
    *w->p++ = 0x41;
    put_fixed64(w, h->end_ns < h->start_ns ? h->start_ns : h->end_ns);
    if (h->dropped_attributes) {
        *w->p++ = 0x50;
        put_varint(w, h->dropped_attributes);
    }
    if (h->dropped_events) {
        *w->p++ = 0x60;
        put_varint(w, h->dropped_events);
    }
    if (h->dropped_links) {
        *w->p++ = 0x70;
        put_varint(w, h->dropped_links);
    }
    if (h->status) {
        size_t message = h->status_message && h->status == 2 ? strlen(h->status_message) : 0;
        size_t size = message ? utf8_size((const uint8_t *)h->status_message, message) : 0;
        *w->p++ = 0x7a; /* status = 15 */
        put_varint(w, 2 + (size ? 1 + proto_varint_size(size) + size : 0));
        if (size) {
            *w->p++ = 0x12;
            put_varint(w, size);
            put_utf8(w, (const uint8_t *)h->status_message, message, size);
        }
        *w->p++ = 0x18, *w->p++ = h->status;
    }
    uint32_t flags = h->ctx.flags | 0x100u | (h->has_parent && h->parent_remote ? 0x200u : 0);
    *w->p++ = 0x85, *w->p++ = 0x01; /* flags = 16, fixed32 */
    memcpy(w->p, &flags, 4);
    w->p += 4;
    return start;
}

size_t span_close(struct wire *w, uint8_t *start)
{
    if (w->over)
        return 0;
    put_padded(start + 1, (size_t)(w->p - start) - 1 - LENGTH_BYTES);
    return (size_t)(w->p - start);
}
