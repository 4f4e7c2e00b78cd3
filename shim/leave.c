/* SPDX-License-Identifier: Apache-2.0
 * leave.c - what is done so that nobody's spans are left behind: at exit, before exec, and where the host
 * waits for its children (DESIGN, table "What happens at a fork", row exit, and "One consumer, three homes").
 */
#include "arena/news.h"
#include "arena/requests.h"
#include "arena/seat.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "batch/oneshot.h"
#include "batch/permanent.h"
#include "batch/thread.h"
#include "clock.h"
#include "fork/generation.h"
#include "fork/knobs.h"
#include "futex.h"
#include "log.h"
#include "process.h"
#include "process_fork.h"
#include "process_self.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What this process may do for the spans of its tree; false where it has none of ours, or what it has is its
 * parent's. */
static bool concerned(void)
{
    if (!self.arena.header || atomic_load(&self.off) || process_in_vfork_child())
        return false;
    /* a raw child that never said a word to us */
    return KNOB_OFF(exit_guard) || atomic_load(&self.generation) == 0 ||
           atomic_load(&self.generation) == (uint32_t)generation_now();
}

static uint64_t own_word(void)
{
    return process_shares()
               ? consumer_word(self.index, atomic_load(&arena_slot(&self.arena, self.index)->epoch))
               : 0;
}

/* Withdraw, then look: of several that leave at least one sees nobody. */
static void withdraw(bool leaving)
{
    if (process_shares())
        atomic_exchange(&arena_slot(&self.arena, self.index)->leaving, leaving);
}

/* -- exec -- */

/* A slot that no thread guards is marked dead by the kernel when this thread execs: its robust list gets the
 * word as the entry that is just being taken. (The list's own entries are left alone, and so is the arena:
 * what the kernel is given is a pointer in private memory.) */
static void guard(struct process_exec *call)
{
    struct robust_list_head *head = NULL;
    size_t len = 0;
    if (thread_running() || syscall(SYS_get_robust_list, 0, &head, &len) != 0 || !head)
        return;
    _Atomic uint32_t *word = &self.arena.header->liveness[self.index];
    uint32_t nobody = 0;
    /* An exec gives its thread the id of the first one before the kernel looks. Until then its pid tells
     * (FUTEX_WAITERS): a thread of another id would not be marked when it is killed. */
    if (!atomic_compare_exchange_strong(word, &nobody, (uint32_t)getpid() | FUTEX_WAITERS))
        return;
    call->guarded = true;
    call->pending = head->list_op_pending;
    head->list_op_pending = (struct robust_list *)((char *)word - head->futex_offset);
}

/* How requests that are open now will have ended, if it succeeds. */
static void tell_exec(uint32_t from, uint32_t to)
{
    struct slot *s = arena_slot(&self.arena, self.index);
    uint32_t epoch = atomic_load(&s->epoch);
    uint64_t then = news_word(epoch, from);
    atomic_store(&s->news_ns, clock_ns(CLOCK_MONOTONIC));
    atomic_compare_exchange_strong(&s->news, &then, news_word(epoch, to));
}

static bool serving(void)
{
    return self.slot && request_next_open(process_requests(), 0) < REQUESTS;
}

static void give_seat_back(void)
{
    if (process_shares())
        atomic_store(&arena_slot(&self.arena, self.index)->seat, 0);
    seat_leave(&self.arena);
}

static void take_seat_again(void)
{
    seat_take(&self.arena);
    if (process_shares())
        seat_note(arena_slot(&self.arena, self.index), seat_own());
}

void process_exec_before(struct process_exec *call)
{
    *call = (struct process_exec){0};
    if (!concerned())
        return;
    if (!(self.slot || self.answers_for)) {
        give_seat_back();
        return;
    }
    int keep = errno;
    uint64_t me = own_word();
    withdraw(true);
    if (process_shares())
        tell_exec(0, NEWS_SET | NEWS_EXEC);
    if (sweep_other_consumer(&self.arena, me) == SWEEP_NOBODY && (sweep_unsent(&self.arena) || serving()))
        oneshot_start(&self.arena, ONESHOT_LEAVE, self.config->fork_wait_ms);
    if (process_shares())
        guard(call);
    give_seat_back();
    errno = keep;
}

void process_exec_failed(const struct process_exec *call)
{
    if (!concerned())
        return;
    take_seat_again();
    if (!(self.slot || self.answers_for))
        return;
    int keep = errno;
    struct robust_list_head *head = NULL;
    size_t len = 0;
    if (call->guarded && syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head) {
        head->list_op_pending = call->pending;
        atomic_store(&self.arena.header->liveness[self.index], 0);
    }
    if (process_shares())
        tell_exec(NEWS_SET | NEWS_EXEC, 0);
    withdraw(false);
    errno = keep;
}

/* -- wait -- */

/* How often a wait of the host may start a consumer, and how often where most slots are the dead's. */
static const uint64_t LOOK_EVERY_NS = 1000000000, LOOK_SOON_NS = 50000000;

static _Atomic uint64_t look_after_ns; /* when it may be started again */
static _Atomic bool look_due;          /* it was too early for it */

