/* SPDX-License-Identifier: Apache-2.0
 * show.c - a look, for people.
 */
#include "arena/requests.h"
#include "look.h"
#include "wire/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *show_age(double seconds, char room[AGE_ROOM])
{
    if (!(seconds >= 0)) {
        strcpy(room, "-");
    } else if (seconds < 1) {
        snprintf(room, AGE_ROOM, "%.0f ms", floor(seconds * 1000));
    } else if (seconds < 60) {
        snprintf(room, AGE_ROOM, "%.1f s", floor(seconds * 10) / 10);
    } else {
        static const struct {
            double up_to, unit;
            const char *name;
        } units[] = {{3600, 60, "min"}, {86400, 3600, "h"}, {INFINITY, 86400, "d"}};
        size_t i = 0;
        while (seconds >= units[i].up_to)
            i++;
        snprintf(room, AGE_ROOM, "%.0f %s", floor(seconds / units[i].unit), units[i].name);
    }
    return room;
}

void show_text(FILE *to, const char *text)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);
    while (p < end) {
        size_t n = utf8_sequence(p, end);
        bool control = n == 1 ? *p < 0x20 || *p == 0x7f : n == 2 && p[0] == 0xc2 && p[1] < 0xa0;
        if (n == 0 || control)
            fputc('?', to);
        else
            fwrite(p, 1, n, to);
        p += n ? n : 1;
    }
}

static const char *duration(uint64_t ns, char room[AGE_ROOM])
{
    double ms = (double)ns / 1e6;
    if (ms < 1000)
        snprintf(room, AGE_ROOM, "%.*f ms", ms < 10 ? 2 : ms < 100 ? 1 : 0, ms);
    else
        snprintf(room, AGE_ROOM, "%.2f s", ms / 1000);
    return room;
}

void show_latencies(FILE *to, const uint64_t latencies[LATENCY_BUCKETS], uint64_t errors)
{
    char p50[AGE_ROOM], p95[AGE_ROOM], p99[AGE_ROOM];
    uint64_t n = latency_count(latencies);
    fprintf(to, "%llu request%s, %llu error%s", (unsigned long long)n, n == 1 ? "" : "s",
            (unsigned long long)errors, errors == 1 ? "" : "s");
    if (n)
        fprintf(to, "; p50 %s, p95 %s, p99 %s", duration(latency_quantile(latencies, 0.5), p50),
                duration(latency_quantile(latencies, 0.95), p95),
                duration(latency_quantile(latencies, 0.99), p99));
}

static void show_rate(FILE *to, const struct look *before, const struct look *now, enum counter which)
{
    double rate = look_rate(before, now, which);
    if (rate >= 0)
        fprintf(to, " (%.1f/s)", rate);
}

static void show_head(FILE *to, const struct look *look)
{
    char room[16];
    fprintf(to, "arena ");
    show_text(to, place_name(&look->place, room));
    if (look->maker_pid > 0)
        fprintf(to, ", made by process %d", look->maker_pid);
    fprintf(to, ", forkspan %s\n", look->version);
    fprintf(to, "  tracing   %s, sampling ", look->sampling.off ? "turned OFF" : "on");
    if (look->sampling.by_ratio)
        fprintf(to, "set to a ratio of %.6g\n", look->sampling.ratio);
    else
        fprintf(to, "as configured%s\n",
                look->sampling_spoilt ? " (what was set has been written over)" : "");
}

const char *const why_process[] = {
    [PERMANENT_ASKED] = "FORKSPAN_EXPORT=process",
    [PERMANENT_NO_EXPORTER] = "a process of it could not open the exporter",
    [PERMANENT_AGAIN] = "its processes come and go",
};

