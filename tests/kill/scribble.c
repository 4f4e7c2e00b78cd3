/* SPDX-License-Identifier: Apache-2.0
 * scribble.c - a process of the tree writes over the arena, everywhere and all the time, while the others
 * serve, die and sweep. None of them may crash (run it under AddressSanitizer), and when it has stopped spans
 * arrive.
 *
 * scribble [SEED]; FORKSPAN_SCRIBBLE_SECONDS says how long, FORKSPAN_FILE where the spans go. TAP.
 */
#include "../random64.h"
#include "arena/requests.h"
#include "clock.h"
#include "process.h"
#include "process_self.h"
#include "span/span.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3 };

static void end_one(const char *name)
{
    struct span *s = span_start(name, SPAN_INTERNAL, NULL);
    span_set_int(s, "n", 1);
    span_end(s);
}

/* What a worker does: spans, requests in progress, and an end that leaves some of both. */
static void work(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned n = 0, most = 20 + (unsigned)(random64() % 200); n < most; n++) {
        process_serves(false);
        end_one("work");
        struct request_table *t = process_requests();
        struct request *r = t ? request_claim(t) : NULL;
        if (r) {
            r->start_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
            r->start_realtime_ns = clock_ns(CLOCK_REALTIME);
            REQUEST_APPEND(r, method, "GET", 3);
            REQUEST_APPEND(r, target, "/x?y=z", 6);
            r->context.valid = true;
            atomic_store(&r->phase, REQUEST_OPEN);
            if (n % 3)
                request_release(t, r);
        }
        if (n % 8 == 0)
            usleep(1000);
    }
    if (random64() % 2)
        raise(SIGKILL);
    _exit(0);
}

static void scribble(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    static const uint64_t odd[] = {0,
                                   1,
                                   2,
                                   3,
                                   4,
                                   0x7f,
                                   0xffff,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   UINT64_MAX,
                                   UINT64_C(1) << 40,
                                   UINT64_C(1) << 63,
                                   0x40000000};
    char *all = (char *)self.arena.header;
    for (uint64_t n = 0;; n++) {
        /* one of the parts, so that the small ones get their share */
        size_t begin = 0, size = sizeof(struct arena_header);
        uint32_t i = (uint32_t)(random64() % (random64() % 4 ? 8 : self.arena.slots));
        size_t slot = self.arena.slots_off + i * self.arena.slot_size;
        switch (random64() % 5) {
        case 1:
            begin = slot, size = self.arena.requests_off;
            break;
        case 2:
            begin = slot + self.arena.requests_off, size = self.arena.ring_off - self.arena.requests_off;
            break;
        case 3:
            begin = slot + self.arena.ring_off, size = sizeof(struct ring) + 64 * sizeof(struct ring_cell);
            break;
        case 4:
            begin = slot + self.arena.ring_off, size = self.arena.slot_size - self.arena.ring_off;
            break;
        }
        uint64_t value = random64() % 2 ? random64() : odd[random64() % (sizeof odd / sizeof *odd)];
        size_t len = random64() % 2 ? 8 : 4, at = random64() % (size - 8) / 4 * 4;
        memcpy(all + begin + at, &value, len);
        if (n % 64 == 0)
            usleep(100); /* the others are to get somewhere, too */
    }
}

static pid_t start(void (*what)(void))
{
    random64();
    pid_t pid = fork();
    if (pid == 0) {
        seed ^= (uint64_t)getpid() << 20;
        what();
    }
    return pid;
}

static bool arrived(const char *name)
{
    char line[65536], want[64];
    snprintf(want, sizeof want, "\"%s\"", name);
    FILE *f = fopen(getenv("FORKSPAN_FILE") ? getenv("FORKSPAN_FILE") : "/dev/null", "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, want) != NULL;
    if (f)
        fclose(f);
    return found;
}

int main(int argc, char **argv)
{
    const char *given = getenv("FORKSPAN_SCRIBBLE_SECONDS");
    unsigned seconds = given ? (unsigned)atoi(given) : 4, deaths = 0, crashes = 0;
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) | 1 : clock_ns(CLOCK_REALTIME) | 1;
    printf("1..3\n# seed %llu, %u seconds of scribbling\n", (unsigned long long)seed, seconds);
    fflush(stdout);
    if (!process_serves(false))
        return 3;
    end_one("before");
    pid_t workers[WORKERS], scribbler = start(scribble);
    for (int i = 0; i < WORKERS; i++)
        workers[i] = start(work);
    for (uint64_t end = clock_ns(CLOCK_MONOTONIC) + seconds * UINT64_C(1000000000);
         clock_ns(CLOCK_MONOTONIC) < end;) {
        int status;
        pid_t gone = waitpid(-1, &status, WNOHANG);
        if (gone <= 0) {
            end_one("parent");
            usleep(500);
            continue;
        }
        deaths++;
        if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
            !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
            printf("# a process ended with status %#x\n", (unsigned)status);
            crashes++;
        }
        for (int i = 0; i < WORKERS; i++)
            if (workers[i] == gone)
                workers[i] = start(work);
    }
    kill(scribbler, SIGKILL);
    waitpid(scribbler, NULL, 0);
    for (int i = 0; i < WORKERS; i++) {
        kill(workers[i], SIGKILL);
        waitpid(workers[i], NULL, 0);
    }
    printf("%s 1 - of %u processes none crashed beside the scribbler\n", crashes ? "not ok" : "ok", deaths);
    /* The parent's own slot has been written over, too; its thread mends it at a tick, and a record that
     * looks unfinished is given up after 3 s. */
    bool found = false;
    for (uint64_t end = clock_ns(CLOCK_MONOTONIC) + 30 * UINT64_C(1000000000);
         !found && clock_ns(CLOCK_MONOTONIC) < end;) {
        end_one("after");
        process_flush(200);
        found = arrived("after");
        if (!found)
            usleep(50000);
    }
    printf("%s 2 - when it has stopped, spans of a process that it had spoilt arrive\n",
           found ? "ok" : "not ok");
    printf("%s 3 - there was something to survive\n", deaths > seconds && arrived("work") ? "ok" : "not ok");
    fflush(stdout);
    return crashes || !found;
}
