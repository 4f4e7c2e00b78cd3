/* SPDX-License-Identifier: Apache-2.0
 * decimal.h - a number in decimal digits, where printf may not be called.
 */
#ifndef FORKSPAN_DECIMAL_H
#define FORKSPAN_DECIMAL_H

#include <stddef.h>

enum { DECIMAL_MAX = 10 };

/* Writes at most DECIMAL_MAX digits and no NUL; returns how many. Handler-safe. */
static inline size_t decimal(char *out, unsigned n)
{
    size_t len = 1;
    for (unsigned rest = n; rest >= 10; rest /= 10)
        len++;
    for (size_t i = len; i > 0; n /= 10)
        out[--i] = (char)('0' + n % 10);
    return len;
}

#endif