static void show_sender(FILE *to, const struct look_sender *s)
{
    fputs("  sender    ", to);
    if (s->is == SENDER_PROCESS)
        fprintf(to, "process %d for all (%s)\n", s->pid, why_process[s->why]);
    else if (s->is == SENDER_KILLED)
        fprintf(to, "a process for all (%s), which is gone: the next span or wait starts another\n",
                why_process[s->why]);
    else
        fprintf(to, "a thread in each process that serves%s\n",
                s->is == SENDER_IN_VAIN ? ": no process of its own can open the exporter" : "");
}

/* What is of interest only when it is there. */
static void show_if_any(FILE *to, uint64_t n, const char *what)
{
    if (n)
        fprintf(to, ", %llu %s", (unsigned long long)n, what);
}

static void show_spans(FILE *to, const struct look *look, const struct look *before)
{
    const uint64_t *n = look->totals;
    uint32_t queued = 0, fullest = 0;
    double oldest = -1;
    const char *name = "";
    for (size_t i = 0; i < look->n_processes; i++) {
        const struct look_process *p = &look->processes[i];
        queued += p->queued;
        fullest = p->queued > fullest ? p->queued : fullest;
        if (p->oldest_s > oldest) {
            oldest = p->oldest_s;
            name = p->oldest;
        }
    }
    fputs("  answered  ", to);
    show_latencies(to, look->latencies, n[COUNT_ERRORS]);
    fprintf(to, "\n  spans     %llu started", (unsigned long long)n[COUNT_STARTED]);
    show_rate(to, before, look, COUNT_STARTED);
    fprintf(to, ", %llu exported", (unsigned long long)n[COUNT_EXPORTED]);
    show_rate(to, before, look, COUNT_EXPORTED);
    fprintf(to, ", %llu dropped", (unsigned long long)n[COUNT_DROPPED]);
    show_rate(to, before, look, COUNT_DROPPED);
    fprintf(to, ", %llu failed", (unsigned long long)n[COUNT_FAILED]);
    show_rate(to, before, look, COUNT_FAILED);
    show_if_any(to, n[COUNT_RESENT], "batches sent again");
    show_if_any(to, n[COUNT_CORRUPT], "records corrupt");
    fprintf(to, "\n  queue     %u unsent", queued);
    if (queued)
        fprintf(to, ", %u of %u in the fullest", fullest, look->max_queued);
    if (oldest >= 0) {
        char age[AGE_ROOM];
        fprintf(to, ", the oldest ended %s ago: ", show_age(oldest, age));
        show_text(to, name);
    }
    fputc('\n', to);
    if (n[COUNT_SWEPT] || n[COUNT_FATAL] || n[COUNT_NO_ROOM] || n[COUNT_UNSURE] || n[COUNT_FORK_UNHELD] ||
        n[COUNT_FORK_UNHOOKED] || look->without_slot) {
        fprintf(to, "  also      %llu dead processes swept", (unsigned long long)n[COUNT_SWEPT]);
        show_if_any(to, n[COUNT_FATAL], "requests cut off by them");
        show_if_any(to, n[COUNT_UNSURE], "connections given up");
        show_if_any(to, n[COUNT_NO_ROOM], "times no room");
        show_if_any(to, look->without_slot, "processes without a place");
        show_if_any(to, n[COUNT_FORK_UNHELD], "forks not held");
        show_if_any(to, n[COUNT_FORK_UNHOOKED], "forks without Python's hooks");
        fputc('\n', to);
    }
}

static void show_state(FILE *to, const struct look_process *p)
{
    char text[40];
    static const char *const states[] = {"alive", "leaving", "dead"};
    snprintf(text, sizeof text, "%s%s%s%s", states[p->state], *p->end ? " (" : "", p->end,
             *p->end ? ")" : "");
    fprintf(to, " %-8s %-14s", p->consumer ? "consumer" : "worker", text);
}

