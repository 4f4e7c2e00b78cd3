/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/requests.h"
#include "clock.h"
#include "fork/generation.h"
#include "process.h"

#include <stdatomic.h>
#include <string.h>

#define WORDS (REQUESTS / 64)
#define OVERFLOW_ENTRIES 384u
#define LEFT_FOR_NS UINT64_C(30000000000)

struct request_table {
    _Alignas(64) _Atomic uint64_t used[WORDS];      /* one bit an entry */
    _Alignas(64) _Atomic uint32_t reader[REQUESTS]; /* dense: asked for each span of the C API */
    _Alignas(64) struct {
        _Alignas(64) struct request request;
    } entry[REQUESTS];
};

_Static_assert(sizeof(struct request) <= REQUEST_SIZE, "an entry's size is fixed");

/* Bits and entries of the private overflow. */
static _Atomic uint64_t overflow_used[OVERFLOW_ENTRIES / 64];
static _Atomic uint64_t overflow_generation;
static struct request overflow[OVERFLOW_ENTRIES];
static _Atomic uint32_t overflow_reader[OVERFLOW_ENTRIES];

size_t request_table_size(void)
{
    return sizeof(struct request_table);
}

void request_table_init(struct request_table *t)
{
    for (unsigned w = 0; w < WORDS; w++)
        atomic_store_explicit(&t->used[w], 0, memory_order_relaxed);
    for (unsigned i = 0; i < REQUESTS; i++)
        atomic_store_explicit(&t->reader[i], 0, memory_order_relaxed);
}

void request_table_wipe(struct request_table *t)
{
    request_table_init(t);
    for (unsigned i = 0; i < REQUESTS; i++)
        atomic_store_explicit(&t->entry[i].request.phase, REQUEST_UNUSED, memory_order_relaxed);
}

static int bit_claim(_Atomic uint64_t *words, unsigned n)
{
    for (unsigned w = 0; w < n; w++) {
        uint64_t now = atomic_load_explicit(&words[w], memory_order_relaxed);
        while (~now) {
            unsigned bit = (unsigned)__builtin_ctzll(~now);
            /* Pairs with the release in bit_release: the former owner has done with the entry. */
            if (atomic_compare_exchange_weak_explicit(&words[w], &now, now | UINT64_C(1) << bit,
                                                      memory_order_acquire, memory_order_relaxed))
                return (int)(w * 64 + bit);
        }
    }
    return -1;
}

static void bit_release(_Atomic uint64_t *words, size_t i)
{
    atomic_fetch_and_explicit(&words[i / 64], ~(UINT64_C(1) << i % 64), memory_order_release);
}

void request_postfork_child(void)
{
    uint64_t now = generation_now();
    uint64_t then = atomic_load(&overflow_generation);
    if (then == now || !atomic_compare_exchange_strong(&overflow_generation, &then, now))
        return;
    for (unsigned i = 0; i < OVERFLOW_ENTRIES; i++)
        atomic_store(&overflow_reader[i], 0);
    for (unsigned w = 0; w < OVERFLOW_ENTRIES / 64; w++)
        atomic_store(&overflow_used[w], 0);
}

static struct request *fresh(struct request *r)
{
    /* Texts need no clearing: their lengths say what is there. */
    r->minor = 0;
    r->flags = 0;
    r->peer_family = 0;
    r->has_parent = 0;
    r->peer_port = 0;
    memset(&r->context, 0, sizeof r->context);
    r->peer_path_len = r->method_len = r->target_len = r->host_len = r->user_agent_len = 0;
    r->forwarded_len = r->x_forwarded_for_len = r->x_forwarded_host_len = r->x_forwarded_proto_len = 0;
    r->remote_addr_len = 0;
    r->tracestate_len = 0;
    atomic_store_explicit(&r->status, 0, memory_order_relaxed);
    atomic_store_explicit(&r->record, 0, memory_order_relaxed);
    atomic_store_explicit(&r->claim, REQUEST_READERS, memory_order_relaxed);
    atomic_store_explicit(&r->phase, REQUEST_HEAD, memory_order_release);
    return r;
}

/* What was left to children and not answered by any in all this time, is given back. */
static bool left_reclaim(struct request_table *t)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    bool any = false;
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct request *r = &t->entry[i].request;
        uint32_t left = REQUEST_LEFT;
        if (atomic_load_explicit(&r->claim, memory_order_relaxed) == REQUEST_LEFT &&
            now - r->start_monotonic_ns > LEFT_FOR_NS &&
            atomic_compare_exchange_strong(&r->claim, &left, REQUEST_TAKEN)) {
            process_count(COUNT_DROPPED, 1);
            request_release(t, r);
            any = true;
        }
    }
    return any;
}

