/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/requests.h"
#include "arena/slot.h"
#include "batch/consumer.h"
#include "batch/queue.h"
#include "clock.h"
#include "log.h"
#include "tls.h"

#include <criterion/criterion.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CELLS = 256, UNITS = 4096, MAX_BATCH = 8 };

/* ---- a process made of fakes */

_Thread_local struct thread_state tls;
static const _Atomic uint64_t nothing_set;
const _Atomic uint64_t *process_sampling_word = &nothing_set;

bool process_makes_spans(bool signal_safe_only)
{
    return signal_safe_only;
}
struct ring *process_ring(void)
{
    return NULL;
}
void process_count(enum counter c, uint64_t n)
{
    (void)c, (void)n;
}
void process_committed(void)
{
}
void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

static struct arena arena;
static struct slot *slot;

static void put(unsigned n)
{
    static const uint8_t span[] = {
        0x12, 30, 0x0a, 16, 1,    1, 1, 1, 1, 1, 1, 1, 1, 1, 1,    1,
        1,    1,  1,    1,  0x12, 8, 1, 1, 1, 1, 1, 1, 1, 1, 0x30, 1}; /* ids and a kind */
    struct ring_place place;
    while (n--) {
        cr_assert(ring_reserve(slot_ring(&arena, slot), sizeof span, &place));
        memcpy(place.p, span, sizeof span);
        ring_commit(&place, sizeof span, RING_SCOPE_API);
    }
}

/* ---- an exporter: remembers how large the batches are, while the process goes on ending spans */

static unsigned sizes[100], sent, meanwhile;

static void take(struct exporter *e, const struct exporter_batch *b, uint64_t deadline_ns,
                 struct export_outcome *out)
{
    (void)e, (void)deadline_ns;
    cr_assert_lt(sent, 100, "it does not come to an end");
    sizes[sent++] = b->n_spans;
    put(meanwhile);
    *out = (struct export_outcome){.result = EXPORT_OK};
}
static void no_rest(void *ctx)
{
    (void)ctx;
}
static bool never(void)
{
    return false;
}

static struct consumer consumer;

static void make_with(uint32_t slots)
{
    static const struct exporter_ops ops = {.send = take};
    static const struct config config = {.max_batch = MAX_BATCH, .schedule_delay_ms = 60000};
    static char exporter;
    arena = (struct arena){.shape = {CELLS, UNITS}, .max_queued = CELLS, .slots = slots};
    arena.requests_off = (sizeof(struct slot) + 63) / 64 * 64;
    arena.ring_off = arena.requests_off + (uint32_t)(request_table_size() + 63) / 64 * 64;
    arena.slot_size = (arena.ring_off + ring_size(CELLS, UNITS) + 63) / 64 * 64;
    arena.slots_off = (sizeof(struct arena_header) + 63) / 64 * 64;
    arena.size = arena.slots_off + slots * arena.slot_size;
    arena.header = aligned_alloc(64, arena.size);
    memset(arena.header, 0, arena.size);
    slot = arena_slot(&arena, 0);
    atomic_store(arena_state(&arena, 0), (uint64_t)(uint32_t)getpid() << 32 | SLOT_LIVE);
    atomic_store(&slot->epoch, 1);
    ring_trust(&arena.shape, CELLS);
    ring_init(slot_ring(&arena, slot));
    atomic_store(&arena.header->liveness[0], (uint32_t)gettid());
    consumer = (struct consumer){.arena = &arena,
                                 .config = &config,
                                 .ops = &ops,
                                 .exporter = (struct exporter *)&exporter,
                                 .rest_point = no_rest,
                                 .stopping = never,
                                 .me = consumer_word(0, 1)};
    atomic_store(&slot->consumer, consumer.me);
}

static void make(void)
{
    make_with(1);
}

