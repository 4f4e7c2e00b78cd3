/* SPDX-License-Identifier: Apache-2.0
 * console.c - a waterfall to read: one line a request, with worker pid, method, path, status, duration and a
 * bar.
 */
#include "exporter_internal.h"
#include "otlp.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAR = 20, LINE = 512 };

static const Otlp__AnyValue *find(Otlp__KeyValue *const *list, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->key && strcmp(list[i]->key, key) == 0)
            return list[i]->value;
    return NULL;
}

static const char *text_of(const Otlp__AnyValue *v, const char *otherwise)
{
    return v && v->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE ? v->string_value : otherwise;
}

static int64_t number_of(const Otlp__AnyValue *v, int64_t otherwise)
{
    return v && v->value_case == OTLP__ANY_VALUE__VALUE_INT_VALUE ? v->int_value : otherwise;
}

/* Control characters of a request's path have no business on a terminal. */
static void visible(char *out, size_t room, const char *s)
{
    size_t n = 0;
    for (; *s && n + 1 < room; s++)
        out[n++] = (unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s;
    while (n && ((unsigned char)out[n - 1] & 0xc0) == 0x80 && *s)
        n--; /* not in the middle of a character */
    out[n] = '\0';
}

/* A bar that doubles its length's meaning: each mark is a factor of two from 64 us on. */
static void bar(char *out, uint64_t ns)
{
    unsigned marks = 1;
    for (uint64_t limit = 64000; ns > limit && marks < BAR; limit *= 2)
        marks++;
    out[0] = '\0';
    for (unsigned i = 0; i < marks; i++)
        strcat(out, "\u2588");
}

static bool show(struct exporter *e, const Otlp__Resource *resource, const Otlp__Span *span, bool color)
{
    int64_t pid =
        resource ? number_of(find(resource->attributes, resource->n_attributes, "process.pid"), 0) : 0;
    const char *method = text_of(find(span->attributes, span->n_attributes, "http.request.method"), NULL);
    const char *path = text_of(find(span->attributes, span->n_attributes, "url.path"), "");
    int64_t status = number_of(find(span->attributes, span->n_attributes, "http.response.status_code"), 0);
    bool error = span->status && span->status->code == 2;
    uint64_t ns = span->end_time_unix_nano - span->start_time_unix_nano;
    char what[160], marks[BAR * 4 + 1], code[24] = "-", line[LINE];
    visible(what, sizeof what, method ? path : span->name ? span->name : "");
    bar(marks, ns);
    if (status)
        snprintf(code, sizeof code, "%" PRId64, status);
    const char *on = !color ? "" : error ? "\033[31m" : "\033[32m", *off = color ? "\033[0m" : "";
    int n = snprintf(line, sizeof line, "[%" PRId64 "] %-7s %-30s %s%3s%s %9.3f ms %s%s%s\n", pid,
                     method ? method : "span", what, on, code, off, (double)ns / 1e6, on, marks, off);
    return n > 0 && (size_t)n < sizeof line && stream_line(e, line, (size_t)n);
}

uint32_t console_show(struct exporter *e, const uint8_t *traces, size_t len)
{
    Otlp__TracesData *data = otlp__traces_data__unpack(NULL, len, traces);
    if (!data)
        return UINT32_MAX;
    uint32_t unseen = 0;
    bool color = stream_terminal(e->stream) && !getenv("NO_COLOR");
    for (size_t r = 0; r < data->n_resource_spans; r++) {
        const Otlp__ResourceSpans *rs = data->resource_spans[r];
        for (size_t s = 0; s < rs->n_scope_spans; s++)
            for (size_t i = 0; i < rs->scope_spans[s]->n_spans; i++)
                unseen += !show(e, rs->resource, rs->scope_spans[s]->spans[i], color);
    }
    otlp__traces_data__free_unpacked(data, NULL);
    return unseen;
}
