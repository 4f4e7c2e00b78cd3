/* SPDX-License-Identifier: Apache-2.0
 * span.c - what a span costs. Prints one "name value unit" a line.
 *
 * span api N     N bursts of 512 spans with 8 attributes, set in one call, by span.h: start to queued, on the
 *                calling thread; CPU a span in all threads when exported in batches of 512 to the endpoint of
 *                the environment
 * span each N    the same, each attribute set by a call of its own
 * span http N    the same of requests: bytes read, bytes written, without the reading and writing itself
 */
#include "span/span.h"
#include "batch/thread.h"
#include "clock.h"
#include "figures.h"
#include "io/connection.h"
#include "process.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BURST = 512, WARM = 20, FD = 700 };

static struct span_attribute text(const char *key, const char *value)
{
    return (struct span_attribute){
        .key = key, .type = SPAN_STRING, .string_len = (uint32_t)strlen(value), .value.string = value};
}

static struct span_attribute number(const char *key, int64_t value)
{
    return (struct span_attribute){.key = key, .type = SPAN_INT, .value.integer = value};
}

/* The attributes in one call. */
static void one_api(unsigned n)
{
    const struct span_attribute a[] = {
        text("http.request.method", "GET"),
        text("url.path", "/users/4711"),
        text("url.scheme", "http"),
        text("server.address", "shop.example"),
        number("server.port", 80),
        text("user_agent.original", "bench/1"),
        number("http.response.status_code", 200),
        number("n", n),
    };
    struct span *s = span_start("bench", SPAN_INTERNAL, NULL);
    span_set(s, a, sizeof a / sizeof *a);
    span_end(s);
}

/* Each attribute in a call of its own. */
static void one_by_one(unsigned n)
{
    struct span *s = span_start("bench", SPAN_INTERNAL, NULL);
    span_set_string(s, "http.request.method", "GET", 3);
    span_set_string(s, "url.path", "/users/4711", 11);
    span_set_string(s, "url.scheme", "http", 4);
    span_set_string(s, "server.address", "shop.example", 12);
    span_set_int(s, "server.port", 80);
    span_set_string(s, "user_agent.original", "bench/1", 7);
    span_set_int(s, "http.response.status_code", 200);
    span_set_int(s, "n", n);
    span_end(s);
}

/* A keep-alive connection, as its server's calls would tell us of it. */
static void one_http(unsigned n)
{
    static char request[] = "GET /users/4711 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1\r\n"
                            "Accept: */*\r\n\r\n";
    static char response[] = "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\n"
                             "Content-Length: 5\r\n\r\nhello";
    (void)n;
    struct iovec in = {request, sizeof request - 1}, out = {response, sizeof response - 1};
    connection_read(FD, &in, 1, (ssize_t)in.iov_len);
    connection_write_ahead(FD, response, out.iov_len);
    connection_written(FD, &out, 1, (ssize_t)out.iov_len);
}

static int measure_spans(unsigned rounds, void (*one)(unsigned))
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(4711)};
    if (!process_serves(false)) {
        fprintf(stderr, "tracing is off\n");
        return 1;
    }
    connection_accepted(FD, (struct sockaddr *)&peer, sizeof peer);
    double *ns = calloc(rounds + WARM, sizeof *ns);
    uint64_t cpu = 0, exported = 0;
    for (unsigned r = 0; r < rounds + WARM; r++) {
        if (r == WARM) {
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            exported = process_counted(COUNT_EXPORTED);
        }
        uint64_t begin = clock_ns(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < BURST; i++)
            one(i);
        ns[r] = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / BURST;
        thread_flush(10000, false); /* the ring is empty again: nothing of what is timed waits for room */
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    exported = process_counted(COUNT_EXPORTED) - exported;
    print_quantiles("start_to_queued", ns + WARM, rounds, "ns");
    printf("exported %lu spans\n", (unsigned long)exported);
    if (exported)
        printf("cpu_a_span_exported %.1f ns\n", (double)cpu / (double)exported);
    free(ns);
    return exported == (uint64_t)rounds * BURST ? 0 : 1;
}

int main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 0;
    if (rounds < 1) {
        fprintf(stderr, "span api|each|http ROUNDS\n");
        return 2;
    }
    return measure_spans((unsigned)rounds, strcmp(argv[1], "http") == 0   ? one_http
                                           : strcmp(argv[1], "each") == 0 ? one_by_one
                                                                          : one_api);
}
