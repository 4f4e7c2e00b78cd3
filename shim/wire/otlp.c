/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/otlp.h"
#include "wire/proto.h"
#include "wire/utf8.h"

enum message {
    REQUEST,
    RESOURCE_SPANS,
    RESOURCE,
    ENTITY,
    SCOPE_SPANS,
    SCOPE,
    SPAN,
    EVENT,
    LINK,
    STATUS,
    KEY_VALUE,
    VALUE,
    ARRAY,
    KEY_VALUES,
};

enum kind { UNKNOWN, NUMBER, FIXED64, FIXED32, BYTES, TEXT, TRACE_ID, SPAN_ID, PARENT_ID, MESSAGE };

enum {
    FIELDS = 17,    /* of a message, numbers from 1 */
    DEPTH_MAX = 40, /* of values in values; the readers of protobuf themselves stop at 100 */
};

/* What a field holds: its kind, or MESSAGE + the message. */
static const uint8_t rules[][FIELDS] = {
    [REQUEST] = {[1] = MESSAGE + RESOURCE_SPANS},
    [RESOURCE_SPANS] = {[1] = MESSAGE + RESOURCE, [2] = MESSAGE + SCOPE_SPANS, [3] = TEXT},
    [RESOURCE] = {[1] = MESSAGE + KEY_VALUE, [2] = NUMBER, [3] = MESSAGE + ENTITY},
    [ENTITY] = {[1] = TEXT, [2] = TEXT, [3] = TEXT, [4] = TEXT},
    [SCOPE_SPANS] = {[1] = MESSAGE + SCOPE, [2] = MESSAGE + SPAN, [3] = TEXT},
    [SCOPE] = {[1] = TEXT, [2] = TEXT, [3] = MESSAGE + KEY_VALUE, [4] = NUMBER},
    [SPAN] = {[1] = TRACE_ID,
              [2] = SPAN_ID,
              [3] = TEXT,
              [4] = PARENT_ID,
              [5] = TEXT,
              [6] = NUMBER,
              [7] = FIXED64,
              [8] = FIXED64,
              [9] = MESSAGE + KEY_VALUE,
              [10] = NUMBER,
              [11] = MESSAGE + EVENT,
              [12] = NUMBER,
              [13] = MESSAGE + LINK,
              [14] = NUMBER,
              [15] = MESSAGE + STATUS,
              [16] = FIXED32},
    [EVENT] = {[1] = FIXED64, [2] = TEXT, [3] = MESSAGE + KEY_VALUE, [4] = NUMBER},
    [LINK] =
        {[1] = TRACE_ID, [2] = SPAN_ID, [3] = TEXT, [4] = MESSAGE + KEY_VALUE, [5] = NUMBER, [6] = FIXED32},
    [STATUS] = {[2] = TEXT, [3] = NUMBER},
    [KEY_VALUE] = {[1] = TEXT, [2] = MESSAGE + VALUE},
    [VALUE] = {[1] = TEXT,
               [2] = NUMBER,
               [3] = NUMBER,
               [4] = FIXED64,
               [5] = MESSAGE + ARRAY,
               [6] = MESSAGE + KEY_VALUES,
               [7] = BYTES},
    [ARRAY] = {[1] = MESSAGE + VALUE},
    [KEY_VALUES] = {[1] = MESSAGE + KEY_VALUE},
};

static bool field_sound(unsigned rule, const struct proto_field *f)
{
    switch (rule) {
    case NUMBER:
        return f->wire == PROTO_VARINT;
    case FIXED64:
        return f->wire == PROTO_FIXED64;
    case FIXED32:
        return f->wire == PROTO_FIXED32;
    case TEXT:
        return f->wire == PROTO_BYTES && utf8_valid(f->p, f->len);
    case TRACE_ID:
        return f->wire == PROTO_BYTES && f->len == 16;
    case SPAN_ID:
        return f->wire == PROTO_BYTES && f->len == 8;
    case PARENT_ID:
        return f->wire == PROTO_BYTES && (f->len == 8 || f->len == 0);
    default: /* BYTES, MESSAGE */
        return f->wire == PROTO_BYTES;
    }
}

