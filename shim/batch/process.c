/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/process.h"
#include "arena/file.h"
#include "arena/liveness.h"
#include "arena/seat.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "batch/consumer.h"
#include "batch/loader.h"
#include "batch/report.h"
#include "batch/stuck.h"
#include "clock.h"
#include "futex.h"
#include "log.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* A process that is about to exec, or leaves, holds its ring until it is gone: that is looked at often, but
 * not for long. */
static const uint64_t LEAVING_PAUSE_NS = 2000000, LEAVING_MOST_NS = 2000000000;
static const uint64_t LINGER_TICK_NS = 100000000, LINGER_NS = 1000000000;
/* How often the permanent one looks whether its tree is still there: always, and when it seems about to go.
 */
static const uint64_t LOOK_NS = 1000000000, LOOK_SOON_NS = 50000000, SOON_NS = 3000000000;
static const uint64_t WAITS_NS = 250000000;
/* One-shot consumers that come so soon one after the other are one that should stay. */
static const uint64_t AGAIN_NS = UINT64_C(10000000000);
/* An unfinished record of the living is passed over after so long: its producer was left by a longjmp. */
static const uint64_t STUCK_NS = UINT64_C(30000000000);

static struct arena arena;
static uint64_t deadline; /* CLOCK_MONOTONIC, 0: none */
static volatile sig_atomic_t asked_to_end;

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static bool time_is_up(void)
{
    return deadline && now_ns() >= deadline;
}

static int host_wait(void *ctx, struct pollfd *fds, unsigned n, int timeout_ms)
{
    (void)ctx;
    int ready = poll(fds, n, timeout_ms);
    return ready <= 0 && time_is_up() ? -2 : ready;
}

static void host_rest_point(void *ctx)
{
    (void)ctx;
}

static void on_end(int signal_number)
{
    (void)signal_number;
    asked_to_end = 1;
}

/* It was started with every signal blocked. What would stop or end it is not for it: it goes by itself, when
 * all is sent; asked to end, it does not linger, and a permanent one looks more often whether it may. */
