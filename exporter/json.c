/* SPDX-License-Identifier: Apache-2.0
 * json.c - OTLP's JSON form (opentelemetry-proto specification, JSON Protobuf Encoding) and its lines
 * (file-exporter.md).
 */
#include "exporter_internal.h"
#include "grpc_status.h"
#include "otlp.pb-c.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPANS_A_PIECE = 64 /* written between two rest points: less than 1 ms */ };

struct text {
    struct exporter *e;
    char *p;
    size_t len, room;
    bool failed;
};

static void put(struct text *t, const char *s, size_t n)
{
    if (t->len + n + 1 > t->room) {
        size_t room = (t->room ? t->room * 2 : 4096) + n;
        char *p = realloc(t->p, room);
        if (!p) {
            t->failed = true;
            return;
        }
        t->p = p;
        t->room = room;
    }
    memcpy(t->p + t->len, s, n);
    t->len += n;
}

static void puts_(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void putf(struct text *t, const char *format, ...)
{
    char s[64];
    va_list ap;
    va_start(ap, format);
    vsnprintf(s, sizeof s, format, ap);
    va_end(ap);
    puts_(t, s);
}

static void string(struct text *t, const char *s)
{
    puts_(t, "\"");
    for (const char *plain = s;; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        put(t, plain, (size_t)(s - plain));
        if (!c)
            break;
        if (c == '"' || c == '\\')
            putf(t, "\\%c", c);
        else
            putf(t, "\\u%04x", c);
        plain = s + 1;
    }
    puts_(t, "\"");
}

static void hex(struct text *t, const char *key, const ProtobufCBinaryData *b)
{
    if (b->len == 0)
        return;
    putf(t, "\"%s\":\"", key);
    for (size_t i = 0; i < b->len; i++)
        putf(t, "%02x", b->data[i]);
    puts_(t, "\",");
}

static void base64(struct text *t, const ProtobufCBinaryData *b)
{
    char s[5];
    for (size_t i = 0; i < b->len; i += 3) {
        base64_encode(b->data + i, b->len - i < 3 ? b->len - i : 3, s);
        put(t, s, 4);
    }
}

/* Takes back the comma of the last member. */
static void no_comma(struct text *t)
{
    if (t->len && t->p[t->len - 1] == ',')
        t->len--;
}

static void attributes(struct text *t, Otlp__KeyValue *const *list, size_t n);

static void value(struct text *t, const Otlp__AnyValue *v)
{
    switch (v ? v->value_case : OTLP__ANY_VALUE__VALUE__NOT_SET) {
    case OTLP__ANY_VALUE__VALUE_STRING_VALUE:
        puts_(t, "{\"stringValue\":");
        string(t, v->string_value);
        break;
    case OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        putf(t, "{\"boolValue\":%s", v->bool_value ? "true" : "false");
        break;
    case OTLP__ANY_VALUE__VALUE_INT_VALUE:
        putf(t, "{\"intValue\":\"%" PRId64 "\"", v->int_value);
        break;
    case OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        if (isfinite(v->double_value)) {
            char s[40];
            snprintf(s, sizeof s, "%.17g", v->double_value);
            for (char *c = s; *c; c++)
                if (*c == ',')
                    *c = '.'; /* the host may have set LC_NUMERIC */
            putf(t, "{\"doubleValue\":%s", s);
        } else {
            putf(t, "{\"doubleValue\":\"%s\"",
                 isnan(v->double_value) ? "NaN"
                 : v->double_value > 0  ? "Infinity"
                                        : "-Infinity");
        }
        break;
    case OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
        puts_(t, "{\"arrayValue\":{\"values\":[");
        for (size_t i = 0; i < v->array_value->n_values; i++) {
            value(t, v->array_value->values[i]);
            puts_(t, ",");
        }
        no_comma(t);
        puts_(t, "]}");
        break;
    case OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
        puts_(t, "{\"kvlistValue\":{\"values\":");
        attributes(t, v->kvlist_value->values, v->kvlist_value->n_values);
        puts_(t, "}");
        break;
    case OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
        puts_(t, "{\"bytesValue\":\"");
        base64(t, &v->bytes_value);
        puts_(t, "\"");
        break;
    default:
        puts_(t, "{");
    }
    puts_(t, "}");
}

static void attributes(struct text *t, Otlp__KeyValue *const *list, size_t n)
{
    puts_(t, "[");
    for (size_t i = 0; i < n; i++) {
        puts_(t, "{\"key\":");
        string(t, list[i]->key);
        puts_(t, ",\"value\":");
        value(t, list[i]->value);
        puts_(t, "},");
    }
    no_comma(t);
    puts_(t, "]");
}

static void attributes_member(struct text *t, Otlp__KeyValue *const *list, size_t n)
{
    if (n == 0)
        return;
    puts_(t, "\"attributes\":");
    attributes(t, list, n);
    puts_(t, ",");
}

static void string_member(struct text *t, const char *key, const char *s)
{
    if (!s || !*s)
        return;
    putf(t, "\"%s\":", key);
    string(t, s);
    puts_(t, ",");
}

static void count_member(struct text *t, const char *key, uint32_t n)
{
    if (n)
        putf(t, "\"%s\":%u,", key, n);
}

static void span_json(struct text *t, const Otlp__Span *s)
{
    puts_(t, "{");
    hex(t, "traceId", &s->trace_id);
    hex(t, "spanId", &s->span_id);
    string_member(t, "traceState", s->trace_state);
    hex(t, "parentSpanId", &s->parent_span_id);
    string_member(t, "name", s->name);
    putf(t, "\"kind\":%d,\"startTimeUnixNano\":\"%" PRIu64 "\",", s->kind, s->start_time_unix_nano);
    putf(t, "\"endTimeUnixNano\":\"%" PRIu64 "\",", s->end_time_unix_nano);
    attributes_member(t, s->attributes, s->n_attributes);
    count_member(t, "droppedAttributesCount", s->dropped_attributes_count);
    if (s->n_events) {
        puts_(t, "\"events\":[");
        for (size_t i = 0; i < s->n_events; i++) {
            putf(t, "{\"timeUnixNano\":\"%" PRIu64 "\",", s->events[i]->time_unix_nano);
            string_member(t, "name", s->events[i]->name);
            attributes_member(t, s->events[i]->attributes, s->events[i]->n_attributes);
            count_member(t, "droppedAttributesCount", s->events[i]->dropped_attributes_count);
            no_comma(t);
            puts_(t, "},");
        }
        no_comma(t);
        puts_(t, "],");
    }
    count_member(t, "droppedEventsCount", s->dropped_events_count);
    if (s->n_links) {
        puts_(t, "\"links\":[");
        for (size_t i = 0; i < s->n_links; i++) {
            puts_(t, "{");
            hex(t, "traceId", &s->links[i]->trace_id);
            hex(t, "spanId", &s->links[i]->span_id);
            string_member(t, "traceState", s->links[i]->trace_state);
            attributes_member(t, s->links[i]->attributes, s->links[i]->n_attributes);
            count_member(t, "droppedAttributesCount", s->links[i]->dropped_attributes_count);
            count_member(t, "flags", s->links[i]->flags);
            no_comma(t);
            puts_(t, "},");
        }
        no_comma(t);
        puts_(t, "],");
    }
    count_member(t, "droppedLinksCount", s->dropped_links_count);
    if (s->status && (s->status->code || *s->status->message)) {
        puts_(t, "\"status\":{");
        string_member(t, "message", s->status->message);
        count_member(t, "code", (uint32_t)s->status->code);
        no_comma(t);
        puts_(t, "},");
    }
    count_member(t, "flags", s->flags);
    no_comma(t);
    puts_(t, "}");
}

/* Spans [first, first + n) of the data, counted through all of it, as one object. */
static void traces_json(struct text *t, const Otlp__TracesData *data, size_t first, size_t n)
{
    size_t at = 0;
    puts_(t, "{\"resourceSpans\":[");
    for (size_t r = 0; r < data->n_resource_spans; r++) {
        const Otlp__ResourceSpans *rs = data->resource_spans[r];
        puts_(t, "{\"resource\":{");
        if (rs->resource)
            attributes_member(t, rs->resource->attributes, rs->resource->n_attributes);
        no_comma(t);
        puts_(t, "},\"scopeSpans\":[");
        for (size_t s = 0; s < rs->n_scope_spans; s++) {
            const Otlp__ScopeSpans *ss = rs->scope_spans[s];
            if (at + ss->n_spans <= first || at >= first + n) {
                at += ss->n_spans;
                continue;
            }
            puts_(t, "{\"scope\":{");
            if (ss->scope) {
                string_member(t, "name", ss->scope->name);
                string_member(t, "version", ss->scope->version);
            }
            no_comma(t);
            puts_(t, "},\"spans\":[");
            for (size_t i = 0; i < ss->n_spans; i++, at++)
                if (at >= first && at < first + n) {
                    span_json(t, ss->spans[i]);
                    puts_(t, ",");
                    if (at % SPANS_A_PIECE == 0 && t->e->host.rest_point)
                        t->e->host.rest_point(t->e->host.ctx);
                }
            no_comma(t);
            puts_(t, "],");
            string_member(t, "schemaUrl", ss->schema_url);
            no_comma(t);
            puts_(t, "},");
        }
        no_comma(t);
        puts_(t, "],");
        string_member(t, "schemaUrl", rs->schema_url);
        no_comma(t);
        puts_(t, "},");
    }
    no_comma(t);
    puts_(t, "]}");
}

char *json_traces(struct exporter *e, const uint8_t *traces, size_t len, size_t *out_len)
{
    Otlp__TracesData *data = otlp__traces_data__unpack(NULL, len, traces);
    if (!data)
        return NULL;
    struct text t = {.e = e};
    traces_json(&t, data, 0, SIZE_MAX / 2);
    otlp__traces_data__free_unpacked(data, NULL);
    if (t.failed) {
        free(t.p);
        return NULL;
    }
    *out_len = t.len;
    return t.p;
}

/* Writes spans [first, first + n) in as few whole lines as fit; returns how many could not be written. */
static uint32_t lines(struct exporter *e, const Otlp__TracesData *data, size_t first, size_t n,
                      struct text *t)
{
    t->len = 0;
    traces_json(t, data, first, n);
    puts_(t, "\n");
    if (t->failed)
        return (uint32_t)n;
    if (t->len <= stream_line_max(e->stream))
        return stream_line(e, t->p, t->len) ? 0 : (uint32_t)n;
    if (n == 1) {
        exporter_log(e, 1, "a span is too long for a line of a pipe that stays whole: dropped");
        return 1;
    }
    return lines(e, data, first, n / 2, t) + lines(e, data, first + n / 2, n - n / 2, t);
}

uint32_t json_lines(struct exporter *e, const uint8_t *traces, size_t len, uint32_t n_spans)
{
    Otlp__TracesData *data = otlp__traces_data__unpack(NULL, len, traces);
    if (!data)
        return n_spans;
    struct text t = {.e = e};
    uint32_t lost = lines(e, data, 0, n_spans, &t);
    otlp__traces_data__free_unpacked(data, NULL);
    free(t.p);
    return lost;
}
