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

enum kind { NUMBER, FIXED64, FIXED32, BYTES, TEXT, TRACE_ID, SPAN_ID, PARENT_ID, MESSAGE };

enum { DEPTH_MAX = 40 }; /* of values in values; the readers of protobuf themselves stop at 100 */

static const struct rule {
    uint8_t in, number, kind, message;
} rules[] = {
    {REQUEST, 1, MESSAGE, RESOURCE_SPANS},
    {RESOURCE_SPANS, 1, MESSAGE, RESOURCE},
    {RESOURCE_SPANS, 2, MESSAGE, SCOPE_SPANS},
    {RESOURCE_SPANS, 3, TEXT, 0},
    {RESOURCE, 1, MESSAGE, KEY_VALUE},
    {RESOURCE, 2, NUMBER, 0},
    {RESOURCE, 3, MESSAGE, ENTITY},
    {ENTITY, 1, TEXT, 0},
    {ENTITY, 2, TEXT, 0},
    {ENTITY, 3, TEXT, 0},
    {ENTITY, 4, TEXT, 0},
    {SCOPE_SPANS, 1, MESSAGE, SCOPE},
    {SCOPE_SPANS, 2, MESSAGE, SPAN},
    {SCOPE_SPANS, 3, TEXT, 0},
    {SCOPE, 1, TEXT, 0},
    {SCOPE, 2, TEXT, 0},
    {SCOPE, 3, MESSAGE, KEY_VALUE},
    {SCOPE, 4, NUMBER, 0},
    {SPAN, 1, TRACE_ID, 0},
    {SPAN, 2, SPAN_ID, 0},
    {SPAN, 3, TEXT, 0},
    {SPAN, 4, PARENT_ID, 0},
    {SPAN, 5, TEXT, 0},
    {SPAN, 6, NUMBER, 0},
    {SPAN, 7, FIXED64, 0},
    {SPAN, 8, FIXED64, 0},
    {SPAN, 9, MESSAGE, KEY_VALUE},
    {SPAN, 10, NUMBER, 0},
    {SPAN, 11, MESSAGE, EVENT},
    {SPAN, 12, NUMBER, 0},
    {SPAN, 13, MESSAGE, LINK},
    {SPAN, 14, NUMBER, 0},
    {SPAN, 15, MESSAGE, STATUS},
    {SPAN, 16, FIXED32, 0},
    {EVENT, 1, FIXED64, 0},
    {EVENT, 2, TEXT, 0},
    {EVENT, 3, MESSAGE, KEY_VALUE},
    {EVENT, 4, NUMBER, 0},
    {LINK, 1, TRACE_ID, 0},
    {LINK, 2, SPAN_ID, 0},
    {LINK, 3, TEXT, 0},
    {LINK, 4, MESSAGE, KEY_VALUE},
    {LINK, 5, NUMBER, 0},
    {LINK, 6, FIXED32, 0},
    {STATUS, 2, TEXT, 0},
    {STATUS, 3, NUMBER, 0},
    {KEY_VALUE, 1, TEXT, 0},
    {KEY_VALUE, 2, MESSAGE, VALUE},
    {VALUE, 1, TEXT, 0},
    {VALUE, 2, NUMBER, 0},
    {VALUE, 3, NUMBER, 0},
    {VALUE, 4, FIXED64, 0},
    {VALUE, 5, MESSAGE, ARRAY},
    {VALUE, 6, MESSAGE, KEY_VALUES},
    {VALUE, 7, BYTES, 0},
    {ARRAY, 1, MESSAGE, VALUE},
    {KEY_VALUES, 1, MESSAGE, KEY_VALUE},
};

static const struct rule *rule_of(enum message in, uint32_t number)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].in == in && rules[i].number == number)
            return &rules[i];
    return NULL;
}

static bool field_sound(const struct rule *rule, const struct proto_field *f)
{
    switch ((enum kind)rule->kind) {
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
    case BYTES:
    case MESSAGE:
    default:
        return f->wire == PROTO_BYTES;
    }
}

/* Spans in the message; -1: not sound. */
static long walk(enum message in, const uint8_t *p, size_t len, unsigned depth)
{
    long spans = in == SPAN;
    unsigned ids = 0;
    if (depth > DEPTH_MAX)
        return -1;
    for (const uint8_t *end = p + len; p < end;) {
        struct proto_field f;
        if (!proto_next(&p, end, &f))
            return -1;
        const struct rule *rule = rule_of(in, f.number);
        if (!rule) {
            /* Two requests that are put one behind the other are one; what is not of a request stays out. */
            if (in == REQUEST)
                return -1;
            continue;
        }
        if (!field_sound(rule, &f))
            return -1;
        ids |= rule->kind == TRACE_ID ? 1u : rule->kind == SPAN_ID ? 2u : 0u;
        if (rule->kind != MESSAGE)
            continue;
        long inside = walk((enum message)rule->message, f.p, f.len, depth + 1);
        if (inside < 0)
            return -1;
        spans += inside;
    }
    return in == SPAN && ids != 3 ? -1 : spans;
}

long otlp_spans(const uint8_t *p, size_t len)
{
    return walk(REQUEST, p, len, 0);
}