void leave_postfork_child(void)
{
    self.answers_for = false;
    atomic_store(&look_due, false);
}

void process_postfork_parent(pid_t pid, uint64_t ticket)
{
    if (self.arena.header && !self.answers_for) /* to write after each fork is to copy the page each time */
        self.answers_for = true;
    news_born(pid, ticket);
}

uint64_t process_ticket(void)
{
    return news_ticket(&self.arena);
}

void process_born(uint64_t ticket)
{
    self.ticket = ticket;
}

bool process_childless(void)
{
    if (!self.arena.header)
        return false;
    int keep = errno;
    bool only_ours = concerned() && oneshot_only_child(&self.arena);
    errno = keep;
    return only_ours;
}

bool process_waited(pid_t pid, int status)
{
    if (!self.arena.header || (pid == 0 && !atomic_load_explicit(&look_due, memory_order_relaxed) &&
                               !(process_exports() && permanent_lost(&self.arena))))
        return false;
    int keep = errno;
    bool ours = false;
    if (concerned()) {
        ours = pid > 0 && oneshot_is_ours(&self.arena, pid);
        if (pid > 0 && !ours && news_reaped(&self.arena, pid, status))
            slot_wake_consumer(&self.arena);
        if (process_exports() && permanent_lost(&self.arena))
            oneshot_start_permanent(&self.arena, 0);
        uint64_t now = clock_ns(CLOCK_MONOTONIC), then = atomic_load(&look_after_ns);
        bool many = false, orphaned = sweep_other_consumer(&self.arena, 0) == SWEEP_NOBODY &&
                                      sweep_orphaned(&self.arena, &many);
        bool early = now < then && !(many && now + LOOK_EVERY_NS - then > LOOK_SOON_NS);
        atomic_store(&look_due, orphaned && early);
        if (orphaned && !early &&
            atomic_compare_exchange_strong(&look_after_ns, &then, now + LOOK_EVERY_NS) &&
            oneshot_start(&self.arena, ONESHOT_LINGER, 0))
            self.answers_for = true; /* not yet attached, it has only us to keep the arena there */
    }
    errno = keep;
    return ours;
}

/* -- exit -- */

static uint32_t ms_until(uint64_t until)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    return now < until ? (uint32_t)((until - now) / 1000000u) : 0;
}

/* When an exit that begins now has waited long enough. A tree that stops is a chain of exits, the workers'
 * and then their master's: where one of them has just given a receiver all of its time in vain, the next
 * gives it a tenth. */
static uint64_t patience(void)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC), most = (uint64_t)self.config->exit_flush_ms * 1000000u;
    uint64_t in_vain = atomic_load(&self.arena.header->in_vain);
    return now + (in_vain && now - in_vain < most ? most / 10 : most);
}

void process_exit(void)
{
    if (!concerned())
        return;
    uint64_t until = patience();
    uint64_t me = own_word();
    withdraw(true);
    enum sweep_others others = sweep_other_consumer(&self.arena, me);
    if (others == SWEEP_ONE_SHOT && self.answers_for) {
        /* Who answers for the tree may be the last of it, or process 1, with which everything ends. */
        sweep_finish(&self.arena);
        oneshot_gone(&self.arena, me, ms_until(until));
        others = sweep_other_consumer(&self.arena, me);
    }
    if (others == SWEEP_PERMANENT && self.answers_for && sweep_unsent(&self.arena))
        permanent_flush(&self.arena, true, ms_until(until));
    if (others == SWEEP_NOBODY && sweep_unsent(&self.arena)) {
        bool by_process = (!thread_running() || !process_shares()) &&
                          oneshot_start(&self.arena, ONESHOT_EXIT, self.config->fork_wait_ms);
        if (by_process) {
            oneshot_gone(&self.arena, me, ms_until(until));
            if (sweep_other_consumer(&self.arena, me) == SWEEP_PERMANENT) /* so it stays */
                permanent_flush(&self.arena, true, ms_until(until));
        } else if (!self.no_thread) {
            if (!thread_running() && (self.slot || process_claim()))
                process_start_thread();
            thread_flush(ms_until(until), true);
        }
        /* With time left, what lies there is of processes that have just left it to the next one. A file
         * keeps what its receiver does not take, however much time is left. */
        bool late = ms_until(until) == 0, left = (late || self.arena.file) &&
                                                 sweep_other_consumer(&self.arena, me) == SWEEP_NOBODY &&
                                                 sweep_left_behind(&self.arena);
        if (left && self.arena.file)
            log_warn("spans were left unsent: they stay in %.200s", self.arena.file);
        else if (left)
            log_warn("spans were left unsent: %u ms were not enough", self.config->exit_flush_ms);
    }
    if (self.slot && !process_shares())
        thread_flush(ms_until(until), true);
    /* Nothing of ours runs while the host's own exit handlers take its libraries apart. */
    if (!thread_quiesce(ms_until(until)))
        log_debug("process %d leaves in the middle of a batch", (int)getpid());
    if (ms_until(until) == 0)
        atomic_store(&self.arena.header->in_vain, clock_ns(CLOCK_MONOTONIC));
}