static void show_exporter(FILE *to, const struct look_process *p)
{
    char age[AGE_ROOM];
    switch (p->exporter) {
    case EXPORTER_MISSING:
        fprintf(to, "can not be opened");
        break;
    case EXPORTER_SENDS:
        fprintf(to, "sends, for %s", show_age(p->sending_s, age));
        break;
    case EXPORTER_UNOPENED:
    case EXPORTER_RESTS:
        if (p->delivered_s >= 0)
            fprintf(to, "delivered %s ago", show_age(p->delivered_s, age));
        else
            fputs(p->sends ? "has not sent yet" : "none", to);
        break;
    }
    if (p->failures)
        fprintf(to, ", %u failed", p->failures);
    if (p->spoilt)
        fputs(", its queue is spoilt", to);
}

static void show_processes(FILE *to, const struct look *look, const struct look *before)
{
    fprintf(to, "\n  %7s  %-8s %-14s %9s %9s %8s %6s %8s  %s\n", "PID", "KIND", "STATE", "STARTED",
            "EXPORTED", "DROPPED", "QUEUED", "SPANS/S", "EXPORTER");
    bool elsewhere = false;
    for (size_t i = 0; i < look->n_processes; i++) {
        const struct look_process *p = &look->processes[i], *then = look_same(before, p);
        char rate[24] = "-";
        if (then && p->counters[COUNT_STARTED] >= then->counters[COUNT_STARTED] && look->at > before->at)
            snprintf(rate, sizeof rate, "%.1f",
                     (double)(p->counters[COUNT_STARTED] - then->counters[COUNT_STARTED]) /
                         (look->at - before->at));
        fprintf(to, "  %7d%c", p->pid, p->here ? ' ' : '*');
        show_state(to, p);
        fprintf(to, " %9llu %9llu %8llu %6u %8s  ", (unsigned long long)p->counters[COUNT_STARTED],
                (unsigned long long)p->counters[COUNT_EXPORTED],
                (unsigned long long)p->counters[COUNT_DROPPED], p->queued, rate);
        show_exporter(to, p);
        fputc('\n', to);
        elsewhere |= !p->here;
    }
    if (elsewhere)
        fputs("  * of another PID namespace\n", to);
    for (size_t i = 0; i < look->n_processes; i++) {
        const struct look_process *p = &look->processes[i];
        char age[AGE_ROOM];
        if (p->said_s < 0)
            continue;
        fprintf(to, "  %d said %s ago: ", p->pid, show_age(p->said_s, age));
        show_text(to, p->said);
        fputc('\n', to);
    }
}

/* The oldest of all processes first. */
static void show_requests(FILE *to, const struct look *look)
{
    size_t *next = calloc(look->n_processes + 1, sizeof *next), all = 0;
    for (size_t i = 0; i < look->n_processes; i++)
        all += look->processes[i].n_requests;
    fprintf(to, "\n  %zu request%s in progress%s\n", all, all == 1 ? "" : "s", all ? ":" : "");
    for (size_t n = 0; next && n < all; n++) {
        size_t of = look->n_processes;
        for (size_t i = 0; i < look->n_processes; i++)
            if (next[i] < look->processes[i].n_requests &&
                (of == look->n_processes ||
                 look->processes[i].requests[next[i]].age_s > look->processes[of].requests[next[of]].age_s))
                of = i;
        const struct look_request *r = &look->processes[of].requests[next[of]++];
        char age[AGE_ROOM];
        fprintf(to, "  %9s  %7d  ", show_age(r->age_s, age), look->processes[of].pid);
        show_text(to, r->method);
        fputc(' ', to);
        show_text(to, r->path);
        if (r->status)
            fprintf(to, " %u", r->status);
        if (r->phase == REQUEST_HEAD)
            fputs(" (its head is not complete)", to);
        if (r->phase == REQUEST_UNRECORDED)
            fputs(" (not recorded)", to);
        fputc('\n', to);
    }
    free(next);
}

void show(FILE *to, const struct look *look, const struct look *before)
{
    show_head(to, look);
    show_sender(to, &look->sender);
    show_spans(to, look, before);
    show_processes(to, look, before);
    show_requests(to, look);
}
