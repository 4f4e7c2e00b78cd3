/* SPDX-License-Identifier: Apache-2.0
 * encode_test.c - the envelope by the reference decoder, and OTLP's JSON form.
 */
#include "exporter_internal.h"
#include "otlp.pb-c.h"
#include "span/encode.h"
#include "wire/otlp.h"
#include "wire/utf8.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned rests;
static char written[1 << 20];
static size_t written_len, line_max = SIZE_MAX;

void exporter_log(struct exporter *e, int level, const char *format, ...)
{
    (void)e, (void)level, (void)format;
}
size_t stream_line_max(const struct stream *s)
{
    (void)s;
    return line_max;
}
bool stream_line(struct exporter *e, const char *line, size_t len)
{
    (void)e;
    memcpy(written + written_len, line, len);
    written_len += len;
    return true;
}
static void rest(void *ctx)
{
    (void)ctx;
    rests++;
}

static const struct exporter_config config = {.schema_url = "https://opentelemetry.io/schemas/1.44.0"};
static struct exporter e = {.config = &config, .host = {.rest_point = rest}};

static size_t spans(uint8_t *out, size_t room, unsigned n)
{
    struct wire w = {.p = out, .end = out + room};
    for (unsigned i = 0; i < n; i++) {
        struct span_head h = {.ctx = {.trace_id = {0xab, 1}, .span_id = {0xcd, (uint8_t)i}, .flags = 3},
                              .kind = 2,
                              .start_ns = 1700000000000000000u,
                              .end_ns = 1700000000000000001u,
                              .name = "GET",
                              .name_len = 3,
                              .has_parent = true,
                              .parent_remote = true,
                              .parent_span_id = {0xee, 2},
                              .status = 2};
        uint8_t *start = span_open(&w, &h);
        wire_key_string(&w, WIRE_KEY("empty"), (const uint8_t *)"", 0);
        wire_key_int(&w, WIRE_KEY("zero"), 0);
        wire_key_bool(&w, WIRE_KEY("no"), false);
        wire_key_int(&w, WIRE_KEY("large"), INT64_MAX);
        wire_key_double(&w, WIRE_KEY("half"), 0.5);
        wire_key_string(&w, WIRE_KEY("odd"), (const uint8_t *)"a\"\\\n\xff\xc3\xa4", 7);
        span_close(&w, start);
    }
    cr_assert_not(w.over);
    return (size_t)(w.p - out);
}

static size_t envelope(unsigned n)
{
    static uint8_t bytes[1 << 19];
    static const uint8_t resource[] = "\x0a\x14\x0a\x0cservice.name\x12\x04\x0a\x02xy";
    struct exporter_scope_spans scope = {"forkspan.http", "1", bytes, spans(bytes, sizeof bytes, n), n};
    struct exporter_batch batch = {.resource = resource,
                                   .resource_len = sizeof resource - 1,
                                   .scopes = &scope,
                                   .n_scopes = 1,
                                   .n_spans = n};
    return envelope_make(&e, &batch);
}

/* edge case 25, with tests/unit/span: empty, 0 and false survive, bad UTF-8 does not lose the batch */
Test(encode, the_envelope_is_a_request)
{
    size_t len = envelope(3);
    Otlp__TracesData *d = otlp__traces_data__unpack(NULL, len, e.envelope);
    cr_assert_not_null(d);
    cr_assert_eq(d->n_resource_spans, 1);
    cr_assert_str_eq(d->resource_spans[0]->schema_url, config.schema_url);
    cr_assert_str_eq(d->resource_spans[0]->resource->attributes[0]->key, "service.name");
    cr_assert_eq(d->resource_spans[0]->n_scope_spans, 1);
    const Otlp__ScopeSpans *ss = d->resource_spans[0]->scope_spans[0];
    cr_assert_str_eq(ss->scope->name, "forkspan.http");
    cr_assert_eq(ss->n_spans, 3);
    const Otlp__Span *s = ss->spans[2];
    cr_assert_eq(s->span_id.data[1], 2);
    cr_assert_eq(s->flags, 0x303);
    cr_assert_eq(s->n_attributes, 6);
    cr_assert_eq(s->attributes[0]->value->value_case, OTLP__ANY_VALUE__VALUE_STRING_VALUE);
    cr_assert_str_eq(s->attributes[0]->value->string_value, "");
    cr_assert_eq(s->attributes[1]->value->value_case, OTLP__ANY_VALUE__VALUE_INT_VALUE);
    cr_assert_eq(s->attributes[1]->value->int_value, 0);
    cr_assert_eq(s->attributes[2]->value->value_case, OTLP__ANY_VALUE__VALUE_BOOL_VALUE);
    cr_assert_str_eq(s->attributes[5]->value->string_value, "a\"\\\n\xef\xbf\xbd\xc3\xa4");
    otlp__traces_data__free_unpacked(d, NULL);
}

