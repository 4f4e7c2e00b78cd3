/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"
#include "arena/requests.h"
#include "arena/seat.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "batch/loader.h"
#include "batch/oneshot.h"
#include "batch/permanent.h"
#include "batch/queue.h"
#include "batch/thread.h"
#include "birth.h"
#include "clock.h"
#include "config/program.h"
#include "config/resource.h"
#include "fork/generation.h"
#include "fork/knobs.h"
#include "fork/python.h"
#include "futex.h"
#include "handler.h"
#include "io/close.h"
#include "io/inherited.h"
#include "log.h"
#include "next.h"
#include "process_fork.h"
#include "process_self.h"
#include "tls.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

_Thread_local struct thread_state tls;

struct process_self self;

/* The generation in which `self` holds: a raw fork's child finds another one. 0: nothing is set up. */
static _Atomic uint64_t ready;
static _Atomic bool made; /* the arena is there */
static _Atomic uint64_t
    claiming; /* who sets up: its thread block's address below its generation; 0: nobody */
static _Atomic uint32_t
    woken_at;                   /* number of the ring's head when the thread was last told of a full batch */
static _Atomic bool thread_due; /* to be started at the next place that is no signal handler */
static _Atomic uint64_t uncounted[COUNTERS];
static const _Atomic uint64_t nothing_set;
const _Atomic uint64_t *process_sampling_word = &nothing_set;

extern char __libc_single_threaded __attribute__((weak));

static bool only_thread(void)
{
    return &__libc_single_threaded && __libc_single_threaded;
}

bool process_has_arena(void)
{
    return atomic_load(&made);
}

uint32_t process_fork_wait_ms(void)
{
    return self.config ? self.config->fork_wait_ms : 200;
}

bool process_own_thread(void)
{
    return tls.own;
}

void process_count(enum counter c, uint64_t n)
{
    struct slot *s = self.slot;
    atomic_fetch_add_explicit(s ? &s->counters[c] : &uncounted[c], n, memory_order_relaxed);
}

void process_answered(uint64_t ns, bool error)
{
    struct slot *s = self.slot;
    if (!s)
        return;
    latency_add(s->latencies, ns);
    if (error)
        atomic_fetch_add_explicit(&s->counters[COUNT_ERRORS], 1, memory_order_relaxed);
}

uint64_t process_counted(enum counter c)
{
    struct slot *s = self.slot;
    return atomic_load_explicit(s ? &s->counters[c] : &uncounted[c], memory_order_relaxed);
}

/* In a file a tree may have left something that died whole. It is sent now, not with the first request of
 * this one. */
static void recover_others(void)
{
    bool many;
    if (self.arena.file && sweep_orphaned(&self.arena, &many) &&
        sweep_other_consumer(&self.arena, 0) == SWEEP_NOBODY)
        oneshot_start(&self.arena, ONESHOT_LEAVE, 0);
}

enum { START_MS = 2000 }; /* once a tree; it takes 5 */

/* The one that `forkspan run` has made. Where it is not there any more, or another user's, or of another
 * version, or its processes send to somewhere else, this program is the first of a tree of its own. */
static bool join_arena(void)
{
    if (self.config->arena_id < 0)
        return false;
    const char *why = arena_attach(&self.arena, self.config->arena_id);
    if (!why && self.arena.header->destination != config_destination()) {
        arena_detach(&self.arena);
        why = "it is for another receiver";
    }
    if (why)
        log_debug("arena %d: %s: making another one", self.config->arena_id, why);
    return !why;
}

/* The arena exists after this, or tracing is off. Ordinary context. */
static bool have_arena(void)
{
    if (atomic_load(&made))
        return true;
    if (atomic_load(&self.off))
        return false;
    self.config = config_get();
    if (self.config->disabled || self.config->exporter.kind == EXPORTER_NONE ||
        !program_wanted(self.config->only) || !(join_arena() || arena_make(&self.arena, self.config))) {
        atomic_store(&self.off, true);
        return false;
    }
    process_sampling_word = &self.arena.header->sampling; /* fresh memory in its place has one, too */
    syscall_resolve(); /* a raw fork's child may find the loader's lock held by a thread that is not there */
    seat_take(&self.arena);
    oneshot_prepare(&self.arena, self.config);
    self.by_process = self.config->export_process && oneshot_start_permanent(&self.arena, START_MS);
    if (self.config->export_process && !self.by_process)
        log_warn("FORKSPAN_EXPORT=process is not possible here: each worker has a thread that sends");
    atomic_store(&self.generation, (uint32_t)generation_now());
    atomic_store(&made, true);
    recover_others();
    return true;
}