struct request *request_claim(struct request_table *t)
{
    int i;
    if (t) {
        i = bit_claim(t->used, WORDS);
        if (i < 0 && left_reclaim(t))
            i = bit_claim(t->used, WORDS);
        if (i >= 0)
            return fresh(&t->entry[i].request);
        process_count(COUNT_NO_ROOM, 1);
    }
    request_postfork_child(); /* a fork that nobody saw */
    i = bit_claim(overflow_used, OVERFLOW_ENTRIES / 64);
    return i < 0 ? NULL : fresh(&overflow[i]);
}

/* Its place among the overflow's entries, or among the table's; -1: it is of neither. */
static int overflow_index(const struct request *r)
{
    return r >= overflow && r < overflow + OVERFLOW_ENTRIES ? (int)(r - overflow) : -1;
}

static int table_index(const struct request_table *t, const struct request *r)
{
    uintptr_t at = (uintptr_t)r, first = (uintptr_t)&t->entry[0];
    if (!t || at < first)
        return -1;
    size_t i = (at - first) / sizeof t->entry[0];
    return i < REQUESTS ? (int)i : -1;
}

void request_release(struct request_table *t, struct request *r)
{
    if (!r)
        return;
    atomic_store_explicit(&r->phase, REQUEST_UNUSED, memory_order_release);
    int i = overflow_index(r);
    if (i >= 0) {
        atomic_store_explicit(&overflow_reader[i], 0, memory_order_relaxed);
        bit_release(overflow_used, (size_t)i);
        return;
    }
    i = table_index(t, r);
    if (i >= 0) {
        atomic_store_explicit(&t->reader[i], 0, memory_order_relaxed);
        bit_release(t->used, (size_t)i);
    }
}

static bool claim_change(struct request *r, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&r->claim, &from, to);
}

/* One that is not recorded is nothing to a sweeper, but its entry must be given back, and its children know
 * it. */
static bool take_copy(const struct request *from, struct request *to)
{
    if (atomic_load_explicit(&from->phase, memory_order_acquire) != REQUEST_UNRECORDED)
        return request_copy(from, to);
    to->context = from->context;
    to->start_monotonic_ns = from->start_monotonic_ns;
    atomic_store_explicit(&to->phase, REQUEST_UNRECORDED, memory_order_relaxed);
    return true;
}

bool request_take(struct request_table *parents, struct request *from, struct request *to)
{
    uint32_t was = atomic_load_explicit(&from->claim, memory_order_acquire);
    /* Copied before it is taken: right after that its reader may give it to another request. */
    if ((was != REQUEST_READERS && was != REQUEST_LEFT) || !take_copy(from, to))
        return false;
    if (was == REQUEST_READERS && claim_change(from, REQUEST_READERS, REQUEST_TAKEN)) {
        atomic_store_explicit(&to->claim, REQUEST_READERS, memory_order_relaxed);
        return true;
    }
    if (!claim_change(from, REQUEST_LEFT, REQUEST_TAKEN))
        return false;
    request_release(parents, from);
    atomic_store_explicit(&to->claim, REQUEST_READERS, memory_order_relaxed);
    return true;
}

bool request_answer(struct request *r)
{
    return claim_change(r, REQUEST_READERS, REQUEST_ANSWERED) || atomic_load(&r->claim) == REQUEST_ANSWERED;
}

bool request_leave(struct request_table *t, struct request *r)
{
    if (table_index(t, r) < 0) {
        request_release(t,
                        r); /* of this process's own memory, where no child can take it, and yet may answer */
        return true;
    }
    if (claim_change(r, REQUEST_READERS, REQUEST_LEFT))
        return true;
    if (atomic_load(&r->claim) != REQUEST_TAKEN)
        return false;
    request_release(t, r);
    return true;
}

void request_read_by(struct request_table *t, const struct request *r, uint32_t reader)
{
    int i = overflow_index(r);
    if (i >= 0)
        atomic_store_explicit(&overflow_reader[i], reader, memory_order_release);
    else if ((i = table_index(t, r)) >= 0)
        atomic_store_explicit(&t->reader[i], reader, memory_order_release);
}

static bool being_served(const struct request *r)
{
    uint32_t phase = atomic_load_explicit(&r->phase, memory_order_acquire);
    return phase == REQUEST_OPEN || phase == REQUEST_UNRECORDED;
}

const struct request *request_only_one(const struct request_table *t, uint32_t reader)
{
    const struct request *found = NULL;
    for (unsigned i = 0; t && i < REQUESTS; i++) {
        if (atomic_load_explicit(&t->reader[i], memory_order_acquire) != reader ||
            !being_served(&t->entry[i].request))
            continue;
        if (found)
            return NULL;
        found = &t->entry[i].request;
    }
    if (atomic_load(&overflow_generation) != generation_now())
        return found; /* never used, or the parent's */
    for (unsigned i = 0; i < OVERFLOW_ENTRIES; i++) {
        if (atomic_load_explicit(&overflow_reader[i], memory_order_acquire) != reader ||
            !being_served(&overflow[i]))
            continue;
        if (found)
            return NULL;
        found = &overflow[i];
    }
    return found;
}

