/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena.h"
#include "batch/queue.h"
#include "tls.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

_Thread_local struct thread_state tls;

/* An arena of one slot in ordinary memory. */
static struct arena arena;
static struct slot *slot;
static struct ring *ring;

static void make(uint32_t cells, uint32_t units, uint32_t max_queued)
{
    size_t ring_off = (sizeof(struct slot) + 63) / 64 * 64;
    slot = aligned_alloc(4096, (ring_off + ring_size(cells, units) + 4095) / 4096 * 4096);
    memset(slot, 0, ring_off + ring_size(cells, units));
    arena = (struct arena){
        .slots = 1, .ring_off = (uint32_t)ring_off, .shape = {cells, units}, .max_queued = max_queued};
    ring = slot_ring(&arena, slot);
    ring_trust(&arena.shape, max_queued);
    ring_init(ring);
}

static bool put(const void *bytes, uint32_t len)
{
    struct ring_place place;
    if (!ring_reserve(ring, len, &place))
        return false;
    memcpy(place.p, bytes, len);
    ring_commit(&place, len, RING_SCOPE_API);
    return true;
}

static _Atomic unsigned
    overlaps; /* batches that do not begin where the one before ended: a record in two, or in none */

/* Seals and takes everything; returns how many whole records, and the sum of their first words. */
static unsigned take_all(bool over_torn, uint64_t *sum)
{
    unsigned n = 0;
    struct sealed batch;
    static ring_at last;
    if (ring_queued(ring) == 0 || at_number(last) == 0)
        last = atomic_load(&ring->tail);
    for (;;) {
        queue_lock();
        queue_seal(&arena, slot, 7, over_torn);
        bool any = queue_oldest(slot, &batch);
        queue_unlock();
        if (!any)
            return n;
        overlaps += at_number(batch.from) != at_number(last);
        last = batch.to;
        for (ring_at at = batch.from; at_number(at) != at_number(batch.to); at = ring_next(at)) {
            struct ring_record record;
            if (ring_peek(ring, &arena.shape, at, &record) != RING_RECORD)
                continue;
            uint64_t word;
            memcpy(&word, record.bytes, sizeof word);
            *sum += word;
            n++;
        }
        queue_lock();
        queue_done(&arena, slot);
        queue_unlock();
    }
}

Test(ring, gives_back_what_was_put)
{
    make(64, 8192, 64);
    uint64_t word = 42, sum = 0;
    cr_assert(put(&word, sizeof word));
    cr_assert_eq(take_all(false, &sum), 1);
    cr_assert_eq(sum, 42);
    cr_assert_eq(ring_queued(ring), 0);
}

Test(ring, drops_the_newest_when_full_of_records_and_counts_it)
{
    make(64, 8192, 10);
    for (uint64_t i = 1; i <= 10; i++)
        cr_assert(put(&i, sizeof i));
    uint64_t word = 11, sum = 0;
    cr_assert_not(put(&word, sizeof word));
    cr_assert_eq(atomic_load(&ring->dropped), 1);
    cr_assert_eq(take_all(false, &sum), 10);
    cr_assert_eq(sum, 55);
    cr_assert(put(&word, sizeof word), "room again");
}

Test(ring, drops_when_full_of_bytes_and_goes_on_for_many_laps)
{
    make(64, 128, 64); /* 1 KiB */
    unsigned char record[200];
    uint64_t put_sum = 0, got_sum = 0;
    unsigned puts = 0, got = 0;
    srand(1);
    for (uint64_t i = 1; i < 20000; i++) {
        memset(record, (int)i, sizeof record);
        memcpy(record, &i, sizeof i);
        if (put(record, 8 + (uint32_t)rand() % 192)) {
            puts++;
            put_sum += i;
        } else {
            got += take_all(false, &got_sum);
        }
    }
    got += take_all(false, &got_sum);
    cr_assert_eq(got, puts);
    cr_assert_eq(got_sum, put_sum);
    cr_assert_gt(atomic_load(&ring->dropped), 0);
}

Test(ring, a_torn_record_is_passed_over_when_its_producer_is_dead)
{
    make(64, 8192, 64);
    uint64_t one = 1, three = 3, sum = 0;
    struct ring_place torn;
    cr_assert(put(&one, sizeof one));
    cr_assert(ring_reserve(ring, 100, &torn));
    cr_assert(put(&three, sizeof three));
    cr_assert_eq(take_all(false, &sum), 1, "a living producer is waited for");
    cr_assert_eq(take_all(true, &sum), 1);
    cr_assert_eq(sum, 4);
    cr_assert_eq(ring_queued(ring), 0);
    /* its bytes are free again */
    for (unsigned lap = 0; lap < 1000; lap++) {
        cr_assert(put(&one, sizeof one));
        take_all(false, &sum);
    }
}