void process_listens(void)
{
    if (atomic_load(&self.off) || (!self.listens && in_signal_handler()) || !have_arena())
        return;
    self.answers_for = true;
    if (self.listens)
        return;
    self.listens = true;
    next_resolve_all();
    python_look();
    resource_prepare(self.config);
    /* Here, in the process that listens, before its workers exist and before anybody chroots or drops rights.
     */
    static const struct exporter_host host = {.log = loader_log};
    struct exporter *exporter;
    if (!process_exports() && !loader_open(self.config, &host, &exporter))
        self.by_process = oneshot_start_permanent(&self.arena, 0);
}

void process_forks(void)
{
    static _Atomic bool looked;
    if (atomic_load(&made) || atomic_load(&looked) || atomic_load(&self.off))
        return;
    if (!inherited_listener())
        atomic_store(&looked, true);
    else if (!in_signal_handler() && !atomic_exchange(&looked, true))
        process_listens();
}

bool process_claim(void)
{
    const uint64_t now = generation_now(), seat = seat_own();
    self.home = &self.arena;
    if (!arena_admits(&self.arena, self.config) && !arena_renew(&self.arena))
        return false;
    int i = slot_claim(&self.arena, false);
    if (i < 0) {
        /* More processes than slots. A ring of its own, then: all is as ever, but that nobody sweeps it. */
        uint32_t before = atomic_fetch_add(&self.arena.header->without_slot, 1);
        process_count(COUNT_NO_ROOM, 1);
        if ((before & (before + 1)) == 0) /* the 1st, 2nd, 4th, ...: each request may have a process */
            log_warn("more processes serve than FORKSPAN_WORKERS (%u), %u times so far: what those without a "
                     "place have not sent is lost when they are killed",
                     self.arena.slots - CONSUMER_SLOTS, before + 1);
        if (!arena_make_alone(&self.alone, &self.arena) || (i = slot_claim(&self.alone, false)) < 0)
            return false;
        self.home = &self.alone;
    }
    struct slot *s = arena_slot(self.home, (uint32_t)i);
    size_t len = resource_encode(self.config, s->resource, RESOURCE_MAX);
    atomic_store(&s->resource_len, (uint32_t)len);
    atomic_store(&s->ticket, self.ticket);
    seat_note(s, seat);
    /* Producers write through a second mapping of the same memory: in a fork's child private zeroes are put
     * over it, while the arena itself stays. */
    void *alias = mremap(s, 0, self.arena.slot_size, MREMAP_MAYMOVE);
    if (alias == MAP_FAILED)
        alias = s;
    self.index = (uint32_t)i;
    atomic_store(&self.claimed_in, now);
    atomic_store(&woken_at, 0);
    self.ring = slot_ring(self.home, alias);
    self.slot = alias;
    for (int c = 0; c < COUNTERS; c++)
        atomic_fetch_add(&s->counters[c], atomic_exchange(&uncounted[c], 0));
    if (generation_now() == now)
        return true;
    /* The child of a fork in a handler that interrupted this: the slot is its parent's. */
    self.slot = NULL;
    self.ring = NULL;
    return false;
}

bool process_start_thread(void)
{
    const uint64_t of =
        atomic_load(&self.claimed_in); /* first: the index of a later claim is refused with it */
    return thread_start(self.home, self.config, self.index, of);
}

static void reinit(bool no_thread);

/* A child that no layer saw: what the others do at a fork is done at its first word. It takes no seat: by now
 * it may be another user's, or in a sandbox. */
static void raw_child(void)
{
    bool alone = only_thread();
    queue_reinit();
    seat_forget();
    reinit(!alone);
    thread_postfork_child();
}

enum { CLAIM_WAIT_MS = 1000, ADDRESS_BITS = 48 };

static const uint64_t LOOK_EVERY_NS = 1000000000;

/* One thread sets up; the others wait for it, or their first spans would be lost. Not in a handler, nor for
 * the thread that a handler of ours interrupted, nor for one that stayed in the parent. */
static bool claim_turn(uint64_t now, bool signal_safe_only)
{
    const uint64_t me = now << ADDRESS_BITS | ((uintptr_t)&tls & ((UINT64_C(1) << ADDRESS_BITS) - 1));
    uint64_t until = 0, holder = 0;
    while (!atomic_compare_exchange_strong(&claiming, &holder, me)) {
        if (holder == me)
            return false;
        if (holder == 0 || (holder ^ me) >> ADDRESS_BITS)
            continue; /* free by now, or of another process: ours with the next swap */
        uint64_t t = clock_ns(CLOCK_MONOTONIC);
        until = until ? until : t + CLAIM_WAIT_MS * UINT64_C(1000000);
        if (signal_safe_only || t >= until)
            return false;
        sched_yield();
        holder = 0;
    }
    return true;
}

/* The tree's consumer is there, or has been asked for; false: to be asked for at a better place. */
static bool have_permanent(bool signal_safe_only)
{
    if (!permanent_lost(&self.arena))
        return true;
    if (signal_safe_only)
        return false;
    oneshot_start_permanent(&self.arena, 0); /* where this process may not, its parent will */
    return true;
}

