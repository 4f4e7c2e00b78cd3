/* SPDX-License-Identifier: Apache-2.0
 * pool.c - places for spans under way, in private memory, without a lock.
 *
 * The state of a place and the number of its handle are one word. Who changes a span swaps OPEN for BUSY and
 * back; an end that meets BUSY (a handler, another thread) leaves ENDING behind, and who was at it ends it.
 * So a span is never changed by two at once, and never waits.
 */
#include "span/span_internal.h"

#include <sys/mman.h>

enum { FREE, OPEN, BUSY, ENDING, STATE_BITS = 2 };

static struct span_body *_Atomic pool;
/* The free list: index + 1 of its first place, under a tag that changes at each take (a handler may take and
 * give back between our load and our swap). */
static _Atomic uint64_t free_list;
static _Atomic uint32_t untouched; /* places that were never given out */

static struct span_body *have_pool(void)
{
    struct span_body *p = atomic_load(&pool);
    if (p)
        return p;
    p = mmap(NULL, SPAN_POOL * sizeof *p, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
             -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    struct span_body *none = NULL;
    if (!atomic_compare_exchange_strong(&pool, &none, p)) {
        munmap(p, SPAN_POOL * sizeof *p);
        p = none;
    }
    return p;
}

static struct span_body *free_place(struct span_body *p)
{
    uint64_t first = atomic_load(&free_list);
    while ((uint32_t)first) {
        struct span_body *b = &p[(uint32_t)first - 1];
        uint64_t rest = ((first >> 32) + 1) << 32 | atomic_load(&b->next);
        if (atomic_compare_exchange_weak(&free_list, &first, rest))
            return b;
    }
    uint32_t fresh = atomic_load(&untouched);
    while (fresh < SPAN_POOL)
        if (atomic_compare_exchange_weak(&untouched, &fresh, fresh + 1))
            return &p[fresh];
    return NULL;
}

static uint64_t use_word(uint64_t number, unsigned state)
{
    return number << STATE_BITS | state;
}

struct span_body *pool_take(struct span **handle)
{
    struct span_body *p = have_pool();
    struct span_body *b = p ? free_place(p) : NULL;
    if (!b)
        return NULL;
    uint64_t number = (atomic_load_explicit(&b->use, memory_order_relaxed) >> STATE_BITS) + 1;
    /* The fence pairs with the one in span_get_context: who reads what this span writes into its place by an
     * old handle finds the new number afterwards. */
    atomic_store_explicit(&b->use, use_word(number, BUSY), memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    *handle = (struct span *)(uintptr_t)(number << SPAN_POOL_BITS | (uint64_t)(b - p));
    return b;
}

/* Pairs with the swap in pool_enter and pool_end: who has the handle sees the body. */
void pool_open(struct span_body *b)
{
    uint64_t number = atomic_load_explicit(&b->use, memory_order_relaxed) >> STATE_BITS;
    atomic_store_explicit(&b->use, use_word(number, OPEN), memory_order_release);
}

static void give_back(struct span_body *b)
{
    uint32_t index = (uint32_t)(b - atomic_load(&pool)) + 1;
    uint64_t number = atomic_load_explicit(&b->use, memory_order_relaxed) >> STATE_BITS;
    atomic_store_explicit(&b->use, use_word(number, FREE), memory_order_release);
    uint64_t first = atomic_load(&free_list), next;
    do {
        atomic_store_explicit(&b->next, (uint32_t)first, memory_order_relaxed);
        next = ((first >> 32) + 1) << 32 | index;
    } while (!atomic_compare_exchange_weak(&free_list, &first, next));
}

/* The place a handle names, whoever has it now. */
static struct span_body *place_of(const struct span *handle, uint64_t *number)
{
    struct span_body *p = atomic_load(&pool);
    *number = (uint64_t)(uintptr_t)handle >> SPAN_POOL_BITS;
    return p && *number ? &p[(uintptr_t)handle % SPAN_POOL] : NULL;
}

struct span_body *pool_look(const struct span *handle)
{
    uint64_t number;
    struct span_body *b = place_of(handle, &number);
    uint64_t use = b ? atomic_load(&b->use) : 0;
    return b && use >> STATE_BITS == number && use != use_word(number, FREE) ? b : NULL;
}

struct span_body *pool_enter(const struct span *handle)
{
    uint64_t number;
    struct span_body *b = place_of(handle, &number);
    uint64_t open = use_word(number, OPEN);
    return b && atomic_compare_exchange_strong(&b->use, &open, use_word(number, BUSY)) ? b : NULL;
}

static void end_now(struct span_body *b, uint64_t unix_ns)
{
    span_finish(b, unix_ns);
    give_back(b);
}

void pool_leave(struct span_body *b)
{
    uint64_t number = atomic_load(&b->use) >> STATE_BITS, busy = use_word(number, BUSY);
    if (!atomic_compare_exchange_strong(&b->use, &busy, use_word(number, OPEN)))
        end_now(b, atomic_load(&b->end_wanted_ns));
}

void pool_end(const struct span *handle, uint64_t unix_ns)
{
    uint64_t number;
    struct span_body *b = place_of(handle, &number);
    if (!b)
        return;
    for (;;) {
        uint64_t open = use_word(number, OPEN), busy = use_word(number, BUSY);
        if (atomic_compare_exchange_strong(&b->use, &open, busy)) {
            end_now(b, unix_ns);
            return;
        }
        if (open != busy)
            return; /* ended before */
        atomic_store(&b->end_wanted_ns, unix_ns ? unix_ns : span_now(b));
        if (atomic_compare_exchange_strong(&b->use, &busy, use_word(number, ENDING)))
            return;
    }
}
