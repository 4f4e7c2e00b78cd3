/* SPDX-License-Identifier: Apache-2.0
 * arena.c - what a worker's place in the shared memory costs. Prints one "name value unit" a line.
 *
 * arena claim N   N children: a slot claimed, and the whole of a worker's first word to us, which starts its
 * thread, too. arena tick N   N looks of a consumer at 256 slots of living workers, where nothing is to be
 * done. arena memory 1   what a worker has touched that serves nothing, and one that has been as busy as it
 * can be; without the exporter, which is not there.
 */
#include "arena/requests.h"
#include "arena/slot.h"
#include "batch/consumer.h"
#include "batch/loader.h"
#include "batch/thread.h"
#include "clock.h"
#include "figures.h"
#include "io/connection.h"
#include "process.h"
#include "process_self.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD = 500, BURST = 512, ROUNDS = 20 };

/* -- claim -- */

struct claim {
    double slot_us, whole_us;
};

static double us_since(uint64_t begin)
{
    return (double)(clock_ns(CLOCK_MONOTONIC) - begin) / 1000;
}

static void claim_in_child(int out)
{
    struct claim took;
    uint64_t begin = clock_ns(CLOCK_MONOTONIC);
    bool done = process_claim();
    took.slot_us = us_since(begin);
    done = done && process_serves(false);
    took.whole_us = us_since(begin);
    _exit(done && write(out, &took, sizeof took) == sizeof took ? 0 : 1);
}

static int measure_claims(unsigned rounds)
{
    double *slot = calloc(rounds, sizeof *slot), *whole = calloc(rounds, sizeof *whole);
    unsigned n = 0;
    process_listens();
    for (unsigned r = 0; r < rounds; r++) {
        int ends[2];
        if (pipe(ends) != 0)
            break;
        pid_t pid = fork();
        if (pid == 0)
            claim_in_child(ends[1]);
        close(ends[1]);
        struct claim took;
        if (read(ends[0], &took, sizeof took) == sizeof took) {
            slot[n] = took.slot_us;
            whole[n++] = took.whole_us;
        }
        close(ends[0]);
        waitpid(pid, NULL, 0);
    }
    if (n) {
        print_quantiles("slot", slot, n, "us");
        print_quantiles("claim", whole, n, "us");
    }
    free(slot);
    free(whole);
    return n == rounds ? 0 : 1;
}

/* -- tick -- */

static void no_rest(void *ctx)
{
    (void)ctx;
}

static bool never(void)
{
    return false;
}

/* A worker, as its own thread would have it; a thread of this process stands for it. */
static bool make_worker(const struct arena *a)
{
    int i = slot_claim(a, false);
    if (i < 0)
        return false;
    struct slot *s = arena_slot(a, (uint32_t)i);
    atomic_store(&a->header->liveness[i], (uint32_t)syscall(SYS_gettid));
    atomic_store(&s->consumer, consumer_word((uint32_t)i, atomic_load(&s->epoch)));
    atomic_store(&s->consuming, 1);
    return true;
}

static int measure_ticks(unsigned rounds)
{
    const struct arena *a = &self.arena;
    process_listens();
    uint32_t workers = 0;
    while (make_worker(a))
        workers++;
    struct consumer c = {.arena = a,
                         .config = self.config,
                         .rest_point = no_rest,
                         .stopping = never,
                         .me = consumer_word(0, atomic_load(&arena_slot(a, 0)->epoch))};
    enum { TOGETHER = 100 };
    double *us = calloc(rounds, sizeof *us);
    bool empty = true;
    for (unsigned r = 0; r < rounds; r++) {
        uint64_t begin = clock_ns(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < TOGETHER; i++)
            empty &= consumer_run(&c, 0) == CONSUMER_EMPTY;
        us[r] = us_since(begin) / TOGETHER;
    }
    print_quantiles("tick", us, rounds, "us");
    printf("slots %u slots\n", a->slots);
    free(us);
    return empty && workers + CONSUMER_SLOTS == a->slots ? 0 : 1;
}