static bool set_up(bool serving, bool signal_safe_only)
{
    uint64_t now = generation_now();
    if (atomic_load(&self.off) || (!atomic_load(&made) && (signal_safe_only || in_signal_handler())) ||
        !claim_turn(now, signal_safe_only))
        return false;
    bool ok = have_arena();
    if (ok && atomic_load(&self.generation) != 0 && atomic_load(&self.generation) != (uint32_t)now)
        raw_child();
    atomic_store(&self.generation, (uint32_t)now);
    bool fresh = !self.slot;
    ok = ok && (self.slot || process_claim());
    if (ok) {
        self.served |= serving;
        if (fresh && (!self.served || self.no_thread || process_exports()) && generation_now() == now)
            birth_tell(self.home, self.config, self.index);
        bool wants = self.served && !self.no_thread && !thread_running();
        if (process_exports())
            atomic_store(&thread_due, !have_permanent(signal_safe_only));
        else if (wants && (signal_safe_only || in_signal_handler()))
            atomic_store(&thread_due, true);
        else if (wants)
            atomic_store(&thread_due, !process_start_thread());
        if (self.served || !serving)
            atomic_store(&ready, now);
    }
    atomic_store(&claiming, 0);
    return ok;
}

bool process_serves(bool signal_safe_only)
{
    uint64_t now = atomic_load_explicit(&generation_page->generation, memory_order_relaxed);
    if (__builtin_expect(now != 0 && atomic_load_explicit(&ready, memory_order_acquire) == now && self.served,
                         1) &&
        (signal_safe_only || !atomic_load_explicit(&thread_due, memory_order_relaxed)))
        return true;
    return set_up(true, signal_safe_only);
}

bool process_accepts(void)
{
    if (atomic_load_explicit(&thread_due, memory_order_relaxed))
        return process_serves(false);
    if (atomic_load_explicit(&self.off, memory_order_relaxed))
        return false;
    if (atomic_load(&made))
        return true;
    if (in_signal_handler() || !claim_turn(generation_now(), false))
        return false;
    bool ok = have_arena();
    atomic_store(&claiming, 0);
    return ok;
}

bool process_makes_spans(bool signal_safe_only)
{
    uint64_t now = atomic_load_explicit(&generation_page->generation, memory_order_relaxed);
    if (__builtin_expect(now != 0 && atomic_load_explicit(&ready, memory_order_acquire) == now, 1)) {
        if (self.served || self.listens || thread_running() || self.no_thread || signal_safe_only ||
            process_exports())
            return true;
        /* A program that neither listens nor serves: its thread comes when a span has waited for the schedule
         * delay, or at a half-full ring. A short command never pays for one. */
        struct ring *r = self.ring;
        uint32_t queued = r ? ring_queued(r) : 0; /* none: in the child of a fork that interrupted this */
        if (queued == 0) {
            self.oldest_ns = 0;
            return true;
        }
        uint64_t t = clock_ns(CLOCK_MONOTONIC_COARSE);
        if (self.oldest_ns == 0)
            self.oldest_ns = t;
        if (queued >= self.config->max_queue / 2 ||
            t - self.oldest_ns >= (uint64_t)self.config->schedule_delay_ms * 1000000u)
            process_start_thread();
        return true;
    }
    return set_up(false, signal_safe_only);
}

/* Everything before `to` has been taken out of the ring. */
static bool emptied(const struct ring *r, ring_at to)
{
    return ((at_number(atomic_load(&r->tail)) - at_number(to)) & RING_NUMBER_MASK) <= RING_NUMBER_MASK / 2;
}

bool process_flush(uint32_t timeout_ms)
{
    if (!process_makes_spans(false))
        return true; /* it has queued nothing */
    enum { PAUSE_NS = 2000000 };
    static _Atomic uint32_t nothing; /* a word nobody wakes */
    struct ring *r = self.ring;
    if (!r)
        return true; /* nor has the child of a fork that interrupted this */
    const ring_at to = ring_head(r);
    const uint64_t until = clock_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;
    const uint64_t failed = process_counted(COUNT_FAILED);
    if (!emptied(r, to) && process_exports()) {
        permanent_flush(&self.arena, false, timeout_ms);
        return emptied(r, to) && process_counted(COUNT_FAILED) == failed;
    }
    if (!emptied(r, to) && !self.no_thread)
        process_start_thread();
    while (!emptied(r, to)) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now >= until)
            return false;
        if (thread_running() && thread_flush((uint32_t)((until - now + 999999u) / 1000000u), false)) {
            if (emptied(r, to))
                break;
            if (thread_undelivered())
                return false;
        }
        /* What another process is at, or will take because there is no thread here. */
        uint64_t me = consumer_word(self.index, atomic_load(&arena_slot(self.home, self.index)->epoch));
        if (!thread_running() && sweep_other_consumer(self.home, me) == SWEEP_NOBODY)
            return false;
        slot_wake_consumer(&self.arena);
        futex_wait(&nothing, 0, PAUSE_NS);
    }
    return process_counted(COUNT_FAILED) == failed;
}