Test(ring, corrupt_cells_never_lead_a_reader_out_of_the_ring)
{
    make(64, 128, 64);
    srand(7);
    for (unsigned round = 0; round < 20000; round++) {
        uint64_t word = round, sum = 0;
        put(&word, sizeof word);
        if (round % 3 == 0) { /* scribble over everything the reader reads */
            unsigned char *p = (unsigned char *)ring + offsetof(struct ring, head);
            size_t room = ring_size(64, 128) - offsetof(struct ring, head);
            p[(size_t)rand() % room] = (unsigned char)rand();
            slot->sealed_first = (uint32_t)rand();
            slot->sealed_count = (uint32_t)rand() % 40;
            slot->sealed[rand() % SEALED_MAX].to = ((uint64_t)rand() << 33) ^ (uint64_t)rand();
        }
        struct sealed batch;
        queue_seal(&arena, slot, 7, true);
        for (unsigned i = 0; i < SEALED_MAX && queue_oldest(slot, &batch); i++) {
            unsigned n = 0;
            for (ring_at at = batch.from; at_number(at) != at_number(batch.to) && n++ <= 64;
                 at = ring_next(at)) {
                struct ring_record record;
                if (ring_peek(ring, &arena.shape, at, &record) != RING_RECORD)
                    continue;
                cr_assert(record.bytes >= (uint8_t *)ring &&
                          record.bytes + record.len <= (uint8_t *)ring + ring_size(64, 128));
                for (uint32_t b = 0; b < record.len; b++)
                    sum += record.bytes[b];
            }
            queue_done(&arena, slot);
        }
        if (round % 100 == 99) {
            memset(ring, 0, ring_size(64, 128));
            ring_init(ring);
            slot->sealed_count = 0;
        }
    }
}

Test(ring, a_head_that_was_written_over_is_given_up_and_the_consumer_comes_to_an_end)
{
    make(64, 8192, 64);
    uint64_t word = 7, sum = 0;
    cr_assert(put(&word, sizeof word));
    atomic_store(&ring->head, at_make(0x7f0000, 1));
    struct sealed batch;
    unsigned batches = 0;
    for (queue_seal(&arena, slot, 7, true); batches < 100 && queue_oldest(slot, &batch); batches++) {
        queue_done(&arena, slot);
        queue_seal(&arena, slot, 7, true);
    }
    cr_assert_lt(batches, 100, "it seals the same nonsense for ever");
    cr_assert_eq(ring_queued(ring), 0);
    cr_assert(put(&word, sizeof word), "what comes later is sent");
    cr_assert_eq(take_all(true, &sum), 1);
    cr_assert_eq(sum, 7);
}

#ifndef RECORDS
#define RECORDS 200000
#endif
static _Atomic uint64_t stored_sum, stored;
static _Atomic bool producing = true;

#ifdef FORKSPAN_WITHOUT_QUEUE_LOCK
/* The two sealers are to meet, on a busy machine too: one producer, which lets them run where the ring is
 * full. */
enum { PRODUCERS = 1, ROUNDS_AT_MOST = 200 };
#else
enum { PRODUCERS = 4, ROUNDS_AT_MOST = 1 };
#endif
static _Atomic unsigned at_work = PRODUCERS;
static _Atomic uint64_t tried;

static void *produce(void *arg)
{
    uint64_t base = (uint64_t)(uintptr_t)arg * RECORDS;
    for (unsigned round = 0; round < ROUNDS_AT_MOST && atomic_load(&overlaps) == 0; round++) {
        for (uint64_t i = 1; i <= RECORDS; i++) {
            uint64_t record[16] = {base + i};
            if (put(record, 8 + (uint32_t)(i % 15) * 8)) {
                atomic_fetch_add(&stored, 1);
                atomic_fetch_add(&stored_sum, base + i);
            } else if (PRODUCERS == 1) {
                sched_yield();
            }
        }
        atomic_fetch_add(&tried, RECORDS);
    }
    atomic_fetch_sub(&at_work, 1);
    return NULL;
}

static void *seal_beside(void *arg)
{
    (void)arg;
    while (atomic_load(&producing)) { /* what a forker does */
        queue_lock();
        queue_seal(&arena, slot, 7, false);
        queue_unlock();
    }
    return NULL;
}

Test(ring, many_producers_and_two_sealers_lose_and_double_nothing)
{
    make(2048, 8192, 2048);
    pthread_t threads[PRODUCERS], sealer;
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        pthread_create(&threads[i], NULL, produce, (void *)i);
    pthread_create(&sealer, NULL, seal_beside, NULL);
    uint64_t sum = 0, n = 0;
    while (atomic_load(&at_work))
        n += take_all(false, &sum);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&producing, false);
    pthread_join(sealer, NULL);
    n += take_all(false, &sum);
    cr_assert_eq(atomic_load(&stored) + atomic_load(&ring->dropped), atomic_load(&tried));
#ifdef FORKSPAN_WITHOUT_QUEUE_LOCK
    cr_assert(overlaps > 0 || n != atomic_load(&stored),
              "the lock protects nothing, or this test shows nothing");
#else
    cr_assert_eq(n, atomic_load(&stored));
    cr_assert_eq(sum, atomic_load(&stored_sum));
    cr_assert_eq(overlaps, 0, "%u batches overlap or leave records out", overlaps);
#endif
}
