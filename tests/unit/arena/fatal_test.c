/* SPDX-License-Identifier: Apache-2.0
 * What becomes of a dead process's slot: its finished spans, the requests it was at, its claims on others'
 * rings.
 */
#include "arena/news.h"
#include "arena/requests.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "batch/consumer.h"
#include "batch/queue.h"
#include "clock.h"
#include "config/config.h"
#include "log.h"
#include "tls.h"

#include <criterion/criterion.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CELLS = 64, UNITS = 8192, ME = 0, DEAD = 1, OTHER = 2, SLOTS = 6 };

_Thread_local struct thread_state tls;

void process_count(enum counter c, uint64_t n)
{
    (void)c, (void)n;
}
void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

static uint8_t sent[1 << 20];
static size_t sent_len;
static unsigned n_sent, batches, lacking; /* so often there is no memory */

static void take(struct exporter *e, const struct exporter_batch *b, uint64_t deadline,
                 struct export_outcome *out)
{
    (void)e, (void)deadline;
    if (lacking) {
        lacking--;
        *out = (struct export_outcome){.result = EXPORT_NO_MEMORY};
        return;
    }
    for (size_t i = 0; i < b->n_scopes; i++) {
        memcpy(sent + sent_len, b->scopes[i].spans, b->scopes[i].spans_len);
        sent_len += b->scopes[i].spans_len;
    }
    n_sent += b->n_spans;
    batches++;
    *out = (struct export_outcome){.result = EXPORT_OK, .attempts = 1};
}

/* How often these bytes are in what was sent. */
static unsigned times(const void *bytes, size_t len)
{
    unsigned n = 0;
    for (const uint8_t *p = sent; (p = memmem(p, (size_t)(sent + sent_len - p), bytes, len)); p++)
        n++;
    return n;
}

static void no_rest(void *ctx)
{
    (void)ctx;
}
static bool never(void)
{
    return false;
}

static struct arena arena;
static struct consumer consumer;
static struct slot *dead;
static struct request_table *table;

static void live_slot(uint32_t i, uint32_t liveness)
{
    struct slot *s = arena_slot(&arena, i);
    atomic_store(arena_state(&arena, i), (uint64_t)(uint32_t)getpid() << 32 | SLOT_LIVE);
    atomic_store(&s->epoch, 1);
    atomic_store(&s->news, news_word(1, 0));
    request_table_init(slot_requests(&arena, s));
    ring_init(slot_ring(&arena, s));
    atomic_store(&arena.header->liveness[i], liveness);
}

static void make_in(void *memory(size_t))
{
    static const struct exporter_ops ops = {.send = take};
    static const char *methods[] = {"GET", NULL};
    static const struct config config = {
        .max_batch = 16, .known_methods = methods, .attribute_count = 128, .attribute_length = UINT32_MAX};
    static char exporter;
    arena = (struct arena){.shape = {CELLS, UNITS}, .max_queued = CELLS, .slots = SLOTS};
    arena.requests_off = (sizeof(struct slot) + 63) / 64 * 64;
    arena.ring_off = arena.requests_off + (uint32_t)(request_table_size() + 63) / 64 * 64;
    arena.slot_size = (arena.ring_off + ring_size(CELLS, UNITS) + 4095) / 4096 * 4096;
    arena.slots_off = (sizeof(struct arena_header) + 4095) / 4096 * 4096;
    arena.size = arena.slots_off + SLOTS * arena.slot_size;
    arena.header = memory(arena.size);
    memset(arena.header, 0, arena.size);
    ring_trust(&arena.shape, CELLS);
    live_slot(ME, (uint32_t)gettid());
    live_slot(DEAD, FUTEX_OWNER_DIED | 1);
    dead = arena_slot(&arena, DEAD);
    table = slot_requests(&arena, dead);
    consumer = (struct consumer){.arena = &arena,
                                 .config = &config,
                                 .ops = &ops,
                                 .exporter = (struct exporter *)&exporter,
                                 .rest_point = no_rest,
                                 .stopping = never,
                                 .me = consumer_word(ME, 1)};
    atomic_store(&arena_slot(&arena, ME)->consuming, 1);
}

static void *of_the_heap(size_t size)
{
    return aligned_alloc(4096, size);
}

/* As an arena that is no file. */
static void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(p, MAP_FAILED);
    return p;
}

static void make(void)
{
    make_in(of_the_heap);
}