Test(consumer, sends_what_is_there_and_then_full_batches_only)
{
    make();
    put(2 * MAX_BATCH + 3);
    meanwhile = 3;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    static const unsigned wanted[] = {MAX_BATCH, MAX_BATCH, 3, MAX_BATCH};
    cr_assert_eq(sent, 4);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(sizes[i], wanted[i], "batch %u is of %u", i, sizes[i]);
    cr_assert_eq(ring_queued(slot_ring(&arena, slot)), 4);
}

Test(consumer, leaves_less_than_a_batch_to_the_next_tick)
{
    make();
    put(MAX_BATCH + 3);
    consumer.full_only = true;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(sent, 1);
    cr_assert_eq(sizes[0], MAX_BATCH);
    cr_assert_eq(ring_queued(slot_ring(&arena, slot)), 3);
    put(MAX_BATCH - 3);
    consumer_run(&consumer, 0);
    cr_assert_eq(sent, 2);
    cr_assert_eq(sizes[1], MAX_BATCH);
    put(1);
    consumer.full_only = false;
    consumer_run(&consumer, 0);
    cr_assert_eq(sizes[2], 1);
    cr_assert_eq(ring_queued(slot_ring(&arena, slot)), 0);
}

Test(consumer, empties_the_ring_of_a_dead_one_whatever_is_in_it)
{
    make();
    put(3);
    atomic_store(&arena.header->liveness[0], FUTEX_OWNER_DIED | 1);
    consumer.full_only = true;
    consumer_run(&consumer, 0);
    cr_assert_eq(sent, 1);
    cr_assert_eq(sizes[0], 3);
}

/* ---- a receiver that takes nothing for now */

static bool any_byte, was_kept;

static void take_nothing(struct exporter *e, const struct exporter_batch *b, uint64_t deadline_ns,
                         struct export_outcome *out)
{
    (void)e, (void)deadline_ns;
    sent++;
    was_kept = b->kept;
    *out = (struct export_outcome){.result = b->kept ? EXPORT_UNDELIVERED : EXPORT_FAILED,
                                   .any_byte_sent = any_byte};
}

static const struct exporter_ops closed = {.send = take_nothing};

static uint64_t counted(enum counter which)
{
    return atomic_load(&slot->counters[which]);
}

Test(consumer, a_file_keeps_what_cannot_be_delivered_now)
{
    make();
    const struct exporter_ops *open = consumer.ops;
    arena.file = "/arena";
    consumer.ops = &closed;
    put(2 * MAX_BATCH);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 1, "one batch is enough to know");
    cr_assert_eq(ring_queued(slot_ring(&arena, slot)), 2 * MAX_BATCH);
    cr_assert_eq(counted(COUNT_FAILED), 0);
    consumer.ops = open;
    sent = 0;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(sent, 2);
    cr_assert_eq(counted(COUNT_EXPORTED), 2 * MAX_BATCH);
    cr_assert_eq(counted(COUNT_RESENT), 0, "none of it had left before");
}

Test(consumer, what_may_have_arrived_stays_marked_until_it_is_sent_again)
{
    make();
    const struct exporter_ops *open = consumer.ops;
    arena.file = "/arena";
    consumer.ops = &closed;
    put(3);
    any_byte = true;
    consumer_run(&consumer, 0);
    any_byte = false; /* a try of which nothing left does not undo the one before */
    consumer_run(&consumer, 0);
    cr_assert_eq(counted(COUNT_RESENT), 0);
    consumer.ops = open;
    consumer_run(&consumer, 0);
    cr_assert_eq(counted(COUNT_RESENT), 1);
}

Test(consumer, memory_drops_what_cannot_be_delivered)
{
    make();
    consumer.ops = &closed;
    put(3);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_not(was_kept);
    cr_assert_eq(counted(COUNT_FAILED), 3);
    cr_assert_eq(ring_queued(slot_ring(&arena, slot)), 0);
}

/* ---- one that fails batch after batch */

