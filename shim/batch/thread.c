/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/thread.h"
#include "arena/liveness.h"
#include "arena/mend.h"
#include "arena/slot.h"
#include "batch/consumer.h"
#include "batch/loader.h"
#include "batch/report.h"
#include "batch/rest.h"
#include "batch/stuck.h"
#include "birth.h"
#include "clock.h"
#include "fork/generation.h"
#include "fork/knobs.h"
#include "futex.h"
#include "log.h"
#include "tls.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STACK_SIZE = 512 * 1024,
    LEAVING_PAUSE_NS = 2000000,
    WAITS_PAUSE_NS = 250000000,
    NEWS_SHARE = 4, /* such a part of its time an exit gives the news of how others died */
};

static const uint64_t STUCK_NS = 3000000000;

/* What others want of the thread; each is a futex word. */
static _Atomic uint32_t
    *_Atomic wake; /* counts reasons to look at the rings; in the slot, so that others may, too */
static _Atomic uint32_t flush_asked; /* tickets given out */
static _Atomic uint32_t flush_done;  /* the last ticket served */
static _Atomic uint32_t stop;        /* 1: begin no batch, 2: and it is quiet */
static _Atomic uint32_t last_one;
static _Atomic bool undelivered;
static _Atomic uint64_t flush_until; /* CLOCK_MONOTONIC */
static _Atomic bool asleep;          /* it waits for *wake to change; else it looks at it by itself */
static _Atomic bool running;         /* or about to: somebody starts it */
static _Atomic uint64_t there;       /* the generation in which it began to be one of the process's threads */
static _Atomic uint64_t meant_for;   /* the generation of whose slot it is */

static struct consumer consumer;
static uint32_t own_slot;

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static bool stopping(void)
{
    return atomic_load_explicit(&stop, memory_order_relaxed) != 0;
}

/* At rest. Pairs with thread_wake: of its change of *wake and our setting of `asleep` one sees the other. */
static void sleep_until_woken(uint32_t seen, uint64_t ns)
{
    rest_enter();
    atomic_store(&asleep, true);
    futex_wait(wake, seen, ns);
    atomic_store(&asleep, false);
    rest_leave();
}

static int host_wait(void *ctx, struct pollfd *fds, unsigned n, int timeout_ms)
{
    (void)ctx;
    if (n == 0) { /* a pause: a flush or a stop cuts it short */
        uint32_t seen = atomic_load(wake);
        uint64_t pause = timeout_ms > 0 ? (uint64_t)timeout_ms * 1000000u : 1,
                 flush = atomic_load(&flush_until);
        if (stopping())
            return -2;
        if (flush)
            pause = now_ns() < flush && flush - now_ns() < pause ? flush - now_ns() + 1 : pause;
        sleep_until_woken(seen, pause);
        flush = atomic_load(&flush_until);
        return stopping() || (flush && now_ns() >= flush) ? -2 : 0;
    }
    rest_enter();
    int ready = poll(fds, n, timeout_ms);
    rest_leave();
    uint64_t until = atomic_load(&flush_until);
    if (ready == 0 && until && now_ns() >= until)
        return -2;
    return ready;
}

static void host_rest_point(void *ctx)
{
    (void)ctx;
    rest_point();
}

static const struct exporter_host host = {
    .wait = host_wait, .rest_point = host_rest_point, .log = loader_log};

