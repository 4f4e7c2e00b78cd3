/* SPDX-License-Identifier: Apache-2.0
 * storm.c - threads end spans by span.h while the process forks again and again; every child ends spans of
 * its own.
 *
 * argv: children, spans a child, enders, microseconds between two spans of an ender, and between the death of
 * a child and the next fork. The runners compare what
 * arrives (run_storm.py, collector_storm.py). Prints "children N
 * hung M ended E unheld U dropped D": spans that found a full ring are counted, not lost.
 */
#include "storm.h"
#include "process.h"
#include "span/span.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic bool done;
static _Atomic unsigned parent_ended;
static useconds_t pause_us = 200;

static void end_one(const char *name)
{
    struct span *s = span_start(name, SPAN_INTERNAL, NULL);
    span_set_int(s, "n", 1);
    span_set_string(s, "text", "storm", 5);
    span_end(s);
}

static void *end_spans(void *arg)
{
    while (!atomic_load(&done)) {
        char name[64];
        snprintf(name, sizeof name, "parent-%d-%u", (int)(intptr_t)arg, atomic_fetch_add(&parent_ended, 1));
        end_one(name);
        /* in bursts: the queue is to be neither empty nor full all the time */
        usleep(pause_us);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned children = argc > 1 ? (unsigned)atoi(argv[1]) : 200, hung = 0;
    unsigned spans = argc > 2 ? (unsigned)atoi(argv[2]) : 3;
    unsigned enders = argc > 3 ? (unsigned)atoi(argv[3]) : 4;
    pthread_t threads[16];
    if (argc > 4)
        pause_us = (useconds_t)atoi(argv[4]);
    useconds_t after_us = argc > 5 ? (useconds_t)atoi(argv[5]) : 0;
    if (!process_serves(false)) /* this process is a server: it has a batch thread from the start */
        return 3;
    for (unsigned i = 0; i < enders && i < 16; i++)
        pthread_create(&threads[i], NULL, end_spans, (void *)(intptr_t)i);
    for (unsigned i = 0; i < children; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (unsigned n = 0; n < spans; n++) {
                char name[64];
                snprintf(name, sizeof name, "child-%u-%u", i, n);
                end_one(name);
            }
            _exit(0); /* no exit path: its parent's consumer finds the ring */
        }
        hung += pid > 0 && !child_ended(pid, 5000);
        if (after_us)
            usleep(after_us);
    }
    atomic_store(&done, true);
    for (unsigned i = 0; i < enders && i < 16; i++)
        pthread_join(threads[i], NULL);
    printf("children %u hung %u ended %u unheld %lu dropped %lu\n", children, hung,
           atomic_load(&parent_ended), (unsigned long)process_counted(COUNT_FORK_UNHELD),
           (unsigned long)process_counted(COUNT_DROPPED));
    fflush(stdout);
    return hung ? 1 : 0;
}
