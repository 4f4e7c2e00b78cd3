/* SPDX-License-Identifier: Apache-2.0
 *
 * More numbers for one connection. The bookkeeping comes after the real call: the numbers stay taken, and a
 * call that fails has closed nothing.
 *
 * <fcntl.h> is not included: with _FILE_OFFSET_BITS=64 it makes one name of fcntl and fcntl64.
 */
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

#include <linux/fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int fcntl(int, int, ...);
int fcntl64(int, int, ...);
int __fcntl(int, int, ...);

/* `to` is a duplicate of `from` since a moment; it may have been another's before. */
static int duplicated(int from, int to)
{
    if (__builtin_expect(to >= 0 && connection_any(), 0) && from != to) {
        if (connection_close_watched(to))
            connection_gone(to);
        connection_duplicated(from, to);
    }
    return to;
}

EXPORT int dup(int from)
{
    return duplicated(from, NEXT(dup)(from));
}

EXPORT int dup2(int from, int to)
{
    return duplicated(from, NEXT(dup2)(from, to));
}

EXPORT int dup3(int from, int to, int flags)
{
    return duplicated(from, NEXT(dup3)(from, to, flags));
}

/* As libc's own does: whatever the command takes, it is one word. */
#define FCNTL(name)                                                                                          \
    EXPORT int name(int fd, int command, ...)                                                                \
    {                                                                                                        \
        va_list ap;                                                                                          \
        va_start(ap, command);                                                                               \
        void *word = va_arg(ap, void *);                                                                     \
        va_end(ap);                                                                                          \
        int rc = __fcntl(fd, command, word);                                                                 \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, rc) : rc;                   \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* stdio reads, writes and closes by names of its own inside libc. */
EXPORT FILE *fdopen(int fd, const char *mode)
{
    FILE *f = NEXT(fdopen)(fd, mode);
    if (f && connection_read_watched(fd))
        connection_blind(fd);
    return f;
}