/* Exports everything, then says that ticket `ticket` is served. */
static void serve_flush(uint32_t ticket)
{
    consumer.full_only = consumer.paced = false;
    const uint64_t until = atomic_load(&flush_until), begin = now_ns();
    const uint64_t patient_until = until > begin ? begin + (until - begin) / NEWS_SHARE : begin;
    enum consumer_result left;
    consumer.keeps = !atomic_load(&last_one); /* a process that goes on tries again */
    for (;;) {
        consumer.impatient = atomic_load(&last_one) && now_ns() >= patient_until;
        left = consumer_run(&consumer, until);
        bool again = left == CONSUMER_FOREIGN || (left == CONSUMER_WAITS && !consumer.impatient);
        if (!again || !atomic_load(&last_one) || now_ns() >= until)
            break;
        /* Workers that leave together: what one still holds is ours as soon as it lets go or is dead. And a
         * parent that is busy stopping its children has yet to see how another one died. */
        sleep_until_woken(atomic_load(wake), LEAVING_PAUSE_NS);
    }
    consumer.keeps = false;
    atomic_store(&undelivered, left == CONSUMER_LATER);
    atomic_store(&flush_until, 0);
    atomic_store(&flush_done, ticket);
    futex_wake_all(&flush_done);
}

/* Our own ring's: where this thread runs the producer does, too. */
static struct stuck oldest;

static void *batch_thread(void *arg)
{
    (void)arg;
    tls.own = true;
    if (atomic_load(&meant_for) != generation_now() && !KNOB_OFF(own_start)) {
        rest_forget();
        atomic_store(&running, false);
        return NULL;
    }
    atomic_store(&there, generation_now());
    if (KNOB_OFF(raw_mask))
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &(uint64_t){UINT64_MAX}, NULL, 8);
    struct slot *s = arena_slot(consumer.arena, own_slot);
    if (!liveness_hold(&consumer.arena->header->liveness[own_slot]))
        log_debug("no robust futexes here: a dead worker is known by its pid");
    birth_tell(consumer.arena, consumer.config, own_slot);
    /* Opened while not at rest: a fork waits for it. */
    loader_after_fork_child();
    report_to(s, consumer.config);
    consumer.ops = loader_open(consumer.config, &host, &consumer.exporter);
    report_opened(consumer.exporter != NULL);
    uint64_t nobody = 0;
    atomic_compare_exchange_strong(&s->consumer, &nobody, consumer.me);
    atomic_store(&s->consuming, 1);
    mend_remember(consumer.arena, own_slot);
    oldest = (struct stuck){0};

    uint64_t period = (uint64_t)consumer.config->schedule_delay_ms * 1000000u;
    uint32_t seen = atomic_load(wake);
    uint64_t again = UINT64_MAX; /* before the tick: for the dead, or for a receiver that fails */
    for (uint64_t next = now_ns() + period;;) {
        uint32_t ticket = atomic_load(&flush_asked);
        if (atomic_load(&stop)) {
            consumer_release(consumer.arena, consumer.me);
            atomic_store(&stop, 2);
            futex_wake_all(&stop);
            rest_enter();
            for (;;) /* the process is in exit: nothing of it is touched any more */
                futex_wait(&stop, 2, 0);
        }
        if (ticket != atomic_load(&flush_done)) {
            serve_flush(ticket);
            continue;
        }
        uint64_t now = now_ns(), until = again < next ? again : next;
        if (now < until) {
            sleep_until_woken(seen, until - now);
            if (atomic_load(wake) == seen && now_ns() < until)
                continue; /* a signal or nothing */
        }
        if (atomic_load(&flush_asked) != atomic_load(&flush_done) || atomic_load(&stop))
            continue;
        seen = atomic_load(wake); /* before the look: who wakes us during it is not overheard */
        bool tick = now_ns() >= next;
        if (tick) {
            mend_slot(consumer.arena, own_slot);
            consumer.over_torn = stuck_for(&oldest, slot_ring(consumer.arena, s), now_ns(), STUCK_NS);
        }
        consumer.full_only = !tick;
        consumer.paced = true;
        enum consumer_result left = consumer_run(&consumer, 0);
        now = now_ns();
        again = UINT64_MAX;
        if (left == CONSUMER_WAITS)
            again = now + WAITS_PAUSE_NS;
        else if (left == CONSUMER_LATER && consumer.resume_ns > now)
            again = consumer.resume_ns;
        if (tick)
            next = now_ns() + period;
    }
    return NULL;
}

