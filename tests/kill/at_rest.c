/* SPDX-License-Identifier: Apache-2.0
 * at_rest.c - somebody writes over an arena file that no process has open, cuts it short or lengthens it;
 * then a start opens it, recovers and sends what it can. It may refuse the file; it may not crash (run it
 * under AddressSanitizer), nor hang, and its own spans arrive.
 *
 * at_rest [SEED]; FORKSPAN_ARENA is the file, FORKSPAN_SCRIBBLE_SECONDS says how long, FORKSPAN_FILE where
 * the spans go. TAP.
 */
#include "../random64.h"
#include "arena/requests.h"
#include "arena/slot.h"
#include "clock.h"
#include "process.h"
#include "process_self.h"
#include "span/span.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IN_FILE = 10, IN_MEMORY = 11, NOT_SENT = 12, SENDS_MS = 8000, DEADLINE_S = 20 };

static const char *path;

static void end_one(const char *name)
{
    struct span *s = span_start(name, SPAN_INTERNAL, NULL);
    span_set_int(s, "n", 1);
    span_end(s);
}

/* Leaves finished spans and requests in progress. */
static void die_at_work(void)
{
    for (unsigned n = 0; n < 100; n++) {
        process_makes_spans(false);
        end_one("left");
        struct request_table *t = process_requests();
        struct request *r = t ? request_claim(t) : NULL;
        if (!r || n % 7)
            continue;
        r->start_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
        r->start_realtime_ns = clock_ns(CLOCK_REALTIME);
        REQUEST_APPEND(r, method, "GET", 3);
        REQUEST_APPEND(r, target, "/x?y=z", 6);
        r->context.valid = true;
        atomic_store(&r->phase, REQUEST_OPEN);
    }
    raise(SIGKILL);
}

/* The next start, and a tick of its thread. */
static void start_again(void)
{
    process_serves(false);
    end_one("next");
    bool sent = process_flush(SENDS_MS);
    _exit(!sent ? NOT_SENT : self.arena.file ? IN_FILE : IN_MEMORY);
}

static int run(void (*what)(void))
{
    fflush(stdout);
    random64();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(DEADLINE_S);
        what();
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

static void put_some(char *all, size_t begin, size_t size)
{
    static const uint64_t odd[] = {0,          1,          2,          3,
                                   0x7f,       0xffff,     0x7fffffff, 0x80000000,
                                   0xffffffff, UINT64_MAX, 0x40000000, UINT64_C(1) << 63};
    uint64_t value = random64() % 2 ? random64() : odd[random64() % (sizeof odd / sizeof *odd)];
    memcpy(all + begin + random64() % (size - 8) / 4 * 4, &value, random64() % 2 ? 8 : 4);
}

/* Whole pages of noise or nothing, as after a power cut, and single words everywhere. */
static void scribble(const struct arena *shape)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char *all = mmap(NULL, shape->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || all == MAP_FAILED)
        exit(3);
    bool header = random64() % 8 == 0;
    for (uint64_t n = random64() % 400; n > 0; n--) {
        size_t slot = shape->slots_off + random64() % shape->slots * shape->slot_size;
        switch (random64() % 6) {
        case 0: /* of the header what is looked at again, or all */
            if (header)
                put_some(all, 0, sizeof(struct arena_header));
            else
                put_some(all, offsetof(struct arena_header, user),
                         sizeof(struct arena_header) - offsetof(struct arena_header, user));
            break;
        case 1:
            put_some(all, slot, shape->requests_off);
            break;
        case 2:
            put_some(all, slot + shape->requests_off, shape->ring_off - shape->requests_off);
            break;
        case 3:
            put_some(all, slot + shape->ring_off, sizeof(struct ring) + 64 * sizeof(struct ring_cell));
            break;
        case 4:
            put_some(all, slot + shape->ring_off, shape->slot_size - shape->ring_off);
            break;
        default:
            if (n % 16 == 0)
                memset(all + shape->slots_off + random64() % (shape->size - shape->slots_off) / 4096 * 4096,
                       random64() % 2 ? 0 : (int)random64(), 4096);
        }
    }
    if (random64() % 4 == 0)
        memset(all + offsetof(struct arena_header, boot), 'x', 8); /* and the system was started again */
    munmap(all, shape->size);
    if (random64() % 16 == 0 && ftruncate(fd, (off_t)(random64() % (2 * shape->size))) != 0)
        exit(3);
    close(fd);
}

/* Words that the kernel never marked: of a thread that is gone, and of one that is another process's by now.
 */
