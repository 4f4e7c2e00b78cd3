/* SPDX-License-Identifier: Apache-2.0
 * random64.h - numbers for tests that write over things: from a seed that is printed, the same ones again.
 */
#ifndef FORKSPAN_TESTS_RANDOM64_H
#define FORKSPAN_TESTS_RANDOM64_H

#include <stdint.h>

/* Not 0, or all are. */
static uint64_t seed = 88172645463325252;

static uint64_t random64(void)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed;
}

#endif
