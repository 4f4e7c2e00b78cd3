/* SPDX-License-Identifier: Apache-2.0
 * attributes.c - attributes, events and links of a span, encoded as they come.
 *
 * Each is kept whole or not at all; what is not is counted in dropped_*_count.
 */
#include "config/config.h"
#include "span/span_internal.h"
#include "wire/utf8.h"

#include <string.h>

enum { ATTRIBUTE_TAG = 0x4a, EVENT_TAG = 0x5a, LINK_TAG = 0x6a }; /* fields 9, 11 and 13 of Span */

static void write_attribute(struct wire *w, const struct span_attribute *a, size_t key_len, uint32_t limit)
{
    switch (a->type) {
    case SPAN_STRING:
        wire_key_string(w, a->key, key_len, (const uint8_t *)a->value.string,
                        utf8_limited(a->value.string, a->string_len, limit));
        break;
    case SPAN_INT:
        wire_key_int(w, a->key, key_len, a->value.integer);
        break;
    case SPAN_DOUBLE:
        wire_key_double(w, a->key, key_len, a->value.number);
        break;
    case SPAN_BOOL:
        wire_key_bool(w, a->key, key_len, a->value.boolean);
        break;
    }
}

/* An attribute without a key, of no type or without a value is none (OpenTelemetry common, Attribute). */
static bool is_one(const struct span_attribute *a)
{
    return a->key && a->key[0] && (unsigned)a->type <= SPAN_BOOL &&
           (a->type != SPAN_STRING || a->value.string || a->string_len == 0);
}

/* It can be sent: replaced bytes would make one key of two. */
static bool key_valid(const char *key, size_t len)
{
    return utf8_valid((const uint8_t *)key, len);
}

static uint64_t key_bit(const char *key, size_t len)
{
    uint32_t mixed = ((uint32_t)len * 37u + (uint8_t)key[0]) * 31u + (uint8_t)key[len - 1] +
                     (uint32_t)(uint8_t)key[len / 2] * 7u;
    return UINT64_C(1) << (mixed % 64);
}

