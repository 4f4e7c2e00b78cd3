/* SPDX-License-Identifier: Apache-2.0
 * ids.c - SplitMix64 streams keyed on the generation page: a child starts without a key, whatever way it was
 * made.
 */
#include "fork/generation.h"
#include "span/context.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A number never given before in this process: the counter is atomic, so a handler that interrupts us gets
 * the next. */
static uint64_t next_number(struct generation_page *page)
{
    if (__builtin_expect(atomic_load_explicit(&page->id_ready, memory_order_acquire) == 0, 0)) {
        uint64_t key[3];
        generation_now();
        if (getrandom(key, sizeof key, 0) !=
            sizeof key) { /* no getrandom in a sandbox: time and addresses differ */
            struct timespec ts;
            clock_gettime(CLOCK_MONOTONIC, &ts);
            key[0] = mix((uint64_t)ts.tv_nsec ^ (uint64_t)(uintptr_t)&ts);
            key[1] = mix(key[0] ^ (uint64_t)ts.tv_sec), key[2] = mix(key[1] ^ (uint64_t)(uintptr_t)page);
        }
        /* Two that come here at once both may store words: any mixture is as random. Nobody has used a key
         * yet that is replaced later, because `ready` is set last and only from 0. */
        uint64_t unset = 0;
        for (int i = 0; i < 3; i++, unset = 0)
            atomic_compare_exchange_strong(&page->id_key[i], &unset, key[i] | 1);
        atomic_store_explicit(&page->id_ready, 1, memory_order_release);
    }
    return atomic_fetch_add_explicit(&page->id_counter, 1, memory_order_relaxed);
}

static void span_id_of(struct generation_page *page, uint64_t n, uint8_t out[8])
{
    uint64_t id = mix(page->id_key[2] + n);
    if (id == 0)
        id = mix(page->id_key[2] + next_number(page));
    memcpy(out, &id, 8);
}

void new_root_ids(uint8_t trace_id[16], uint8_t span_id[8])
{
    struct generation_page *page = generation_page;
    uint64_t n = next_number(page);
    uint64_t high = mix(page->id_key[0] ^ mix(n)), low = mix(page->id_key[1] + n);
    low += low == 0;
    memcpy(trace_id, &high, 8);
    memcpy(trace_id + 8, &low, 8);
    span_id_of(page, n, span_id);
}

void new_span_id(uint8_t out[8])
{
    struct generation_page *page = generation_page;
    span_id_of(page, next_number(page), out);
}
