/* SPDX-License-Identifier: Apache-2.0
 * show_json.c - a look, for programs. docs/status.md is the contract: names stay, new ones may come.
 */
#include "arena/requests.h"
#include "look.h"
#include "wire/utf8.h"

#include <string.h>

const char *const counter_names[COUNTERS] = {
    [COUNT_STARTED] = "started",
    [COUNT_QUEUED] = "queued",
    [COUNT_EXPORTED] = "exported",
    [COUNT_DROPPED] = "dropped",
    [COUNT_FAILED] = "failed",
    [COUNT_SWEPT] = "swept",
    [COUNT_RESENT] = "resent",
    [COUNT_UNSURE] = "unsure",
    [COUNT_FORK_UNHELD] = "fork_unheld",
    [COUNT_FORK_UNHOOKED] = "fork_unhooked",
    [COUNT_CORRUPT] = "corrupt",
    [COUNT_NO_ROOM] = "no_room",
    [COUNT_FATAL] = "fatal",
    [COUNT_ERRORS] = "errors",
};

void show_json_text(FILE *to, const char *text)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);
    fputc('"', to);
    while (p < end) {
        size_t n = utf8_sequence(p, end);
        if (n == 0)
            fputs("\\ufffd", to);
        else if (*p == '"' || *p == '\\')
            fprintf(to, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            fprintf(to, "\\u%04x", *p);
        else
            fwrite(p, 1, n, to);
        p += n ? n : 1;
    }
    fputc('"', to);
}

static void text(FILE *to, const char *name, const char *value)
{
    fprintf(to, "\"%s\":", name);
    if (value)
        show_json_text(to, value);
    else
        fputs("null", to);
    fputc(',', to);
}

static void number_or_null(FILE *to, const char *name, double value, const char *end)
{
    if (value >= 0)
        fprintf(to, "\"%s\":%.6f%s", name, value, end);
    else
        fprintf(to, "\"%s\":null%s", name, end);
}

static void counters(FILE *to, const char *name, const uint64_t n[COUNTERS])
{
    fprintf(to, "\"%s\":{", name);
    for (int c = 0; c < COUNTERS; c++)
        fprintf(to, "\"%s\":%llu%s", counter_names[c], (unsigned long long)n[c],
                c + 1 < COUNTERS ? "," : "},");
}

static void exporter(FILE *to, const struct look_process *p)
{
    static const char *const states[] = {"unopened", "missing", "rests", "sends"};
    fprintf(to, "\"exporter\":{\"state\":\"%s\",\"failures\":%u,", states[p->exporter], p->failures);
    number_or_null(to, "sending_s", p->sending_s, ",");
    number_or_null(to, "delivered_s", p->delivered_s, ",");
    number_or_null(to, "said_s", p->said_s, ",");
    fputs("\"said\":", to);
    if (p->said_s >= 0)
        show_json_text(to, p->said);
    else
        fputs("null", to);
    fputs("},", to);
}

static void requests(FILE *to, const struct look_process *p)
{
    fputs("\"requests\":[", to);
    for (size_t i = 0; i < p->n_requests; i++) {
        const struct look_request *r = &p->requests[i];
        fputs(i ? ",{" : "{", to);
        text(to, "phase",
             r->phase == REQUEST_HEAD   ? "head"
             : r->phase == REQUEST_OPEN ? "open"
                                        : "unrecorded");
        text(to, "method", r->method);
        text(to, "path", r->path);
        if (r->status)
            fprintf(to, "\"status\":%u,", r->status);
        else
            fputs("\"status\":null,", to);
        number_or_null(to, "age_s", r->age_s, "}");
    }
    fputs("]", to);
}