static void hide_the_dead(const struct arena *shape, bool reused)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct arena at = *shape;
    at.header = mmap(NULL, shape->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || at.header == MAP_FAILED)
        exit(3);
    for (uint32_t i = 0; i < at.slots; i++) {
        struct slot *s = arena_slot(&at, i);
        uint64_t state = atomic_load(arena_state(&at, i));
        if ((uint32_t)state != SLOT_LIVE)
            continue;
        atomic_store(&s->consuming, 1); /* alive, it would send by itself */
        if (reused) {
            atomic_store(arena_state(&at, i), (uint64_t)getpid() << 32 | SLOT_LIVE);
            atomic_store(&s->start_time, 1);
        }
        atomic_store(&at.header->liveness[i], reused ? (uint32_t)gettid() : (uint32_t)(state >> 32));
    }
    /* A consumer of another time, whose pid is this process's by now, and one that lives. */
    struct registered *r = at.header->registered;
    for (unsigned i = 0; i < 2; i++) {
        atomic_store(&r[i].pid, (uint32_t)getpid());
        atomic_store(&r[i].start_time, i ? process_start_time(getpid()) : 1);
        atomic_store(&r[i].pid_namespace, own_pid_namespace());
    }
    munmap(at.header, shape->size);
    close(fd);
}

/* Only the living one of them is known after a start: the other's pid may be a child's of the host. */
static bool consumers_known(void)
{
    static struct arena_header header;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool right = fd >= 0 && read(fd, &header, sizeof header) == sizeof header &&
                 header.registered[0].pid_namespace == 0 &&
                 header.registered[1].pid_namespace == own_pid_namespace();
    if (fd >= 0)
        close(fd);
    return right;
}

static unsigned arrived(const char *name)
{
    static char line[1 << 20];
    char want[64];
    unsigned found = 0;
    snprintf(want, sizeof want, "\"%s\"", name);
    FILE *f = fopen(getenv("FORKSPAN_FILE"), "re");
    while (f && fgets(line, sizeof line, f))
        for (const char *at = line; (at = strstr(at, want)) != NULL; at++)
            found++;
    if (f)
        fclose(f);
    return found;
}

/* The shape of what the first start made. */
static bool look(struct arena *shape)
{
    static struct arena_header header;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read_all = fd >= 0 && read(fd, &header, sizeof header) == sizeof header;
    struct stat st;
    bool ok = read_all && fstat(fd, &st) == 0 && !arena_recognise(shape, &header, (size_t)st.st_size);
    if (fd >= 0)
        close(fd);
    return ok;
}

int main(int argc, char **argv)
{
    const char *given = getenv("FORKSPAN_SCRIBBLE_SECONDS");
    unsigned seconds = given ? (unsigned)atoi(given) : 4, rounds = 0, in_file = 0, crashes = 0, unsent = 0;
    const char *file = getenv("FORKSPAN_FILE");
    path = getenv("FORKSPAN_ARENA");
    if (!path || !file)
        return 2;
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) | 1 : clock_ns(CLOCK_REALTIME) | 1;
    printf("1..6\n# seed %llu, %u seconds\n", (unsigned long long)seed, seconds);
    unlink(path);
    unlink(file);

    /* The control: nobody has written over it. */
    run(die_at_work);
    int status = run(start_again);
    unsigned left = arrived("left");
    printf("%s 1 - a file that nobody wrote over: all of the %u spans are sent\n",
           left == 100 && WIFEXITED(status) && WEXITSTATUS(status) == IN_FILE ? "ok" : "not ok", left);
    bool found = true, known = true;
    for (int reused = 0; reused <= 1; reused++) {
        struct arena shape;
        run(die_at_work);
        if (!look(&shape))
            return 3;
        hide_the_dead(&shape, reused);
        run(start_again);
        unsigned before = left;
        left = arrived("left");
        found = found && left == before + 100;
        known = known && consumers_known();
    }
    printf("%s 2 - nor are the dead taken for living that the kernel has not marked (%u)\n",
           found ? "ok" : "not ok", left);
    printf("%s 3 - and the pids of consumers that are gone are forgotten\n", known ? "ok" : "not ok");
    for (uint64_t end = clock_ns(CLOCK_MONOTONIC) + seconds * UINT64_C(1000000000);
         clock_ns(CLOCK_MONOTONIC) < end || (rounds < 1000 && (in_file == 0 || in_file == rounds));
         rounds++) {
        struct arena shape;
        unlink(path);
        run(die_at_work);
        if (!look(&shape))
            return 3;
        scribble(&shape);
        status = run(start_again);
        if (WIFEXITED(status) && (WEXITSTATUS(status) == IN_FILE || WEXITSTATUS(status) == IN_MEMORY)) {
            in_file += WEXITSTATUS(status) == IN_FILE;
        } else {
            printf("# round %u: the start ended with status %#x\n", rounds, (unsigned)status);
            crashes += !(WIFEXITED(status) && WEXITSTATUS(status) == NOT_SENT);
            unsent += WIFEXITED(status) && WEXITSTATUS(status) == NOT_SENT;
        }
    }
    printf("%s 4 - of %u starts with a spoilt file none crashed or hung\n", crashes ? "not ok" : "ok",
           rounds);
    unsigned next = arrived("next");
    printf("%s 5 - and the spans of each arrive (%u)\n", unsent || next != rounds + 3 ? "not ok" : "ok",
           next);
    printf("%s 6 - there was something to survive: %u used the file, %u refused it\n",
           in_file > rounds / 2 && in_file < rounds ? "ok" : "not ok", in_file, rounds - in_file);
    unlink(path);
    return crashes || unsent || !found || !known;
}
