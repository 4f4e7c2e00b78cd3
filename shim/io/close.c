/* SPDX-License-Identifier: Apache-2.0
 *
 * Where connections end. The bookkeeping comes before the real call: right after it the number may be another
 * thread's.
 */
#include "io/close.h"
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <unistd.h>

static __attribute__((noinline)) int watched_close(int fd)
{
    connection_gone(fd);
    return __close(fd);
}

EXPORT int close(int fd)
{
    if (__builtin_expect(!connection_close_watched(fd), 1))
        return __close(fd);
    return watched_close(fd);
}

void close_by_syscall(long fd)
{
    if (connection_close_watched((int)fd))
        connection_gone((int)fd);
}

void *syscall_next_function;

void syscall_resolve(void)
{
    int saved = errno;
    __atomic_store_n(&syscall_next_function, dlsym(RTLD_NEXT, "syscall"), __ATOMIC_RELAXED); /* two at once */
    errno = saved;
}

EXPORT int shutdown(int fd, int how)
{
    int rc = NEXT(shutdown)(fd, how);
    if (rc == 0 && how != SHUT_RD && connection_write_watched(fd))
        connection_shut(fd);
    return rc;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    next_close_range_fn next = NEXT(close_range);
    if (!next) { /* glibc before 2.34 */
        errno = ENOSYS;
        return -1;
    }
    if (!(flags & (int)CLOSE_RANGE_CLOEXEC) && first <= last)
        connection_gone_range(first, last);
    return next(first, last, flags);
}

EXPORT void closefrom(int first)
{
    connection_gone_range(first < 0 ? 0 : (unsigned)first, ~0u);
    next_closefrom_fn next = NEXT(closefrom);
    if (next) {
        next(first);
        return;
    }
    /* glibc before 2.34; somebody looked the name up and found ours */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        for (rlim_t fd = first < 0 ? 0 : (rlim_t)first; fd < limit.rlim_cur && fd <= INT_MAX; fd++)
            __close((int)fd);
}
