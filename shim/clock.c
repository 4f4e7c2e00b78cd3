/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

struct clock_anchor clock_anchor;

/* The wall clock is read between two looks at the other one. Where they are far apart this thread was put
 * aside there, for milliseconds on a busy machine, by which every span of the next tenth of a second would be
 * wrong: then again. */
void clock_anchor_renew(uint64_t monotonic)
{
    enum { TRIES = 8, NEAR_NS = 5000 };
    uint64_t least = UINT64_MAX, offset = 0, before = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < TRIES && least > NEAR_NS; i++) {
        uint64_t wall = clock_ns(CLOCK_REALTIME), after = clock_ns(CLOCK_MONOTONIC), apart = after - before;
        if (apart < least) {
            least = apart;
            offset = wall - (before + apart / 2);
        }
        before = after;
    }
    atomic_store_explicit(&clock_anchor.offset, offset, memory_order_relaxed);
    atomic_store_explicit(&clock_anchor.at, monotonic, memory_order_relaxed);
}