/* -- memory -- */

/* What this process alone has written to, in KiB, but for the arena. */
static long private_kib(void)
{
    long kib = 0, n;
    bool arena = false;
    char line[512];
    FILE *f = fopen("/proc/self/smaps", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strstr(line, " rw-s ") || strstr(line, " rw-p ") || strstr(line, " r--p ") ||
            strstr(line, " r-xp "))
            arena = strstr(line, "/SYSV") != NULL;
        if (!arena && sscanf(line, "Private_Dirty: %ld", &n) == 1)
            kib += n;
    }
    if (f)
        fclose(f);
    return kib;
}

/* Pages of the arena that exist, in KiB. */
static long arena_kib(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (self.arena.size + page - 1) / page, there = 0;
    unsigned char *in = malloc(n);
    if (in && mincore(self.arena.header, self.arena.size, in) == 0)
        for (size_t i = 0; i < n; i++)
            there += in[i] & 1;
    free(in);
    return (long)(there * page / 1024);
}

static void give_request(int fd)
{
    static char text[] = "GET /users/4711 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1\r\n\r\n";
    struct iovec in = {text, sizeof text - 1};
    connection_read(fd, &in, 1, (ssize_t)in.iov_len);
}

static void give_answer(int fd)
{
    static char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    struct iovec out = {text, sizeof text - 1};
    connection_write_ahead(fd, text, out.iov_len);
    connection_written(fd, &out, 1, (ssize_t)out.iov_len);
}

/* Every entry of the table of requests, and every byte of the ring. */
static void be_busy(void)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(4711)};
    for (unsigned i = 0; i < REQUESTS; i++)
        connection_accepted(FD + (int)i, (struct sockaddr *)&peer, sizeof peer);
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned n = 0; n < BURST; n += REQUESTS) {
            for (unsigned i = 0; i < REQUESTS; i++)
                give_request(FD + (int)i);
            for (unsigned i = 0; i < REQUESTS; i++)
                give_answer(FD + (int)i);
        }
        thread_flush(10000, false);
    }
}

struct touched {
    long idle, busy;
};

static void touch_in_child(int out)
{
    arena_kib();
    private_kib(); /* what measuring touches is not of what is measured */
    long before = arena_kib() + private_kib();
    bool done = process_serves(false) && thread_flush(10000, false);
    long idle = arena_kib() + private_kib();
    be_busy();
    long busy = arena_kib() + private_kib();
    struct touched t = {idle - before, busy - before};
    done = done && process_counted(COUNT_FAILED) == ROUNDS * BURST;
    _exit(done && write(out, &t, sizeof t) == sizeof t ? 0 : 1);
}

static int measure_memory(unsigned rounds)
{
    int ends[2];
    (void)rounds;
    loader_at("/nonexistent");
    if (!process_accepts())
        return 1;
    atomic_store(&self.arena.header->permanent_ns, UINT64_MAX); /* nor a process that sends instead */
    process_listens();
    if (pipe(ends) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        touch_in_child(ends[1]);
    close(ends[1]);
    struct touched t;
    bool done = read(ends[0], &t, sizeof t) == sizeof t;
    if (done)
        printf("idle %ld KiB\nbusy %ld KiB\n", t.idle, t.busy);
    waitpid(pid, NULL, 0);
    return done ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*measure)(unsigned rounds);
    } parts[] = {{"claim", measure_claims}, {"tick", measure_ticks}, {"memory", measure_memory}};
    int rounds = argc > 2 ? atoi(argv[2]) : 0;
    for (size_t i = 0; rounds > 0 && i < sizeof parts / sizeof *parts; i++)
        if (strcmp(argv[1], parts[i].name) == 0)
            return parts[i].measure((unsigned)rounds);
    fprintf(stderr, "arena claim|tick|memory ROUNDS\n");
    return 2;
}
