/* SPDX-License-Identifier: Apache-2.0
 * send.c - sends batches through forkspan-exporter.so, configured as the preload is, and says how each ended.
 *
 * send EXPORTER [batches N] [spans N] [pause MS] [deadline MS] [size BYTES] [fork 0|1]
 *
 * `size` is the length of one attribute's value; `deadline` bounds each send from outside; with `fork` the
 * second half is sent by a child, after exporter's after_fork_child; `pause` lies between two batches. A line
 * each: "RESULT rejected N attempts N sent 0|1 ms N", and at the end "logged N". Log lines go to standard
 * error.
 */
#include "config/config.h"
#include "exporter.h"
#include "span/encode.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static unsigned logged;

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int host_wait(void *ctx, struct pollfd *fds, unsigned n, int timeout_ms)
{
    (void)ctx;
    return poll(fds, n, timeout_ms);
}

static void host_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    logged++;
    fprintf(stderr, "%d %s\n", level, line);
}

static void warn(const char *line)
{
    fprintf(stderr, "config %s\n", line);
}

/* Span number n, as bytes of field 2 of ScopeSpans. */
static size_t make_span(uint8_t *out, size_t room, unsigned n, const char *text, size_t len)
{
    struct wire w = {.p = out, .end = out + room};
    char name[32];
    struct span_head h = {.kind = 2,
                          .start_ns = UINT64_C(1700000000000000000) + n,
                          .end_ns = UINT64_C(1700000000001000000) + n,
                          .name = name,
                          .name_len = (size_t)snprintf(name, sizeof name, "span-%u", n)};
    h.ctx.trace_id[0] = h.ctx.span_id[0] = 1;
    memcpy(h.ctx.trace_id + 12, &n, sizeof n);
    memcpy(h.ctx.span_id + 4, &n, sizeof n);
    h.ctx.flags = 3;
    uint8_t *start = span_open(&w, &h);
    wire_key_string(&w, WIRE_KEY("text"), (const uint8_t *)text, len);
    wire_key_int(&w, WIRE_KEY("n"), (int64_t)n);
    return span_close(&w, start);
}

int main(int argc, char **argv)
{
    unsigned batches = 1, spans = 3, pause = 0, deadline = 0, size = 8, forks = 0;
    for (int i = 2; i + 1 < argc; i += 2) {
        unsigned value = (unsigned)strtoul(argv[i + 1], NULL, 10);
        static const char *const names[] = {"batches", "spans", "pause", "deadline", "size", "fork"};
        unsigned *const where[] = {&batches, &spans, &pause, &deadline, &size, &forks};
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (strcmp(argv[i], names[k]) == 0)
                *where[k] = value;
    }
    const struct config *config = config_parse(environ, warn);
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    const struct exporter_ops *ops = library ? dlsym(library, "forkspan_exporter_ops") : NULL;
    if (!ops) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "no exporter given");
        return 2;
    }
    struct exporter_host host = {.wait = host_wait, .log = host_log};
    struct exporter *e = ops->open(&config->exporter, &host);
    if (!e) {
        puts("not opened");
        return 0;
    }
    static uint8_t resource[8192];
    struct wire r = {.p = resource, .end = resource + sizeof resource};
    r.key_tag = 0x0a;
    wire_key_string(&r, WIRE_KEY("service.name"), (const uint8_t *)"send", 4);
    size_t room = (size_t)spans * (3 * size + 512);
    uint8_t *bytes = malloc(room);
    char *text = malloc(size + 1);
    if (!bytes || !text || size > 131072)
        return 2;
    memset(text, 'x', size);
    unsigned n = 0;
    pid_t child = 0;
    for (unsigned b = 0; b < batches; b++) {
        if (forks && b == batches / 2) {
            fflush(stdout);
            child = fork();
            if (child > 0)
                break;
            ops->after_fork_child(e);
        }
        size_t len = 0;
        for (unsigned i = 0; i < spans; i++)
            len += make_span(bytes + len, room - len, n++, text, size);
        struct exporter_scope_spans scope = {"send", "1", bytes, len, spans};
        struct exporter_batch batch = {.resource = resource,
                                       .resource_len = (size_t)(r.p - resource),
                                       .scopes = &scope,
                                       .n_scopes = 1,
                                       .n_spans = spans};
        struct export_outcome out;
        uint64_t begin = now_ns();
        ops->send(e, &batch, deadline ? begin + (uint64_t)deadline * 1000000u : 0, &out);
        static const char *const results[] = {"ok", "failed", "aborted"};
        printf("%s rejected %u attempts %u sent %d ms %llu\n", results[out.result], out.rejected,
               out.attempts, out.any_byte_sent, (unsigned long long)((now_ns() - begin) / 1000000u));
        fflush(stdout);
        if (pause)
            usleep(pause * 1000);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
    ops->close(e);
    printf("logged %u\n", logged);
    return 0;
}
