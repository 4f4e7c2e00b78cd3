/* SPDX-License-Identifier: Apache-2.0
 * context_test.c - W3C Trace Context (the harness's cases that a string shows), flags of a span, and clocks.
 */
#include "clock.h"
#include "otlp.pb-c.h"
#include "span/context.h"
#include "span/encode.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static bool parse(const char *s, struct span_context *out)
{
    return traceparent_parse((const uint8_t *)s, strlen(s), out);
}

/* edge case 26 */
Test(traceparent, what_is_taken_and_what_is_not)
{
    static const struct {
        const char *text;
        bool good;
        uint8_t flags;
    } rows[] = {
        {"00-" TRACE "-" PARENT "-01", true, 1},
        {"00-" TRACE "-" PARENT "-00", true, 0},
        {" \t00-" TRACE "-" PARENT "-01 \t", true, 1},
        {"00-" TRACE "-" PARENT "-03", true, 3},
        {"00-" TRACE "-" PARENT "-02", true, 2},
        {"00-" TRACE "-" PARENT "-ff", true, 3},
        {"cc-" TRACE "-" PARENT "-01", true, 1},
        {"cc-" TRACE "-" PARENT "-01-x", true, 1},
        {"cc-" TRACE "-" PARENT "-01.x", false, 0},
        {"cc-" TRACE "-" PARENT "-0", false, 0},
        {"ff-" TRACE "-" PARENT "-01", false, 0},
        {"00-" TRACE "-" PARENT "-01.", false, 0},
        {"00-" TRACE "-" PARENT "-01-x", false, 0},
        {"00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01", false, 0},
        {"00-" TRACE "-B7AD6B7169203331-01", false, 0},
        {"0-" TRACE "-" PARENT "-01", false, 0},
        {"000-" TRACE "-" PARENT "-01", false, 0},
        {"0x-" TRACE "-" PARENT "-01", false, 0},
        {"00-00000000000000000000000000000000-" PARENT "-01", false, 0},
        {"00-" TRACE "-0000000000000000-01", false, 0},
        {"00-" TRACE "-b7ad6b716920333-01", false, 0},
        {"00-.af7651916cd43dd8448eb211c80319c-" PARENT "-01", false, 0},
        {"00-" TRACE "-" PARENT "-0x", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span_context c;
        cr_assert_eq(parse(rows[i].text, &c), rows[i].good, "%s", rows[i].text);
        if (rows[i].good)
            cr_assert_eq(c.flags, rows[i].flags, "%s: %u", rows[i].text, c.flags);
        else
            cr_assert_eq(c.trace_id[0], 0, "nothing is left of a bad one");
    }
}

static bool state(const char *s)
{
    return tracestate_valid((const uint8_t *)s, strlen(s));
}

Test(traceparent, tracestate)
{
    char many[33 * 8] = "", long_key[300], long_value[300];
    for (int i = 0; i < 32; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%sk%02d=1", i ? "," : "", i);
    cr_assert(state(many));
    strcat(many, ",x=1");
    cr_assert_not(state(many), "33 members");
    static const char *const good[] = {"foo=1", "foo=1,bar=2", "foo=1, ,bar=2", "foo=1 ,\tbar=2",
                                       "a@b=1", "1a-_*/=x y",  "foo= 1"};
    static const char *const bad[] = {"FOO=1", "foo =1", "foo.bar=1", "foo=", "foo=a=b", "=1", "foo", "@a=1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert(state(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(state(bad[i]), "%s", bad[i]);
    memset(long_key, 'k', sizeof long_key);
    strcpy(long_key + 256, "=1");
    cr_assert(state(long_key));
    strcpy(long_key + 256, "k=1");
    cr_assert_not(state(long_key), "a key of 257");
    memset(long_value, 'v', sizeof long_value);
    memcpy(long_value, "k=", 2);
    long_value[258] = '\0';
    cr_assert(state(long_value));
    long_value[258] = 'v', long_value[259] = '\0';
    cr_assert_not(state(long_value), "a value of 257");
}

Test(traceparent, what_is_sent_on)
{
    struct span_context c;
    char text[56] = "";
    cr_assert(parse("cc-" TRACE "-" PARENT "-ff-x", &c));
    traceparent_format(&c, text);
    cr_assert_str_eq(text, "00-" TRACE "-" PARENT "-03");
}

/* edge cases 23 and 27 */
Test(span, flags_say_where_the_parent_is)
{
    static const struct {
        bool parent, remote;
        uint8_t flags;
        uint32_t wanted;
    } rows[] = {{false, false, 3, 0x103},
                {true, true, 1, 0x301},
                {true, true, 3, 0x303},
                {true, false, 3, 0x103},
                {true, true, 2, 0x302}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t bytes[512];
        struct wire w = {.p = bytes, .end = bytes + sizeof bytes};
        struct span_head h = {.ctx = {.trace_id = {1}, .span_id = {1}, .flags = rows[i].flags},
                              .has_parent = rows[i].parent,
                              .parent_remote = rows[i].remote,
                              .parent_span_id = {2},
                              .kind = 2,
                              .start_ns = 1,
                              .end_ns = 2,
                              .name = "x",
                              .name_len = 1};
        uint8_t *start = span_open(&w, &h);
        size_t len = span_close(&w, start);
        Otlp__ScopeSpans *ss = otlp__scope_spans__unpack(NULL, len, start);
        cr_assert_not_null(ss);
        cr_assert_eq(ss->spans[0]->flags, rows[i].wanted, "%zu: %x", i, ss->spans[0]->flags);
        cr_assert_eq(ss->spans[0]->parent_span_id.len, rows[i].parent ? 8 : 0);
        otlp__scope_spans__free_unpacked(ss, NULL);
    }
}

/* Everything is as long as it may be, and each byte of it takes the room of three. */
Test(span, the_room_is_enough)
{
    enum { NAME = 300, MESSAGE = 200 };
    static char message[MESSAGE + 1];
    static uint8_t bad[TRACESTATE_MAX], bytes[1 << 14];
    memset(bad, 0xff, sizeof bad);
    memset(message, 0xff, MESSAGE);
    struct span_head h = {.ctx = {.trace_id = {1}, .span_id = {1}},
                          .has_parent = true,
                          .kind = 2,
                          .start_ns = 1,
                          .end_ns = 2,
                          .name = (const char *)bad,
                          .name_len = NAME,
                          .tracestate = bad,
                          .tracestate_len = sizeof bad,
                          .status = 2,
                          .status_message = message,
                          .dropped_attributes = UINT32_MAX,
                          .dropped_events = UINT32_MAX,
                          .dropped_links = UINT32_MAX};
    struct wire w = {.p = bytes, .end = bytes + span_room(&h)};
    uint8_t *start = span_open(&w, &h);
    size_t len = span_close(&w, start);
    cr_assert_not(w.over);
    cr_assert_leq(w.p, w.end, "%td bytes beyond", w.p - w.end);
    Otlp__ScopeSpans *ss = otlp__scope_spans__unpack(NULL, len, start);
    cr_assert_not_null(ss);
    cr_assert_eq(strlen(ss->spans[0]->name), 3 * NAME);
    cr_assert_eq(strlen(ss->spans[0]->trace_state), 3 * sizeof bad);
    cr_assert_eq(strlen(ss->spans[0]->status->message), 3 * MESSAGE);
    cr_assert_eq(ss->spans[0]->dropped_links_count, UINT32_MAX);
    otlp__scope_spans__free_unpacked(ss, NULL);
}

/* Where a length begins to take two bytes, that of the pair first, then those of what is in it. */
Test(span, keys_and_values_of_each_length)
{
    static uint8_t bytes[2048];
    char key[161], value[161];
    memset(key, 'k', sizeof key);
    memset(value, 'v', sizeof value);
    for (size_t k = 1; k < sizeof key; k++)
        for (size_t v = 0; v < sizeof value; v++) {
            struct span_head h = {.ctx = {.trace_id = {1}, .span_id = {1}}, .name = "x", .name_len = 1};
            struct wire w = {.p = bytes, .end = bytes + sizeof bytes};
            uint8_t *start = span_open(&w, &h);
            wire_key_string(&w, key, k, (const uint8_t *)value, v);
            wire_key_int(&w, key, k, -(int64_t)v);
            size_t len = span_close(&w, start);
            Otlp__ScopeSpans *ss = otlp__scope_spans__unpack(NULL, len, start);
            cr_assert_not_null(ss, "key of %zu, value of %zu", k, v);
            Otlp__KeyValue **a = ss->spans[0]->attributes;
            cr_assert_eq(ss->spans[0]->n_attributes, 2);
            cr_assert(strlen(a[0]->key) == k && memcmp(a[0]->key, key, k) == 0);
            cr_assert(strlen(a[0]->value->string_value) == v &&
                      memcmp(a[0]->value->string_value, value, v) == 0);
            cr_assert(strlen(a[1]->key) == k && a[1]->value->int_value == -(int64_t)v);
            otlp__scope_spans__free_unpacked(ss, NULL);
        }
}

/* edge case 30 */
Test(span, unix_time_by_the_monotonic_clock)
{
    uint64_t at = clock_ns(CLOCK_MONOTONIC), wall = clock_ns(CLOCK_REALTIME);
    uint64_t start = clock_unix_ns(at);
    cr_assert(start < wall ? wall - start < 50000000 : start - wall < 50000000);
    uint64_t offset = clock_anchor.offset;
    cr_assert_eq(clock_unix_ns(at + 1000), at + 1000 + offset, "within a tenth of a second nothing moves it");
    for (uint64_t step = 0; step < 90000000; step += 10000000)
        cr_assert_eq(clock_unix_ns(at + step) - start, step);
}