static size_t read_length(const uint8_t **p)
{
    size_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (size_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
}

/* Takes the attribute with this key out of what we wrote ourselves. */
static bool take_out(struct span_body *b, const char *key, size_t key_len)
{
    for (uint8_t *p = b->bytes; p < b->wire.p;) {
        const uint8_t *q = p + 1;
        size_t len = read_length(&q);
        const uint8_t *end = q + len;
        if (*p == ATTRIBUTE_TAG) {
            const uint8_t *k = q + 1;
            size_t have = read_length(&k);
            if (have == key_len && memcmp(k, key, key_len) == 0) {
                memmove(p, end, (size_t)(b->wire.p - end));
                b->wire.p -= end - p;
                return true;
            }
        }
        p += end - p;
    }
    return false;
}

static void take_back(struct span_body *b, uint8_t *mark, uint32_t *dropped)
{
    b->wire.p = mark;
    b->wire.over = false;
    ++*dropped;
}

static void set(struct span_body *b, const struct span_attribute *a, const struct config *config)
{
    size_t key_len = strlen(a->key);
    uint64_t bit = key_bit(a->key, key_len);
    if (!key_valid(a->key, key_len)) {
        b->dropped++;
        return;
    }
    if (b->keys & bit && take_out(b, a->key, key_len))
        b->attributes--;
    if (b->attributes >= config->attribute_count) {
        b->dropped++;
        return;
    }
    uint8_t *mark = b->wire.p;
    write_attribute(&b->wire, a, key_len, config->attribute_length);
    if (b->wire.over) {
        take_back(b, mark, &b->dropped);
        return;
    }
    b->keys |= bit;
    b->attributes++;
}

void span_set(struct span *s, const struct span_attribute *a, size_t n)
{
    if (!s || !a)
        return;
    struct span_body *b = pool_enter(s);
    const struct config *config = config_get();
    for (size_t i = 0; i < n; i++) {
        if (!is_one(&a[i]))
            continue;
        if (!b)
            span_miss(s, MISSED_ATTRIBUTES);
        else if (b->recorded)
            set(b, &a[i], config);
    }
    if (b)
        pool_leave(b);
}

void span_set_string(struct span *s, const char *key, const char *value, size_t len)
{
    span_set(s,
             &(struct span_attribute){
                 .key = key, .type = SPAN_STRING, .string_len = (uint32_t)len, .value.string = value},
             1);
}

void span_set_int(struct span *s, const char *key, int64_t value)
{
    span_set(s, &(struct span_attribute){.key = key, .type = SPAN_INT, .value.integer = value}, 1);
}

/* Attributes of an event or a link: no key twice, the last one counts. */
static uint32_t write_attributes(struct wire *w, const struct span_attribute *a, size_t n, uint32_t limit,
                                 uint32_t length_limit)
{
    uint32_t written = 0, dropped = 0;
    for (size_t i = 0; a && i < n && !w->over; i++) {
        bool again = !is_one(&a[i]);
        for (size_t j = i + 1; j < n && !again; j++)
            again = is_one(&a[j]) && strcmp(a[i].key, a[j].key) == 0;
        if (again)
            continue;
        size_t key_len = strlen(a[i].key);
        if (written == limit || !key_valid(a[i].key, key_len)) {
            dropped++;
            continue;
        }
        write_attribute(w, &a[i], key_len, length_limit);
        written++;
    }
    return dropped;
}

static void add_event(struct span_body *b, const char *name, uint64_t unix_ns, const struct span_attribute *a,
                      size_t n)
{
    const struct config *config = config_get();
    if (b->events >= config->event_count) {
        b->head.dropped_events++;
        return;
    }
    uint8_t *mark = b->wire.p, *start = wire_open(&b->wire, EVENT_TAG);
    wire_fixed64(&b->wire, 0x09, unix_ns ? unix_ns : span_now(b));                 /* time_unix_nano = 1 */
    wire_string(&b->wire, 0x12, (const uint8_t *)name, strnlen(name, SPAN_BYTES)); /* name = 2 */
    b->wire.key_tag = 0x1a;                                                        /* attributes = 3 */
    uint32_t dropped =
        write_attributes(&b->wire, a, n, config->event_attribute_count, config->attribute_length);
    b->wire.key_tag = 0;
    if (dropped)
        wire_uint(&b->wire, 0x20, dropped); /* dropped_attributes_count = 4 */
    wire_close(&b->wire, start);
    if (b->wire.over)
        take_back(b, mark, &b->head.dropped_events);
    else
        b->events++;
}

void span_add_event(struct span *s, const char *name, uint64_t unix_ns, const struct span_attribute *a,
                    size_t n)
{
    if (!s)
        return;
    struct span_body *b = pool_enter(s);
    if (!b) {
        span_miss(s, MISSED_EVENTS);
        return;
    }
    if (b->recorded)
        add_event(b, name, unix_ns, a, n);
    pool_leave(b);
}

static void add_link(struct span_body *b, const struct span_context *to, const char *tracestate,
                     size_t tracestate_len, const struct span_attribute *a, size_t n)
{
    const struct config *config = config_get();
    if (b->links >= config->link_count) {
        b->head.dropped_links++;
        return;
    }
    uint8_t *mark = b->wire.p, *start = wire_open(&b->wire, LINK_TAG);
    wire_bytes(&b->wire, 0x0a, to->trace_id, 16); /* trace_id = 1 */
    wire_bytes(&b->wire, 0x12, to->span_id, 8);   /* span_id = 2 */
    if (tracestate_len)
        wire_string(&b->wire, 0x1a, (const uint8_t *)tracestate, tracestate_len); /* trace_state = 3 */
    b->wire.key_tag = 0x22;                                                       /* attributes = 4 */
    uint32_t dropped =
        write_attributes(&b->wire, a, n, config->link_attribute_count, config->attribute_length);
    b->wire.key_tag = 0;
    if (dropped)
        wire_uint(&b->wire, 0x28, dropped); /* dropped_attributes_count = 5 */
    wire_fixed32(&b->wire, 0x35, to->flags | 0x100u | (to->remote ? 0x200u : 0)); /* flags = 6 */
    wire_close(&b->wire, start);
    if (b->wire.over)
        take_back(b, mark, &b->head.dropped_links);
    else
        b->links++;
}

void span_add_link(struct span *s, const struct span_context *to, const char *tracestate,
                   size_t tracestate_len, const struct span_attribute *a, size_t n)
{
    /* a link to nothing is recorded only where it says something (OpenTelemetry API, Link) */
    if (!s || (!to->valid && n == 0 && tracestate_len == 0))
        return;
    struct span_body *b = pool_enter(s);
    if (!b) {
        span_miss(s, MISSED_LINKS);
        return;
    }
    if (b->recorded)
        add_link(b, to, tracestate, tracestate_len, a, n);
    pool_leave(b);
}