static bool sound(const Otlp__ScopeSpans *ss)
{
    if (!ss || ss->n_spans != 1 || ss->spans[0]->trace_id.len != 16 || ss->spans[0]->span_id.len != 8)
        return false;
    for (size_t i = 0; i < ss->spans[0]->n_attributes; i++) {
        const Otlp__KeyValue *a = ss->spans[0]->attributes[i];
        if (!utf8_valid((const uint8_t *)a->key, strlen(a->key)))
            return false;
        if (a->value && a->value->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE &&
            !utf8_valid((const uint8_t *)a->value->string_value, strlen(a->value->string_value)))
            return false;
    }
    return true;
}

/* Whether the consumer lets it pass; then the reference must read it, too. */
static bool passes(const uint8_t *bytes, size_t len, size_t at)
{
    if (!otlp_span_record(bytes, len))
        return false;
    Otlp__ScopeSpans *ss = otlp__scope_spans__unpack(NULL, len, bytes);
    cr_assert(sound(ss), "changed at byte %zu", at);
    otlp__scope_spans__free_unpacked(ss, NULL);
    return true;
}

/* Any process of the tree can write into a ring. */
Test(encode, what_the_consumer_lets_pass_the_reference_can_read)
{
    uint8_t bytes[1024];
    size_t len = spans(bytes, sizeof bytes, 1), passed = 0, refused = 0;
    cr_assert(passes(bytes, len, 0));
    for (size_t at = 0; at < len; at++) {
        uint8_t was = bytes[at];
        for (unsigned value = 0; value < 256; value++) {
            bytes[at] = (uint8_t)value;
            bool pass = passes(bytes, len, at);
            passed += pass, refused += !pass;
        }
        bytes[at] = was;
        /* A length and the one within it, both wrong by as much. */
        for (int by = -9; by < 10 && at + 2 < len; by++) {
            uint8_t inner = bytes[at + 2];
            bytes[at] = (uint8_t)(was + by), bytes[at + 2] = (uint8_t)(inner + by);
            passes(bytes, len, at);
            bytes[at] = was, bytes[at + 2] = inner;
        }
    }
    for (size_t cut = 0; cut < len; cut++)
        cr_assert_not(otlp_span_record(bytes, cut));
    cr_assert_gt(passed, len);
    cr_assert_gt(refused, len);
}