enum { ATTRIBUTE_TAG = 0x4a, KEY_TAG = 0x0a, VALUE_TAG = 0x12, STRING_TAG = 0x0a, INT_TAG = 0x18 };

/* A KeyValue of a short key and a short text or a number, as encode.c writes it: sound, and found so without
 * the walk. Most are; false says nothing of the others. */
static bool plain_pair(const uint8_t *p, size_t len)
{
    enum { HEADS = 4, VARINT_MAX = 10 };
    if (len < HEADS || p[0] != KEY_TAG || p[1] >= 0x80 || len < HEADS + (size_t)p[1])
        return false;
    size_t key = p[1];
    const uint8_t *value = p + 2 + key;
    size_t n = value[1];
    if (value[0] != VALUE_TAG || n < 2 || n >= 0x80 || HEADS + key + n != len || !utf8_ascii(p + 2, key))
        return false;
    value += 2;
    if (value[0] == STRING_TAG)
        return value[1] == n - 2 && utf8_ascii(value + 2, n - 2);
    if (value[0] != INT_TAG || n - 1 > VARINT_MAX)
        return false;
    size_t i = 1;
    while (i < n - 1 && value[i] >= 0x80)
        i++;
    return i == n - 1 && value[i] < 0x80;
}

/* How many bytes a Span's ids take where they come first, as encode.c writes them; 0 where they do not. */
static size_t plain_ids(const uint8_t *p, size_t len)
{
    enum { TRACE_TAG = 0x0a, TRACE = 16, SPAN_TAG = 0x12, ID = 8, ALL = 2 + TRACE + 2 + ID };
    bool there =
        len >= ALL && p[0] == TRACE_TAG && p[1] == TRACE && p[2 + TRACE] == SPAN_TAG && p[3 + TRACE] == ID;
    return there ? ALL : 0;
}

/* Passes over those of a Span's attributes that are plain pairs. */
static const uint8_t *plain_attributes(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 2 && p[0] == ATTRIBUTE_TAG && p[1] < 0x80 && p[1] <= end - p - 2 &&
           plain_pair(p + 2, p[1]))
        p += 2 + p[1];
    return p;
}

/* Spans in the message; -1: not sound. */
static long walk(enum message in, const uint8_t *p, size_t len, unsigned depth)
{
    long spans = in == SPAN;
    const uint8_t *const end = p + len;
    if (depth > DEPTH_MAX)
        return -1;
    size_t first = in == SPAN ? plain_ids(p, len) : 0;
    unsigned ids = first ? 3 : 0; /* bits: of the trace, of the span */
    for (p += first; p < end;) {
        struct proto_field f;
        if (!proto_next(&p, end, &f))
            return -1;
        unsigned rule = rules[in][f.number < FIELDS ? f.number : 0];
        if (rule == UNKNOWN) {
            /* Two requests that are put one behind the other are one; what is not of a request stays out. */
            if (in == REQUEST)
                return -1;
            continue;
        }
        if (!field_sound(rule, &f))
            return -1;
        if (in == SPAN) {
            ids |= rule == TRACE_ID ? 1u : rule == SPAN_ID ? 2u : 0u;
            p = plain_attributes(p, end);
        }
        if (rule < MESSAGE || (rule == MESSAGE + KEY_VALUE && plain_pair(f.p, f.len)))
            continue;
        long inside = walk((enum message)(rule - MESSAGE), f.p, f.len, depth + 1);
        if (inside < 0)
            return -1;
        spans += inside;
    }
    return in == SPAN && ids != 3 ? -1 : spans;
}

bool otlp_span_record(const uint8_t *p, size_t len)
{
    const uint8_t *end = p + len;
    struct proto_field f;
    return proto_next(&p, end, &f) && p == end && f.number == 2 && f.wire == PROTO_BYTES &&
           walk(SPAN, f.p, f.len, 0) == 1;
}

long otlp_spans(const uint8_t *p, size_t len)
{
    return walk(REQUEST, p, len, 0);
}