static struct request *open_request(const char *path)
{
    struct request *r = request_claim(table);
    REQUEST_APPEND(r, method, "GET", 3);
    REQUEST_APPEND(r, target, path, strlen(path));
    r->start_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    r->start_realtime_ns = clock_ns(CLOCK_REALTIME);
    memset(r->context.trace_id, 1, 16);
    memset(r->context.span_id, 2, 8);
    r->context.valid = true;
    atomic_store(&r->phase, REQUEST_OPEN);
    return r;
}

/* A small finished span. */
static const uint8_t small[] = {0x12, 36, 0x0a, 16, 1,    1, 1,   1,    1,   1,   1,    1, 1,
                                1,    1,  1,    1,  1,    1, 1,   0x12, 8,   1,   1,    1, 1,
                                1,    1,  1,    1,  0x2a, 4, 'd', 'o',  'n', 'e', 0x30, 1};

static struct ring_place reserve(void)
{
    struct ring_place place;
    cr_assert(ring_reserve(slot_ring(&arena, dead), sizeof small, &place));
    memcpy(place.p, small, sizeof small);
    return place;
}

static void told(int status)
{
    atomic_store(&dead->news_ns, clock_ns(CLOCK_MONOTONIC));
    atomic_store(&dead->news, news_word(atomic_load(&dead->epoch), NEWS_SET | (uint32_t)status));
}

static bool given_back(void)
{
    return (uint32_t)atomic_load(arena_state(&arena, DEAD)) == SLOT_FREE;
}

Test(fatal, a_request_without_a_record_is_one_span_with_the_signal)
{
    make();
    open_request("/killed");
    told(SIGSEGV);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(times("/killed", 7), 1);
    cr_assert_eq(times("SIGSEGV", 7), 1);
    cr_assert(given_back());
    uint64_t latencies[LATENCY_BUCKETS] = {0};
    latency_sum(latencies, arena.header->former_latencies);
    cr_assert(latency_count(latencies) == 1 && arena.header->former[COUNT_ERRORS] == 1);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
}

Test(fatal, a_death_between_commit_and_clear_gives_one_span)
{
    make();
    struct request *r = open_request("/answered");
    struct ring_place place = reserve();
    atomic_store(&r->record, place.number | REQUEST_RECORD_SET);
    ring_commit(&place, sizeof small, RING_SCOPE_HTTP);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
    cr_assert_eq(times("done", 4), 1);
    cr_assert_eq(times("/answered", 9), 0);
    cr_assert(given_back());
}

Test(fatal, a_death_between_reserve_and_commit_gives_one_span)
{
    make();
    struct request *r = open_request("/torn");
    struct ring_place place = reserve();
    atomic_store(&r->record, place.number | REQUEST_RECORD_SET);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
    cr_assert_eq(times("/torn", 5), 1);
    cr_assert(given_back());
}

Test(fatal, a_record_that_was_sent_before_the_death_is_not_sent_again)
{
    make();
    struct request *r = open_request("/sent");
    struct ring_place place = reserve();
    atomic_store(&r->record, place.number | REQUEST_RECORD_SET);
    ring_commit(&place, sizeof small, RING_SCOPE_HTTP);
    /* its own consumer, when it lived */
    atomic_store(&arena.header->liveness[DEAD], (uint32_t)gettid());
    atomic_store(&dead->consumer, consumer.me);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
    atomic_store(&arena.header->liveness[DEAD], FUTEX_OWNER_DIED | 1);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
    cr_assert(given_back());
}

Test(fatal, finished_spans_go_at_once_and_the_fatal_one_waits_for_news)
{
    make();
    open_request("/waits");
    struct ring_place place = reserve();
    ring_commit(&place, sizeof small, RING_SCOPE_HTTP);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_WAITS);
    cr_assert_eq(n_sent, 1);
    cr_assert(!given_back());
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_WAITS);
    /* 5 s later */
    atomic_store(&dead->dead_since_ns, clock_ns(CLOCK_MONOTONIC) - UINT64_C(5000000001));
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(n_sent, 2);
    cr_assert_eq(times("_OTHER", 6), 1);
    cr_assert(given_back());
}

Test(fatal, who_is_the_last_waits_for_no_news)
{
    make();
    open_request("/last");
    consumer.impatient = true;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(times("_OTHER", 6), 1);
}

Test(fatal, more_requests_than_the_ring_holds_are_one_span_each)
{
    make();
    char path[500];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/', path[sizeof path - 1] = '\0';
    for (unsigned i = 0; i < REQUESTS; i++)
        open_request(path);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, REQUESTS);
    cr_assert_geq(batches, REQUESTS / 16);
    cr_assert(given_back());
}

Test(fatal, a_head_that_is_still_being_read_is_no_span)
{
    make();
    struct request *r = open_request("/half");
    atomic_store(&r->phase, REQUEST_HEAD);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 0);
    cr_assert(given_back());
}

