/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/slot.h"
#include "arena/news.h"
#include "arena/requests.h"
#include "arena/seat.h"
#include "decimal.h"
#include "futex.h"
#include "next.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t state_word(enum slot_state state, pid_t pid)
{
    return (uint64_t)(uint32_t)pid << 32 | state;
}

/* Start time and state letter of a process. */
static uint64_t process_stat(pid_t pid, char *state)
{
    char path[32] = "/proc/";
    memcpy(path + 6 + decimal(path + 6, (unsigned)pid), "/stat", 6);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    char line[400];
    ssize_t n = __read(fd, line, sizeof line - 1);
    __close(fd);
    if (n <= 0)
        return 0;
    line[n] = '\0';
    /* field 2 is a name in parentheses that may hold anything: count from the last one on */
    const char *s = strrchr(line, ')');
    *state = s && s[1] ? s[2] : '\0';
    for (int field = 2; s && field < 22; field++)
        s = strchr(s + 1, ' ');
    uint64_t t = 0;
    for (; s && *++s >= '0' && *s <= '9';)
        t = t * 10 + (uint64_t)(*s - '0');
    return t;
}

uint64_t process_start_time(pid_t pid)
{
    char state;
    return process_stat(pid, &state);
}

uint64_t own_pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

int slot_claim(const struct arena *a, bool consumer)
{
    /* Found out before a slot is taken: until they are in it, what a sweeper sees must not be another's. */
    pid_t pid = getpid();
    uint64_t namespace = own_pid_namespace();
    uint32_t n = consumer ? a->slots : a->slots - CONSUMER_SLOTS;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = consumer ? n - 1 - k : k;
        _Atomic uint64_t *state = arena_state(a, i);
        uint64_t free_word = SLOT_FREE;
        if (atomic_load_explicit(state, memory_order_relaxed) != SLOT_FREE ||
            !atomic_compare_exchange_strong(state, &free_word, state_word(SLOT_CLAIMED, pid)))
            continue;
        struct slot *s = arena_slot(a, i);
        atomic_store(&s->start_time, 0);
        atomic_store(&s->pid_namespace, namespace); /* from here on a death in the middle is seen as one */
        uint32_t epoch = atomic_fetch_add(&s->epoch, 1) + 1;
        atomic_store(&s->leaving, 0);
        atomic_store(&s->consuming, 0);
        atomic_store(&s->one_shot, consumer ? SLOT_ONE_SHOT : SLOT_HOST);
        atomic_store(&s->finish, 0);
        atomic_store(&s->finished, 0);
        atomic_store(&s->hasty, 0);
        atomic_store(&s->seat, 0);
        atomic_store(&s->consumer, 0);
        atomic_store(&s->ticket, 0);
        atomic_store(&s->news, news_word(epoch, 0));
        atomic_store(&s->news_ns, 0);
        atomic_store(&s->dead_since_ns, 0);
        atomic_store(&s->resource_len, 0);
        atomic_store(&s->sealed_first, 0);
        atomic_store(&s->sealed_count, 0);
        atomic_store(&s->sending, 0);
        for (int c = 0; c < COUNTERS; c++)
            atomic_store_explicit(&s->counters[c], 0, memory_order_relaxed);
        latency_clear(s->latencies);
        atomic_store(&s->report.state, EXPORTER_UNOPENED);
        atomic_store(&s->report.failures, 0);
        atomic_store(&s->report.begun_ns, 0);
        atomic_store(&s->report.delivered_ns, 0);
        atomic_store(&s->report.said_ns, 0);
        atomic_store(&s->report.said_len, 0);
        if (a->file) { /* which keeps its pages, and may have been written to at rest */
            request_table_wipe(slot_requests(a, s));
            ring_wipe(slot_ring(a, s));
        }
        ring_init(slot_ring(a, s));
        if (!consumer)
            atomic_fetch_add_explicit(&a->header->workers, 1, memory_order_relaxed);
        atomic_store(state, state_word(SLOT_LIVE, pid));
        if (!consumer && i >= a->slots / 2) /* the lower half is taken, by the living or by the dead */
            slot_wake_consumer(a);
        return (int)i;
    }
    if (!consumer)
        slot_wake_consumer(a);
    return -1;
}

void slot_wake_consumer(const struct arena *a)
{
    for (uint32_t i = 0; i < a->slots; i++) {
        struct slot *s = arena_slot(a, i);
        if (arena_slot_live(a, i) && atomic_load(&s->consuming) &&
            consumer_alive(a, consumer_word(i, atomic_load(&s->epoch)))) {
            atomic_fetch_add(&s->wake, 1);
            futex_wake_all(&s->wake);
            return;
        }
    }
}

