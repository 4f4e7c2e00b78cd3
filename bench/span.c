/* SPDX-License-Identifier: Apache-2.0
 * span.c - what a span with 8 attributes costs: start to queued, on the calling thread; and CPU a span in all
 * when exported in batches of 512 to the endpoint of the environment. Prints one "name value unit" a line.
 */
#include "span/span.h"
#include "batch/thread.h"
#include "clock.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void one(unsigned n)
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

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    enum { BURST = 512, WARM = 20 };
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 400;
    if (!process_serves(false)) {
        fprintf(stderr, "tracing is off\n");
        return 1;
    }
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
    qsort(ns + WARM, rounds, sizeof *ns, ascending);
    printf("start_to_queued_median %.0f ns\n", ns[WARM + rounds / 2]);
    printf("start_to_queued_p90 %.0f ns\n", ns[WARM + rounds * 9 / 10]);
    printf("exported %lu spans\n", (unsigned long)exported);
    if (exported)
        printf("cpu_a_span_exported %.0f ns\n", (double)cpu / (double)exported);
    free(ns);
    return exported == (uint64_t)rounds * BURST ? 0 : 1;
}