Test(consumer, a_receiver_that_fails_batch_after_batch_is_sent_one_a_tick)
{
    make();
    const struct exporter_ops *open = consumer.ops;
    consumer.ops = &closed;
    consumer.paced = true;
    put(6 * MAX_BATCH);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 3, "two may have been the batches' own");
    consumer.full_only = true;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 3, "not before the tick");
    consumer.full_only = false;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 4, "one at a tick");
    consumer.full_only = true;
    cr_assert_leq(consumer.resume_ns, clock_ns(CLOCK_MONOTONIC) + 5000000000, "nor after an hour");
    consumer.resume_ns = 1;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 5, "or after a pause");
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 5);
    consumer.full_only = false;
    cr_assert_eq(counted(COUNT_FAILED), 5 * MAX_BATCH);
    cr_assert_eq(ring_queued(slot_ring(&arena, slot)), MAX_BATCH);
    consumer.ops = open;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(counted(COUNT_EXPORTED), MAX_BATCH, "one that takes it gets the rest at once");
    put(MAX_BATCH);
    consumer.full_only = true;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(counted(COUNT_EXPORTED), 2 * MAX_BATCH, "and full batches before their tick again");
}

static unsigned taken; /* spans of each batch */

static void reject(struct exporter *e, const struct exporter_batch *b, uint64_t deadline_ns,
                   struct export_outcome *out)
{
    (void)e, (void)deadline_ns;
    sent++;
    *out = (struct export_outcome){.result = EXPORT_OK, .rejected = b->n_spans - taken};
}

Test(consumer, a_batch_of_which_all_is_rejected_has_failed)
{
    static const struct exporter_ops ops = {.send = reject};
    make();
    consumer.ops = &ops;
    consumer.paced = true;
    put(5 * MAX_BATCH);
    taken = 1;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(sent, 5);
    put(5 * MAX_BATCH);
    taken = 0;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 8);
}

Test(consumer, a_flush_waits_for_no_tick)
{
    make();
    consumer.ops = &closed;
    consumer.paced = true;
    put(3 * MAX_BATCH);
    consumer_run(&consumer, 0);
    put(3 * MAX_BATCH);
    consumer.paced = false;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(sent, 6);
}

/* ---- the dead beside it */

enum { PLACES = 8 }; /* two of them are for consumers */

/* Slots 1 to n are of processes that have died, and left a span each; slot 0 is our own again. */
static void die(uint32_t n)
{
    for (uint32_t i = 1; i <= n; i++) {
        slot = arena_slot(&arena, i);
        atomic_store(arena_state(&arena, i), (uint64_t)(uint32_t)getpid() << 32 | SLOT_LIVE);
        atomic_store(&slot->epoch, 1);
        ring_init(slot_ring(&arena, slot));
        atomic_store(&arena.header->liveness[i], FUTEX_OWNER_DIED | 1);
        put(1);
    }
    slot = arena_slot(&arena, 0);
}

static uint32_t places_taken(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < PLACES; i++)
        n += arena_slot_live(&arena, i);
    return n;
}

static void fail_thrice(void)
{
    make_with(PLACES);
    consumer.ops = &closed;
    consumer.paced = true;
    put(3 * MAX_BATCH);
    consumer_run(&consumer, 0);
    sent = 0;
    consumer.full_only = true; /* within the pause */
}

Test(consumer, a_failing_receiver_costs_the_living_no_places)
{
    fail_thrice();
    die(2);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(places_taken(), 3, "there is room yet, and it may be well again at the tick");
    die(3);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(places_taken(), 1);
    cr_assert_eq(sent, 0);
    cr_assert_eq(atomic_load(&arena.header->former[COUNT_FAILED]), 3);
}

Test(consumer, at_the_tick_it_is_asked_before_the_dead_are_let_go)
{
    fail_thrice();
    die(PLACES - 1);
    consumer.full_only = false;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(sent, 2);
    cr_assert_eq(places_taken(), 1);
    cr_assert_eq(atomic_load(&arena.header->former[COUNT_FAILED]), PLACES - 1);
}

Test(consumer, a_file_keeps_what_the_dead_left)
{
    fail_thrice();
    arena.file = "/arena";
    die(PLACES - 1);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_LATER);
    cr_assert_eq(places_taken(), PLACES);
}