static void decide_signals(void)
{
    static const int ignored[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM, SIGUSR1,
                                  SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    struct sigaction end = {.sa_handler = on_end};
    sigaction(SIGTERM, &end, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void announce(_Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    futex_wake_all(word);
}

/* Until nothing is left to do here. */
static void work(struct consumer *c, struct slot *own, bool linger)
{
    uint64_t foreign_since = 0, idle_since = now_ns();
    while (!time_is_up()) {
        uint32_t seen = atomic_load(&own->wake);
        uint64_t before = atomic_load(&own->counters[COUNT_SWEPT]);
        bool unsent = sweep_unsent(&arena);
        c->impatient =
            deadline || atomic_load(&own->hasty) || arena_mappings(&arena) == 1; /* nobody brings news */
        enum consumer_result result = consumer_run(c, deadline);
        if (result >= CONSUMER_STOPPED)
            return;
        uint64_t now = now_ns();
        if (unsent || atomic_load(&own->counters[COUNT_SWEPT]) != before)
            idle_since = now;
        if (result == CONSUMER_FOREIGN && now - (foreign_since ? foreign_since : now) < LEAVING_MOST_NS) {
            foreign_since = foreign_since ? foreign_since : now;
            futex_wait(&own->wake, seen, LEAVING_PAUSE_NS);
            continue;
        }
        foreign_since = 0;
        if (result == CONSUMER_WAITS) {
            futex_wait(&own->wake, seen, LINGER_TICK_NS);
            continue;
        }
        bool stay = linger && !asked_to_end && !atomic_load(&own->finish) && now - idle_since < LINGER_NS &&
                    arena_mappings(&arena) != 1 && sweep_other_consumer(&arena, c->me) == SWEEP_NOBODY;
        if (stay) {
            futex_wait(&own->wake, seen, LINGER_TICK_NS);
            continue;
        }
        /* Withdraw, then look: whoever relied on us before may have gone by now. */
        bool many;
        atomic_exchange(&own->leaving, 1);
        consumer_release(&arena, c->me); /* rings that we have taken count as nobody's, too */
        if (sweep_other_consumer(&arena, c->me) != SWEEP_NOBODY || !sweep_orphaned(&arena, &many))
            return;
        atomic_store(&own->leaving, 0);
        if (result == CONSUMER_FOREIGN)
            return; /* held by a process that neither leaves nor lets go: it is its own consumer */
    }
}

/* -- as long as the tree -- */

static bool tree_gone(void)
{
    return arena_mappings(&arena) == 1;
}

/* Of several that were started at once one stays. */
static bool become_permanent(struct consumer *c, struct slot *own, enum permanent_why why)
{
    _Atomic uint64_t *word = &arena.header->permanent;
    uint64_t was = atomic_load(word);
    do {
        if (was != 0 && consumer_alive(&arena, was))
            return false;
    } while (!atomic_compare_exchange_weak(word, &was, c->me));
    atomic_store(&arena.header->permanent_why, why);
    atomic_store(&own->one_shot, SLOT_PERMANENT);
    return true;
}

static struct stuck oldest[SLOTS_MAX];

static bool stuck(uint32_t i)
{
    return stuck_for(&oldest[i], slot_ring(&arena, arena_slot(&arena, i)), now_ns(), STUCK_NS);
}

/* Until no other process has the arena. */
static void stay(struct consumer *c, struct slot *own)
{
    const uint64_t period = (uint64_t)c->config->schedule_delay_ms * 1000000u;
    uint64_t next = now_ns() + period, soon_until = 0;
    deadline = 0;
    c->stopping = tree_gone;
    while (!tree_gone()) {
        uint32_t seen = atomic_load(&own->wake), asked = atomic_load(&own->finish);
        uint64_t now = now_ns();
        bool flush = asked != atomic_load(&own->finished), tick = now >= next;
        c->full_only = !tick && !flush;
        c->paced = !flush;
        c->impatient = flush && atomic_exchange(&own->hasty, 0);
        c->stuck = tick ? stuck : NULL;
        enum consumer_result result = consumer_run(c, 0);
        if (result == CONSUMER_STOPPED)
            continue;
        now = now_ns();
        if (tick)
            next = now + period;
        if (flush) {
            atomic_store(&own->finished, asked);
            futex_wake_all(&own->finished);
            soon_until = now + SOON_NS; /* somebody leaves */
        }
        uint64_t most = asked_to_end || now < soon_until ? LOOK_SOON_NS : LOOK_NS;
        if (result == CONSUMER_WAITS && most > WAITS_NS)
            most = WAITS_NS;
        if (now < next)
            futex_wait(&own->wake, seen, next - now < most ? next - now : most);
    }
    c->full_only = c->paced = false;
    c->stuck = NULL;
    c->stopping = time_is_up;
}

/* Everything is nobody's now. A receiver that does not answer has one export's time for all of it. */
static void last_batches(void)
{
    uint32_t timeout = config_get_quietly()->exporter.timeout_ms;
    deadline = now_ns() + (uint64_t)(timeout ? timeout : 10000) * 1000000u;
}

/* -- */

static enum permanent_why why_it_stays(const struct consume_options *options, const struct config *config)
{
    return !options->stay           ? PERMANENT_AGAIN
           : config->export_process ? PERMANENT_ASKED
                                    : PERMANENT_NO_EXPORTER;
}

static bool comes_again(void)
{
    uint64_t now = now_ns(), last = atomic_exchange(&arena.header->one_shot_ns, now);
    return last != 0 && now - last < AGAIN_NS;
}

const char consume_said[] = "the exporter can not be opened";

/* In `arena`, which is attached. */
static const char *consume_here(const struct consume_options *options, const struct config *config)
{
    arena.asks = true;
    if (options->within_ms)
        deadline = now_ns() + (uint64_t)options->within_ms * 1000000u;
    int slot = slot_claim(&arena, true);
    if (slot < 0)
        return "every consumer's place in it is taken";
    struct slot *own = arena_slot(&arena, (uint32_t)slot);
    struct consumer c = {.arena = &arena,
                         .config = config,
                         .rest_point = host_rest_point,
                         .stopping = time_is_up,
                         .me = consumer_word((uint32_t)slot, atomic_load(&own->epoch))};
    liveness_hold(&arena.header->liveness[slot]);
    atomic_store(&own->start_time, process_start_time(getpid()));
    /* One that the kernel does not tell when the tree has gone would stay for ever. */
    bool stays = (options->stay || (!options->sweep && comes_again())) && arena_mappings(&arena) != 0 &&
                 become_permanent(&c, own, why_it_stays(options, config));
    atomic_store(&own->consuming, 1);

    static const struct exporter_host host = {
        .wait = host_wait, .rest_point = host_rest_point, .log = loader_log};
    loader_at(options->exporter);
    report_to(own, config);
    c.ops = options->exporter ? loader_open(config, &host, &c.exporter) : NULL;
    report_opened(c.exporter != NULL);
    if (!c.ops && stays) /* told before it is said that it came: who waits for that wants to know */
        atomic_store(&arena.header->permanent_ns, UINT64_MAX);
    announce(&arena.header->came);
    if (!c.ops) { /* nothing is taken: somebody who has one may come yet */
        if (stays && config->export_process)
            log_warn("FORKSPAN_EXPORT=process is not possible here: each worker has a thread that sends");
    } else if (stays) {
        stay(&c, own);
        last_batches();
        work(&c, own, false);
        seat_remove(&arena);
    } else if (!options->stay) {
        work(&c, own, options->linger);
    }
    atomic_store(&own->leaving, 1);
    consumer_release(&arena, c.me);
    slot_release(&arena, (uint32_t)slot);
    announce(&arena.header->left);
    if (!c.ops)
        return options->exporter ? consume_said : "forkspan-exporter.so is not there";
    bool many;
    return options->file && sweep_orphaned(&arena, &many) ? "not all could be sent: the rest stays there"
                                                          : NULL;
}

const char *consume(const struct consume_options *options)
{
    decide_signals();
    const struct config *config = config_get_quietly();
    const char *why =
        options->file ? arena_file_open(&arena, options->file, false) : arena_attach(&arena, options->id);
    if (why)
        return why;
    if (options->file)
        arena_join(&arena, options->life);
    return consume_here(options, config);
}

const char *consume_rest(const struct arena *of, const struct consume_options *options)
{
    arena = *of;
    return consume_here(options, config_get_quietly());
}