bool thread_start(const struct arena *a, const struct config *config, uint32_t slot, uint64_t generation)
{
    bool no = false;
    if (generation != generation_now() && !KNOB_OFF(own_start))
        return false;
    if (!atomic_compare_exchange_strong(&running, &no, true))
        return true;
    consumer = (struct consumer){.arena = a,
                                 .config = config,
                                 .rest_point = host_rest_point,
                                 .stopping = stopping,
                                 .me = consumer_word(slot, atomic_load(&arena_slot(a, slot)->epoch))};
    own_slot = slot;
    atomic_store(&meant_for, generation);
    wake = &arena_slot(a, slot)->wake;
    if (!rest_make()) {
        atomic_store(&running, false);
        return false;
    }
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    /* The host's signals are for the host's threads. The synchronous ones stay: masked, they would kill at
     * once. */
    sigset_t all, before;
    sigfillset(&all);
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, KNOB_OFF(mask) ? NULL : &all, &before);
    pthread_t id;
    int error = pthread_create(&id, &attr, batch_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (error) {
        rest_forget();
        atomic_store(&running, false);
        log_warn("the batch thread can not be started (%s): trying again later", strerror(error));
    }
    return error == 0;
}

bool thread_running(void)
{
    return atomic_load_explicit(&running, memory_order_relaxed);
}

bool thread_others(void)
{
    struct stat st; /* one directory a thread, two links besides */
    bool ours = atomic_load(&there) == generation_now();
    return stat("/proc/self/task", &st) != 0 || st.st_nlink - 2 > (ours ? 2u : 1u);
}

void thread_wake(void)
{
    _Atomic uint32_t *w = wake;
    if (!thread_running() || !w)
        return; /* none, or another thread is about to start it: then it looks by itself */
    atomic_fetch_add(w, 1);
    if (atomic_load(&asleep))
        futex_wake_all(w);
}

/* Waits until the thread has answered; its state is in *word. */
static bool answered(_Atomic uint32_t *word, bool (*done)(uint32_t value, uint32_t want), uint32_t want,
                     uint32_t timeout_ms)
{
    uint64_t until = now_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        uint32_t v = atomic_load(word);
        if (done(v, want))
            return true;
        uint64_t now = now_ns();
        if (now >= until)
            return false;
        futex_wait(word, v, until - now);
    }
}

static bool ticket_served(uint32_t value, uint32_t want)
{
    return (int32_t)(value - want) >= 0;
}

static bool equal(uint32_t value, uint32_t want)
{
    return value == want;
}

bool thread_flush(uint32_t timeout_ms, bool last)
{
    if (!thread_running())
        return false;
    if (last)
        atomic_store(&last_one, 1);
    atomic_store(&flush_until, now_ns() + (uint64_t)timeout_ms * 1000000u);
    uint32_t ticket = atomic_fetch_add(&flush_asked, 1) + 1;
    thread_wake();
    return answered(&flush_done, ticket_served, ticket, timeout_ms);
}

bool thread_undelivered(void)
{
    return atomic_load(&undelivered);
}

bool thread_quiesce(uint32_t timeout_ms)
{
    if (!thread_running())
        return true;
    uint32_t none = 0;
    atomic_compare_exchange_strong(&stop, &none, 1);
    thread_wake();
    return answered(&stop, equal, 2, timeout_ms);
}

void thread_postfork_child(void)
{
    if (KNOB_OFF(thread_forgets))
        return;
    /* Never joined, never signalled: it is not here. */
    wake = NULL;
    atomic_store(&running, false);
    atomic_store(&there, 0);
    atomic_store(&asleep, false);
    atomic_store(&flush_asked, 0);
    atomic_store(&flush_done, 0);
    atomic_store(&flush_until, 0);
    atomic_store(&last_one, 0);
    atomic_store(&stop, 0);
    rest_forget();
    report_forget();
    /* its buffer may have been moving while we forked: leaked, not reused */
    consumer.buffer = NULL;
    consumer.buffer_size = 0;
}