/* Its memory is as it was here: nothing but what a claim and a release say empties it. */
Test(fatal, who_claims_the_slot_next_finds_it_empty)
{
    make();
    open_request("/killed");
    atomic_store(&open_request("/half")->phase, REQUEST_HEAD);
    struct request *r = open_request("/unrecorded");
    atomic_store(&r->phase, REQUEST_UNRECORDED);
    request_read_by(table, r, 7);
    struct ring_place torn = reserve();
    (void)torn;
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert(given_back());
    cr_assert_eq(slot_claim(&arena, false), DEAD);
    cr_assert_null(request_only_one(table, 7));
    cr_assert_eq(ring_queued(slot_ring(&arena, dead)), 0);
    struct ring_record record;
    struct ring_place first = reserve();
    cr_assert_eq(ring_peek(slot_ring(&arena, dead), &arena.shape, at_make(first.number, 0), &record),
                 RING_UNFINISHED);
    for (unsigned i = 0; i < REQUESTS; i++) {
        const char *at = (const char *)request_claim(table);
        cr_assert(at > (const char *)table && at < (const char *)table + request_table_size(), "%u", i);
    }
}

/* How many of the pages that hold nothing but the ring of the dead one's slot the system has given memory. */
static size_t ring_pages(void)
{
    enum { MOST = 1024 };
    static unsigned char resident[MOST];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    uintptr_t begin = ((uintptr_t)slot_ring(&arena, dead) + page - 1) / page * page,
              end = (uintptr_t)dead + arena.slot_size;
    size_t pages = (end - begin) / page;
    cr_assert(pages > 8 && pages <= MOST);
    cr_assert_eq(mincore((void *)begin, pages * page, resident), 0);
    for (size_t i = 0; i < pages; i++)
        n += resident[i] & 1;
    return n;
}

Test(fatal, its_memory_goes_back_to_the_system)
{
    enum { RECORD = 2048 };
    make_in(shared);
    atomic_store(&dead->epoch, 7);
    unsigned spans = 0;
    for (struct ring_place place; ring_reserve(slot_ring(&arena, dead), RECORD, &place); spans++) {
        memcpy(place.p, small, sizeof small);
        ring_commit(&place, sizeof small, RING_SCOPE_HTTP);
    }
    cr_assert_gt(ring_pages(), 0);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, spans);
    cr_assert(given_back());
    cr_assert_eq(ring_pages(), 0);
    cr_assert_eq(atomic_load(&dead->epoch), 7, "its next owner has another number");
}

Test(fatal, what_a_killed_sweeper_claimed_is_taken_over)
{
    make();
    live_slot(OTHER, (uint32_t)gettid());
    atomic_store(&arena_slot(&arena, OTHER)->consuming, 1);
    atomic_store(&dead->consumer, consumer_word(OTHER, 1));
    struct request *r = open_request("/swept");
    struct ring_place place = reserve(); /* the sweeper had begun to write its span */
    atomic_store(&r->record, place.number | REQUEST_RECORD_SET);
    told(SIGKILL);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 0, "a living sweeper's claim holds");
    atomic_store(&arena.header->liveness[OTHER], FUTEX_OWNER_DIED | 1);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
    cr_assert_eq(times("/swept", 6), 1);
    cr_assert(given_back());
}

Test(fatal, a_claim_of_a_slots_former_owner_is_void)
{
    make();
    live_slot(OTHER, (uint32_t)gettid());
    atomic_store(&arena_slot(&arena, OTHER)->consuming, 1);
    atomic_store(&arena_slot(&arena, OTHER)->epoch, 2);
    atomic_store(&dead->consumer, consumer_word(OTHER, 1));
    struct ring_place place = reserve();
    ring_commit(&place, sizeof small, RING_SCOPE_HTTP);
    consumer_run(&consumer, 0);
    cr_assert_eq(n_sent, 1);
    cr_assert(given_back());
}

Test(fatal, news_reach_the_child_of_the_ticket_not_of_the_pid)
{
    make();
    live_slot(OTHER, (uint32_t)gettid());
    struct slot *other = arena_slot(&arena, OTHER);
    atomic_store(&dead->ticket, news_ticket(&arena));
    atomic_store(&other->ticket, news_ticket(&arena));
    news_born(77, atomic_load(&other->ticket)); /* both slots say our pid */
    cr_assert(news_reaped(&arena, 77, SIGABRT));
    cr_assert_eq(news_of(other), NEWS_SET | SIGABRT);
    cr_assert_eq(news_of(dead), 0);
    cr_assert(!news_reaped(&arena, 77, SIGABRT), "a ticket tells once");
}

