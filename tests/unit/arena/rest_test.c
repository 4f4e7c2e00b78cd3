/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/rest.h"
#include "clock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic bool working, stop_worker;
static _Atomic unsigned rounds;

/* A batch thread's life: work, rest, work. `working` is what a forker must never see while it holds. */
static void *worker(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop_worker)) {
        atomic_store(&working, true);
        for (volatile int i = 0; i < 200; i++)
            ;
        atomic_store(&working, false);
        rest_enter();
        sched_yield();
        rest_leave();
        atomic_fetch_add(&rounds, 1);
    }
    rest_enter();
    return NULL;
}

static _Atomic unsigned unheld, seen_working;

static void *forker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        uint32_t token = rest_hold(5000);
        if (token == REST_NOT_HELD)
            atomic_fetch_add(&unheld, 1);
        else if (atomic_load(&working))
            atomic_fetch_add(&seen_working, 1);
        rest_release(token);
    }
    return NULL;
}

Test(rest, eight_forkers_always_hold_and_never_see_work)
{
    cr_assert(rest_make());
    pthread_t w, f[8];
    pthread_create(&w, NULL, worker, NULL);
    for (int i = 0; i < 8; i++)
        pthread_create(&f[i], NULL, forker, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(f[i], NULL);
    atomic_store(&stop_worker, true);
    pthread_join(w, NULL);
    cr_assert_eq(atomic_load(&unheld), 0);
    cr_assert_eq(atomic_load(&seen_working), 0);
    cr_assert_gt(atomic_load(&rounds), 0);
}

Test(rest, no_thread_is_no_wait)
{
    rest_forget();
    cr_assert_eq(rest_hold(10000), REST_NO_THREAD);
    rest_release(REST_NO_THREAD);
}

Test(rest, a_thread_that_never_rests_is_waited_for_so_long_and_no_longer)
{
    cr_assert(rest_make());
    uint64_t begin = clock_ns(CLOCK_MONOTONIC);
    cr_assert_eq(rest_hold(50), REST_NOT_HELD);
    uint64_t took = clock_ns(CLOCK_MONOTONIC) - begin;
    cr_assert(took >= 50000000u, "%lu ns", (unsigned long)took);
}

Test(rest, a_hold_whose_forker_never_comes_back_lapses_and_its_late_release_does_nothing)
{
    cr_assert(rest_make());
    rest_enter();
    uint32_t lost = rest_hold(10);
    cr_assert_neq(lost, REST_NOT_HELD);
    rest_leave(); /* returns though nobody released */
    rest_enter();
    uint32_t fresh = rest_hold(10);
    rest_release(lost); /* late */
    cr_assert_neq(fresh, lost, "another epoch");
    rest_release(fresh);
    rest_leave();
}

static void *leaver(void *arg)
{
    rest_leave();
    *(uint64_t *)arg = clock_ns(CLOCK_MONOTONIC);
    return NULL;
}

/* Holds of a fork's length and of one that takes long: it looks by itself, then it is woken. The end of a
 * hold that nobody tells of comes with its lapse, after a second. */
Test(rest, a_thread_that_waits_goes_on_soon_after_the_last_release)
{
    static const unsigned held_us[] = {0, 150, 700, 3000, 50000};
    for (size_t i = 0; i < sizeof held_us / sizeof *held_us; i++) {
        cr_assert(rest_make());
        rest_enter();
        uint32_t first = rest_hold(10), second = rest_hold(10);
        pthread_t thread;
        uint64_t left = 0;
        pthread_create(&thread, NULL, leaver, &left);
        usleep(held_us[i]);
        rest_release(first);
        uint64_t released = clock_ns(CLOCK_MONOTONIC);
        rest_release(second);
        pthread_join(thread, NULL);
        cr_assert(left >= released, "it left while it was held");
        cr_assert(left - released < 700000000u, "held %u us: it left %lu us later", held_us[i],
                  (unsigned long)(left - released) / 1000);
    }
}