/* The entry may become another's while this copies: the caller asks again before it uses what it got. */
__attribute__((no_sanitize("thread"))) bool
request_copy_context(const struct request *r, struct span_context *out, char *tracestate, size_t *len)
{
    *out = r->context;
    size_t n = r->tracestate_len;
    *len = n <= TRACESTATE_MAX ? n : 0;
    for (size_t i = 0; i < *len; i++)
        tracestate[i] = r->tracestate[i];
    atomic_thread_fence(memory_order_acquire);
    out->remote = false;
    return out->valid;
}

void request_append(struct request *r, char *text, uint16_t *len, size_t room, const void *p, size_t n)
{
    size_t free_room = room - *len;
    if (n > free_room) {
        n = free_room;
        r->flags |= REQUEST_TRUNCATED;
    }
    memcpy(text + *len, p, n);
    *len = (uint16_t)(*len + n);
}

void request_trim(char *text, uint16_t *len, bool cut)
{
    size_t n = *len;
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        n--;
    if (cut) {
        /* find the last lead byte among the last four; leave its character out if it is not whole */
        for (size_t back = 1; back <= 4 && back <= n; back++) {
            unsigned char c = (unsigned char)text[n - back];
            if (c < 0x80)
                break;
            if (c < 0xc0)
                continue;
            size_t whole = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            if (back < whole)
                n -= back;
            break;
        }
    }
    *len = (uint16_t)n;
}

static bool lengths_sound(const struct request *copy)
{
#define FITS(field) (copy->field##_len <= sizeof copy->field)
    return FITS(peer_path) && FITS(method) && FITS(target) && FITS(host) && FITS(user_agent) &&
           FITS(forwarded) && FITS(x_forwarded_for) && FITS(x_forwarded_host) && FITS(x_forwarded_proto) &&
           FITS(remote_addr) && FITS(tracestate);
#undef FITS
}

bool request_copy(const struct request *r, struct request *copy)
{
    uint32_t phase = atomic_load_explicit(&r->phase, memory_order_acquire);
    if (phase == REQUEST_UNUSED || phase > REQUEST_FINISHED)
        return false;
    memcpy(copy, r, sizeof *copy);
    atomic_store_explicit(&copy->phase, phase, memory_order_relaxed);
    return lengths_sound(copy);
}

bool request_in_use(const struct request_table *t, unsigned i)
{
    return i < REQUESTS && atomic_load_explicit(&t->used[i / 64], memory_order_acquire) >> i % 64 & 1;
}

/* A child's, if anybody's. */
static bool let_go(const struct request *r)
{
    uint32_t claim = atomic_load_explicit(&r->claim, memory_order_acquire);
    return claim == REQUEST_LEFT || claim == REQUEST_TAKEN;
}

bool request_read(const struct request_table *t, unsigned i, struct request *copy)
{
    if (!request_in_use(t, i) || let_go(&t->entry[i].request))
        return false;
    return request_copy(&t->entry[i].request, copy);
}

size_t request_table_head(void)
{
    return offsetof(struct request_table, entry);
}

size_t request_entry_at(unsigned i)
{
    return offsetof(struct request_table, entry) + i % REQUESTS * sizeof((struct request_table *)0)->entry[0];
}

const struct request *request_in_progress(const struct request_table *t, unsigned i)
{
    if (!request_in_use(t, i))
        return NULL;
    const struct request *r = &t->entry[i].request;
    uint32_t phase = atomic_load_explicit(&r->phase, memory_order_relaxed);
    bool under_way = phase == REQUEST_HEAD || phase == REQUEST_OPEN || phase == REQUEST_UNRECORDED;
    return under_way && !let_go(r) && lengths_sound(r) ? r : NULL;
}

unsigned request_next_open(const struct request_table *t, unsigned i)
{
    for (; i < REQUESTS; i++) {
        /* a bit is set before its entry is anything, and cleared after it is nothing */
        uint64_t used = atomic_load_explicit(&t->used[i / 64], memory_order_acquire) >> i % 64;
        if (used == 0)
            i |= 63;
        else if (used & 1 &&
                 atomic_load_explicit(&t->entry[i].request.phase, memory_order_acquire) == REQUEST_OPEN)
            return i;
    }
    return REQUESTS;
}

struct request *request_entry(struct request_table *t, unsigned i)
{
    return &t->entry[i % REQUESTS].request;
}