struct ring *process_ring(void)
{
    return self.ring;
}

struct request_table *process_requests(void)
{
    return self.slot ? slot_requests(&self.arena, self.slot) : NULL;
}

/* It was killed, or left in vain: at its next accept or first read this process starts it again, once a
 * second at most, or a thread of its own. */
static void look_for_permanent(void)
{
    static _Atomic uint64_t looked_ns;
    uint64_t now = clock_ns(CLOCK_MONOTONIC_COARSE), then = atomic_load(&looked_ns);
    if (now - then >= LOOK_EVERY_NS && atomic_compare_exchange_strong(&looked_ns, &then, now))
        atomic_store(&thread_due, true);
}

void process_committed(void)
{
    struct ring *r = self.ring;
    if (!r)
        return;
    if (self.by_process && permanent_lost(&self.arena) && !thread_running())
        look_for_permanent();
    if (ring_queued(r) < self.config->max_batch)
        return;
    /* Once a batch: of several that commit at once none may meet the very number, and one of them is enough.
     */
    uint32_t head = at_number(ring_head(r)), told = atomic_load_explicit(&woken_at, memory_order_relaxed);
    if (((head - told) & RING_NUMBER_MASK) >= self.config->max_batch &&
        atomic_compare_exchange_strong(&woken_at, &told, head)) {
        thread_wake();
        if (process_exports())
            permanent_wake(&self.arena);
    }
}

void process_drain(void)
{
    if (!self.slot || !thread_running())
        return;
    struct slot *s = arena_slot(self.home, self.index);
    if (atomic_load(&s->consumer) == consumer_word(self.index, atomic_load(&s->epoch)))
        queue_seal(self.home, s, self.config->max_batch, false);
}

void process_drained(void)
{
    if (self.ring && thread_running() && ring_queued(self.ring) != 0)
        thread_wake();
}

/* The slot of the parent of this process, and the place of the alias that it had for it. */
static struct {
    char *from;
    uint32_t index, epoch;
} inherited;

static _Atomic uint32_t forks_made;

uint32_t process_forks_made(void)
{
    return atomic_load_explicit(&forks_made, memory_order_acquire);
}

void process_will_fork(void)
{
    atomic_fetch_add(&forks_made, 1);
}

struct request *process_inherited_request(struct request *r, uint32_t *epoch)
{
    const char *at = (const char *)r;
    if (!inherited.from || at < inherited.from || at >= inherited.from + self.arena.slot_size)
        return NULL;
    *epoch = inherited.epoch;
    return (struct request *)((char *)arena_slot(&self.arena, inherited.index) + (at - inherited.from));
}

struct request_table *process_request_table(const struct request *r, uint32_t epoch)
{
    char *first = (char *)arena_slot(&self.arena, 0);
    struct slot *s = arena_slot(&self.arena, (uint32_t)(((const char *)r - first) / self.arena.slot_size));
    return atomic_load(&s->epoch) == epoch ? slot_requests(&self.arena, s) : NULL;
}

static void reinit(bool no_thread)
{
    atomic_store(&ready, 0);
    atomic_store(&claiming, 0);
    atomic_store(&thread_due, false);
    atomic_store(&self.generation, (uint32_t)generation_now());
    for (int c = 0; c < COUNTERS; c++)
        atomic_store(&uncounted[c], 0);
    if (self.slot && !KNOB_OFF(child_forgets)) {
        inherited.from = (char *)self.slot;
        inherited.index = self.index;
        inherited.epoch = atomic_load(&arena_slot(&self.arena, self.index)->epoch);
        /* A producer that this fork interrupted goes on in the child: it writes here, not into its parent's
         * ring. */
        if (!KNOB_OFF(private_slot)) {
            void *over = mmap(self.slot, self.arena.slot_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
            (void)over; /* refused, it can only write into its parent's ring, which a reader checks */
        }
        self.slot = NULL;
        self.ring = NULL;
    }
    self.served = false;
    self.ticket = 0;
    self.no_thread = no_thread && !KNOB_OFF(no_thread);
    self.oldest_ns = 0;
    oneshot_postfork_child();
    leave_postfork_child();
}

void process_postfork_child(bool no_thread)
{
    if (self.arena.header)
        seat_take(&self.arena);
    reinit(no_thread);
}

void process_eager(void)
{
    if (self.config && self.config->respawn_eager && self.listens)
        process_serves(false);
}
