/* SPDX-License-Identifier: Apache-2.0
 * clock.h - Unix time anchored once a span, monotonic after that, so that end >= start whatever the wall
 * clock does.
 */
#ifndef FORKSPAN_CLOCK_H
#define FORKSPAN_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