bool slot_owner_dead(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    uint32_t word = atomic_load(&a->header->liveness[i]);
    if (word & FUTEX_OWNER_DIED)
        return true;
    if (word & FUTEX_TID_MASK && !(word & FUTEX_WAITERS))
        return false;
    bool live = arena_slot_live(a, i); /* who claims it has told nothing of itself yet */
    enum seat seat = live ? seat_ask(a, s) : SEAT_UNKNOWN;
    if (seat != SEAT_UNKNOWN)
        return seat == SEAT_LEFT;
    /* No thread yet, or a kernel without robust lists: its parent has reaped it, or its pid tells, if it is
     * one of our pid namespace. */
    uint32_t news = live ? news_of(s) : 0;
    if (news & NEWS_SET && !(news & NEWS_EXEC))
        return true;
    pid_t pid = arena_slot_pid(a, i);
    if (pid <= 0 || atomic_load(&s->pid_namespace) != own_pid_namespace())
        return false;
    if (kill(pid, 0) != 0)
        return errno == ESRCH;
    char state;
    uint64_t then = atomic_load(&s->start_time), now = process_stat(pid, &state);
    if (now == 0)
        return false;
    return state == 'Z' || state == 'X' || (then != 0 && then != now); /* nobody has reaped it yet */
}

void slot_judge(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    _Atomic uint32_t *liveness = &a->header->liveness[i];
    uint32_t word = atomic_load(liveness);
    pid_t pid = arena_slot_pid(a, i), tid = (pid_t)(word & FUTEX_TID_MASK);
    if (tid == 0 || word & FUTEX_OWNER_DIED || atomic_load(&s->pid_namespace) != own_pid_namespace())
        return; /* slot_owner_dead() knows, or nobody does */
    /* The thread, not the process: main may have ended, and left the process to its other threads. */
    uint64_t then = atomic_load(&s->start_time), now;
    if ((syscall(SYS_tgkill, pid, tid, 0) != 0 && (errno == ESRCH || errno == EINVAL)) ||
        (then != 0 && (now = process_start_time(pid)) != 0 && then != now))
        atomic_compare_exchange_strong(liveness, &word, word | FUTEX_OWNER_DIED);
}

bool consumer_alive(const struct arena *a, uint64_t word)
{
    uint32_t i = (uint32_t)word - 1;
    if (word == 0 || i >= a->slots)
        return false;
    struct slot *s = arena_slot(a, i);
    uint32_t live = atomic_load(&a->header->liveness[i]);
    return live != 0 && arena_slot_live(a, i) && atomic_load(&s->epoch) == (uint32_t)(word >> 32) &&
           !slot_owner_dead(a, i);
}

void slot_release(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    /* In a file by way of a state that is nobody's: a start that recovers it may give the slot back, too. */
    uint64_t state = atomic_load(arena_state(a, i));
    if (a->file && ((uint32_t)state != SLOT_LIVE ||
                    !atomic_compare_exchange_strong(arena_state(a, i), &state, SLOT_VACANT)))
        return;
    /* The pages go back to the system, but for those of the slot's head: a claim initialises everything there
     * except the epoch, which must go on counting. The table's own head may lie in the last of those pages.
     * A file keeps its room: a disk may be full when it is wanted back. */
    if (!a->file) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        uintptr_t begin = ((uintptr_t)slot_requests(a, s) + page - 1) / page * page,
                  end = (uintptr_t)s + a->slot_size;
        madvise((void *)begin, end - begin, MADV_REMOVE);
        request_table_init(slot_requests(a, s));
    }
    slot_vacate(a, i);
}

void slot_vacate(const struct arena *a, uint32_t i)
{
    struct slot *s = arena_slot(a, i);
    for (int c = 0; c < COUNTERS; c++)
        atomic_fetch_add_explicit(&a->header->former[c], atomic_exchange(&s->counters[c], 0),
                                  memory_order_relaxed);
    latency_move(a->header->former_latencies, s->latencies);
    atomic_store(&s->pid_namespace, 0);
    atomic_store(&a->header->liveness[i], 0);
    atomic_store(&s->consumer, 0);
    /* Until it has told its own, whoever claims it next is known by its pid alone: by the last owner's start
     * time it would look dead while it claims, and be given to another one. */
    atomic_store(&s->start_time, 0);
    atomic_store(arena_state(a, i), SLOT_FREE);
}
