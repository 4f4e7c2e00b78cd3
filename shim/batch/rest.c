/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/rest.h"
#include "clock.h"
#include "fork/knobs.h"
#include "futex.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

/* The word: at rest (1 bit), epoch of lapsed holds (7), the thread is to be woken when the last hold goes
 * (1), forkers waiting (11), holds (12). A hold is only ever taken while the thread is at rest, and the
 * thread leaves rest only while there is none: both by compare-and-swap. */
#define AT_REST 0x80000000u
#define EPOCH_ONE 0x01000000u
#define EPOCH_MASK 0x7f000000u
#define WAKE_ME 0x00800000u
#define WAITING_ONE 0x00001000u
#define WAITING_MASK 0x007ff000u
#define HOLDS_MASK 0x00000fffu

static const uint64_t LAPSE_NS = 1000000000u;

/* A hold lasts as long as a fork does, and to wake a thread on another CPU costs that fork some 20 us. So the
 * thread looks again by itself, a few times; only then it asks to be woken. */
enum { LOOK_FIRST_NS = 100000, LOOK_LAST_NS = 1600000 };

static _Atomic uint32_t *_Atomic word;

bool rest_make(void)
{
    void *page = mmap(NULL, sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    atomic_store(&word, page);
    return true;
}

void rest_forget(void)
{
    /* not unmapped: it is the parent's, and a forker of ours may still have a token of it */
    atomic_store(&word, NULL);
}

void rest_enter(void)
{
    _Atomic uint32_t *w = atomic_load(&word);
    if (KNOB_OFF(ever_resting))
        return;
    /* Pairs with the compare-and-swap in rest_hold: what the thread did before is seen by the forker. */
    if (atomic_fetch_or(w, AT_REST) & WAITING_MASK)
        futex_wake_all(w);
}

void rest_leave(void)
{
    _Atomic uint32_t *w = atomic_load(&word);
    uint64_t since = 0, look = LOOK_FIRST_NS;
    for (uint32_t v = atomic_load(w);;) {
        if ((v & (HOLDS_MASK | WAITING_MASK)) == 0) {
            if (atomic_compare_exchange_weak(w, &v, v & ~(AT_REST | WAKE_ME)))
                return;
            continue;
        }
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (since == 0)
            since = now;
        if (now - since >= LAPSE_NS && !KNOB_OFF(lapse)) {
            /* Its forker never came back (killed thread, longjmp out of a handler). A late release finds
             * another epoch and does nothing. */
            if (atomic_compare_exchange_weak(w, &v, ((v + EPOCH_ONE) & EPOCH_MASK) | AT_REST))
                since = now, v = atomic_load(w);
            continue;
        }
        if (look < LOOK_LAST_NS) {
            futex_wait(w, v, look);
            look *= 2;
        } else if (v & WAKE_ME) {
            futex_wait(w, v, since + LAPSE_NS - now);
        } else {
            atomic_compare_exchange_weak(w, &v, v | WAKE_ME);
        }
        v = atomic_load(w);
    }
}

void rest_point(void)
{
    _Atomic uint32_t *w = atomic_load(&word);
    if (w && atomic_load_explicit(w, memory_order_relaxed) & WAITING_MASK) {
        rest_enter();
        rest_leave();
    }
}

static uint32_t token_of(uint32_t v)
{
    return (v & EPOCH_MASK) >> 15 | 1; /* never 0, never REST_NO_THREAD */
}

uint32_t rest_hold(uint32_t timeout_ms)
{
    _Atomic uint32_t *w = atomic_load(&word);
    if (!w || KNOB_OFF(hold))
        return REST_NO_THREAD;
    uint64_t until = 0;
    bool waiting = false;
    for (uint32_t v = atomic_load(w);;) {
        uint32_t mine = waiting && (v & WAITING_MASK) ? WAITING_ONE : 0;
        if (v & AT_REST && (v & HOLDS_MASK) != HOLDS_MASK) {
            if (atomic_compare_exchange_weak(w, &v, v - mine + 1))
                return token_of(v);
            continue;
        }
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (until == 0)
            until = now + (uint64_t)timeout_ms * 1000000u;
        if (now >= until) {
            if (!mine || atomic_compare_exchange_weak(w, &v, v - mine))
                return REST_NOT_HELD;
            continue;
        }
        if (!waiting) {
            if ((v & WAITING_MASK) == WAITING_MASK)
                return REST_NOT_HELD; /* 2,047 forkers at once: not worth a wider word */
            waiting = atomic_compare_exchange_weak(w, &v, v + WAITING_ONE);
            if (waiting)
                v += WAITING_ONE;
            continue;
        }
        futex_wait(w, v, until - now);
        v = atomic_load(w);
    }
}

void rest_release(uint32_t token)
{
    _Atomic uint32_t *w = atomic_load(&word);
    if (!w || token == REST_NOT_HELD || token == REST_NO_THREAD)
        return;
    for (uint32_t v = atomic_load(w); token_of(v) == token && (v & HOLDS_MASK);) {
        if (atomic_compare_exchange_weak(w, &v, v - 1)) {
            if ((v & HOLDS_MASK) == 1 && v & (WAKE_ME | WAITING_MASK))
                futex_wake_all(w);
            return;
        }
    }
}