/* Reaped before its parent had put its ticket down, or by another process than the one that made it. */
Test(fatal, news_of_a_child_without_a_ticket_go_by_its_pid)
{
    make();
    atomic_store(&dead->ticket, news_ticket(&arena));
    atomic_store(&dead->pid_namespace, own_pid_namespace() + 1);
    cr_assert(!news_reaped(&arena, getpid(), SIGABRT), "of another namespace");
    atomic_store(&dead->pid_namespace, own_pid_namespace());
    cr_assert(news_reaped(&arena, getpid(), SIGABRT));
    cr_assert_eq(news_of(dead), NEWS_SET | SIGABRT);
}

/* The slot of a child that was reaped is another's at once: what is known of the last one kills nobody. */
Test(fatal, news_are_of_one_claim)
{
    make();
    uint32_t epoch = atomic_load(&dead->epoch);
    atomic_store(&dead->pid_namespace, own_pid_namespace());
    atomic_store(&dead->start_time, 0);
    atomic_store(&arena.header->liveness[DEAD], 0);
    atomic_store(&dead->news, news_word(epoch, NEWS_SET | 0));
    cr_assert(slot_owner_dead(&arena, DEAD));
    atomic_store(arena_state(&arena, DEAD), (uint64_t)(uint32_t)getpid() << 32 | SLOT_CLAIMED);
    cr_assert_not(slot_owner_dead(&arena, DEAD), "who claims it has not told anything of itself yet");
    sweep_adopt(&arena, consumer_word(OTHER, 1));
    cr_assert_eq((uint32_t)atomic_load(arena_state(&arena, DEAD)), SLOT_CLAIMED);
    atomic_store(&dead->epoch, epoch + 1);
    atomic_store(arena_state(&arena, DEAD), (uint64_t)(uint32_t)getpid() << 32 | SLOT_LIVE);
    cr_assert_not(slot_owner_dead(&arena, DEAD), "the news came when it was this process's already");
    cr_assert_eq(news_of(dead), 0);
}

/* It had no thread, and its pid says nothing here. */
Test(fatal, one_that_its_parent_has_reaped_is_dead)
{
    make();
    atomic_store(&arena.header->liveness[DEAD], 0);
    atomic_store(&dead->pid_namespace, own_pid_namespace() + 1);
    open_request("/reaped");
    consumer_run(&consumer, 0);
    cr_assert(!given_back(), "not known to be dead");
    told(SIGKILL);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(times("SIGKILL", 7), 1);
    cr_assert(given_back());
}

Test(fatal, it_ended_when_that_was_first_seen)
{
    make();
    struct request *r = open_request("/killed");
    const uint64_t second = UINT64_C(1000000000);
    r->start_monotonic_ns -= 4 * second;
    uint64_t seen = r->start_monotonic_ns + 2 * second, end = r->start_realtime_ns + 2 * second;
    atomic_store(&dead->dead_since_ns, seen);
    told(SIGKILL); /* its parent looked 2 s later */
    consumer_run(&consumer, 0);
    cr_assert_eq(times(&end, sizeof end), 1);
}

Test(fatal, what_there_is_no_memory_for_is_left_to_anybody)
{
    make();
    struct ring_place place = reserve();
    ring_commit(&place, sizeof small, RING_SCOPE_API);
    told(SIGKILL);
    lacking = 1;
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_STOPPED);
    cr_assert_eq(atomic_load(&dead->consumer), 0);
    cr_assert_eq(consumer_run(&consumer, 0), CONSUMER_EMPTY);
    cr_assert_eq(n_sent, 1);
    cr_assert_eq(atomic_load(&dead->counters[COUNT_FAILED]), 0);
    cr_assert_eq(atomic_load(&dead->counters[COUNT_RESENT]), 0, "nothing of it had been sent");
    cr_assert(given_back());
}

Test(fatal, how_it_ended_in_words)
{
    char type[NEWS_TYPE_MAX];
    static const struct {
        uint32_t news;
        const char *words;
    } cases[] = {{0, "_OTHER"},
                 {NEWS_SET | SIGKILL, "SIGKILL"},
                 {NEWS_SET | SIGSEGV | 0x80, "SIGSEGV"},
                 {NEWS_SET | 40, "SIG40"},
                 {NEWS_SET | 3 << 8, "exit 3"},
                 {NEWS_SET | 255 << 8, "exit 255"},
                 {NEWS_SET, "exit 0"},
                 {NEWS_SET | NEWS_EXEC, "exec"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        news_type(cases[i].news, type);
        cr_assert_str_eq(type, cases[i].words);
    }
}