static void process(FILE *to, const struct look_process *p)
{
    static const char *const states[] = {"alive", "leaving", "dead"};
    fprintf(to, "{\"slot\":%u,\"pid\":%d,\"pid_is_of_this_namespace\":%s,", p->slot, p->pid,
            p->here ? "true" : "false");
    text(to, "kind", p->consumer ? "consumer" : "worker");
    text(to, "state", states[p->state]);
    text(to, "end", *p->end ? p->end : NULL);
    fprintf(to, "\"thread\":%d,\"emptied_by\":%d,", p->thread, p->emptied_by);
    fprintf(to, "\"sends\":%s,\"unsent\":%u,\"spoilt\":%s,", p->sends ? "true" : "false", p->queued,
            p->spoilt ? "true" : "false");
    number_or_null(to, "oldest_unsent_s", p->oldest_s, ",");
    text(to, "oldest_unsent", p->oldest_s >= 0 ? p->oldest : NULL);
    counters(to, "counters", p->counters);
    exporter(to, p);
    requests(to, p);
    fputs("}", to);
}

static void place(FILE *to, const struct arena_place *p)
{
    text(to, "path", p->path);
    if (p->path)
        fputs("\"id\":null,", to);
    else
        fprintf(to, "\"id\":%d,", p->id);
}

void show_json_refused(FILE *to, const struct arena_place *p, const char *why, bool more)
{
    fputs("{", to);
    place(to, p);
    fputs("\"why\":", to);
    show_json_text(to, why);
    fputs(more ? "}," : "}", to);
}

static void latency(FILE *to, const uint64_t latencies[LATENCY_BUCKETS])
{
    static const struct {
        const char *name;
        double quantile;
    } shown[] = {{"p50_s", 0.5}, {"p95_s", 0.95}, {"p99_s", 0.99}};
    enum { SHOWN = sizeof shown / sizeof *shown };
    uint64_t n = latency_count(latencies);
    fprintf(to, "\"answered\":{\"requests\":%llu,", (unsigned long long)n);
    for (int i = 0; i < SHOWN; i++)
        number_or_null(to, shown[i].name,
                       n ? (double)latency_quantile(latencies, shown[i].quantile) / 1e9 : -1,
                       i + 1 < SHOWN ? "," : "},");
}

static void sender(FILE *to, const struct look_sender *s)
{
    static const char *const is[] = {"threads", "process", "killed", "in_vain"};
    static const char *const why[] = {"asked", "no_exporter", "again"};
    bool one = s->is == SENDER_PROCESS || s->is == SENDER_KILLED;
    fputs("\"sender\":{", to);
    text(to, "is", is[s->is]);
    text(to, "why", one ? why[s->why] : NULL);
    fprintf(to, "\"pid\":%d},", s->pid);
}

void show_json(FILE *to, const struct look *look, const struct look *before)
{
    fputs("{", to);
    place(to, &look->place);
    text(to, "version", look->version);
    fprintf(
        to,
        "\"layout\":%u,\"maker_pid\":%d,\"maker_uid\":%u,\"slots\":%u,\"without_slot\":%u,\"queue_size\":%u,",
        ARENA_LAYOUT, look->maker_pid, look->maker_uid, look->slots, look->without_slot, look->max_queued);
    text(to, "tracing", look->sampling.off ? "off" : "on");
    if (look->sampling.by_ratio)
        fprintf(to, "\"ratio\":%.9g,", look->sampling.ratio);
    else
        fputs("\"ratio\":null,", to);
    counters(to, "totals", look->totals);
    sender(to, &look->sender);
    latency(to, look->latencies);
    fputs("\"per_second\":", to);
    if (before) {
        static const enum counter shown[] = {COUNT_STARTED, COUNT_QUEUED, COUNT_EXPORTED, COUNT_DROPPED,
                                             COUNT_FAILED};
        enum { SHOWN = sizeof shown / sizeof *shown };
        fputs("{", to);
        for (int i = 0; i < SHOWN; i++)
            number_or_null(to, counter_names[shown[i]], look_rate(before, look, shown[i]),
                           i + 1 < SHOWN ? "," : "}");
    } else {
        fputs("null", to);
    }
    fputs(",\"processes\":[", to);
    for (size_t i = 0; i < look->n_processes; i++) {
        if (i)
            fputs(",", to);
        process(to, &look->processes[i]);
    }
    fputs("]}", to);
}