/* edge case 24 */
Test(encode, json)
{
    size_t json_len, len = envelope(1);
    char *json = json_traces(&e, e.envelope, len, &json_len);
    cr_assert_not_null(json);
    char text[4096];
    snprintf(text, sizeof text, "%.*s", (int)json_len, json);
    static const char *const parts[] = {"\"traceId\":\"ab010000000000000000000000000000\"",
                                        "\"spanId\":\"cd00000000000000\"",
                                        "\"parentSpanId\":\"ee02000000000000\"",
                                        "\"kind\":2,",
                                        "\"startTimeUnixNano\":\"1700000000000000000\"",
                                        "{\"key\":\"empty\",\"value\":{\"stringValue\":\"\"}}",
                                        "{\"key\":\"zero\",\"value\":{\"intValue\":\"0\"}}",
                                        "{\"key\":\"no\",\"value\":{\"boolValue\":false}}",
                                        "\"intValue\":\"9223372036854775807\"",
                                        "\"doubleValue\":0.5}",
                                        "\"a\\\"\\\\\\u000a\xef\xbf\xbd\xc3\xa4\"",
                                        "\"status\":{\"code\":2}",
                                        "\"flags\":771"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_assert_not_null(strstr(text, parts[i]), "%s in %s", parts[i], text);
    cr_assert_null(strstr(text, "null"));
    cr_assert_null(strstr(text, "_"), "names are lowerCamelCase");
    free(json);
}

Test(encode, json_of_links_and_bytes)
{
    Otlp__Link link = OTLP__LINK__INIT, *links[] = {&link};
    uint8_t id[16] = {0xfe, 0xdc};
    link.trace_id = (ProtobufCBinaryData){16, id};
    link.span_id = (ProtobufCBinaryData){8, id};
    Otlp__AnyValue value = OTLP__ANY_VALUE__INIT;
    value.value_case = OTLP__ANY_VALUE__VALUE_BYTES_VALUE;
    value.bytes_value = (ProtobufCBinaryData){2, id};
    Otlp__KeyValue pair = OTLP__KEY_VALUE__INIT, *pairs[] = {&pair};
    pair.key = (char *)"b";
    pair.value = &value;
    Otlp__Span span = OTLP__SPAN__INIT, *list[] = {&span};
    span.links = links, span.n_links = 1, span.attributes = pairs, span.n_attributes = 1;
    Otlp__ScopeSpans ss = OTLP__SCOPE_SPANS__INIT, *sss[] = {&ss};
    ss.spans = list, ss.n_spans = 1;
    Otlp__ResourceSpans rs = OTLP__RESOURCE_SPANS__INIT, *rss[] = {&rs};
    rs.scope_spans = sss, rs.n_scope_spans = 1;
    Otlp__TracesData d = OTLP__TRACES_DATA__INIT;
    d.resource_spans = rss, d.n_resource_spans = 1;
    uint8_t bytes[512];
    size_t json_len, len = otlp__traces_data__pack(&d, bytes);
    char *json = json_traces(&e, bytes, len, &json_len);
    cr_assert_not_null(memmem(
        json, json_len,
        "\"links\":[{\"traceId\":\"fedc0000000000000000000000000000\",\"spanId\":\"fedc000000000000\"}]",
        79));
    cr_assert_not_null(memmem(json, json_len, "{\"bytesValue\":\"/tw=\"}", 21));
    cr_assert_null(memmem(json, json_len, "parentSpanId", 12), "a root has none");
    free(json);
}

Test(encode, long_work_has_rest_points)
{
    size_t json_len, len = envelope(1000);
    rests = 0;
    char *json = json_traces(&e, e.envelope, len, &json_len);
    cr_assert_geq(rests, 10);
    free(json);
}

/* edge case 30, lines: what may go to a pipe is cut into whole lines */
Test(encode, lines_stay_whole_on_a_pipe)
{
    size_t len = envelope(20);
    line_max = 4096;
    written_len = 0;
    cr_assert_eq(json_lines(&e, e.envelope, len, 20), 0);
    unsigned lines = 0, found = 0;
    for (char *line = written; line < written + written_len;) {
        char *end = memchr(line, '\n', written_len - (size_t)(line - written));
        cr_assert_not_null(end);
        cr_assert_leq(end + 1 - line, 4096);
        cr_assert_eq(strncmp(line, "{\"resourceSpans\":[", 18), 0);
        for (char *s = line; (s = memmem(s, (size_t)(end - s), "\"spanId\"", 8)); s++)
            found++;
        lines++;
        line = end + 1;
    }
    cr_assert_eq(found, 20);
    cr_assert_geq(lines, 3);
    line_max = SIZE_MAX;
}
