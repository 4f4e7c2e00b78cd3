/* SPDX-License-Identifier: Apache-2.0
 * futex.h - the two futex calls. Errors are not told: every caller checks its condition again.
 */
#ifndef FORKSPAN_FUTEX_H
#define FORKSPAN_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Waits while *word == value, at most timeout_ns (0: without end). Shared, as words may lie in shared memory.
 */
static inline void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    int keep = errno;
    struct timespec ts = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns ? &ts : NULL, NULL, 0);
    errno = keep;
}

static inline void futex_wake_all(_Atomic uint32_t *word)
{
    int keep = errno;
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    errno = keep;
}

#endif
