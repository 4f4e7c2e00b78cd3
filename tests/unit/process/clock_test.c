/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

#include <criterion/criterion.h>

static const uint64_t WALL_AHEAD = UINT64_C(1700000000000000000), READING_NS = 30;

static uint64_t now = UINT64_C(5000000000);
static unsigned looks, put_aside_at; /* the look before which this thread is put aside */

/* In the place of libc's: a thread is put aside where the test wants it. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (++looks == put_aside_at)
        now += 20000000;
    now += READING_NS;
    uint64_t t = id == CLOCK_REALTIME ? now + WALL_AHEAD : now;
    ts->tv_sec = (time_t)(t / 1000000000u);
    ts->tv_nsec = (long)(t % 1000000000u);
    return 0;
}

/* Wherever that is: the time of a span is right. */
Test(clock, a_thread_put_aside_between_two_looks)
{
    for (put_aside_at = 0; put_aside_at <= 6; put_aside_at++) {
        clock_anchor.at = 0;
        looks = 0;
        uint64_t then = now, wall = clock_unix_ns(then);
        int64_t wrong = (int64_t)(wall - then - WALL_AHEAD);
        cr_assert(wrong > -1000 && wrong < 1000, "put aside at look %u: wrong by %lld ns", put_aside_at,
                  (long long)wrong);
    }
}

Test(clock, the_wall_clock_is_looked_at_again_after_a_tenth_of_a_second)
{
    clock_anchor.at = now;
    clock_anchor.offset = 1;
    cr_assert_eq(clock_unix_ns(now), now + 1);
    cr_assert_eq(clock_unix_ns(now + 100000000u), now + 100000001u);
    uint64_t later = now += 200000000u;
    cr_assert(clock_unix_ns(later) - later - WALL_AHEAD < 1000);
}
