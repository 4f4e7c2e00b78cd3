/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls that put bytes into a socket. Before the real call at most 16 bytes are looked at, and only of a
 * connection whose next response is due: a worker that dies in this very call has told its status.
 */
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

#include <unistd.h>

static ssize_t sent_one(int fd, const void *buf, size_t n, ssize_t sent)
{
    struct iovec iov = {(void *)(uintptr_t)buf, n};
    connection_written(fd, &iov, 1, sent);
    return sent;
}

static void ahead(int fd, const struct iovec *iov, size_t n)
{
    if (n)
        connection_write_ahead(fd, iov->iov_base, iov->iov_len);
}

static __attribute__((noinline)) ssize_t watched_write(int fd, const void *buf, size_t n)
{
    connection_write_ahead(fd, buf, n);
    return sent_one(fd, buf, n, __write(fd, buf, n));
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
    if (!connection_write_watched(fd))
        return __write(fd, buf, n);
    return watched_write(fd, buf, n);
}

static __attribute__((noinline)) ssize_t watched_send(int fd, const void *buf, size_t n, int flags)
{
    connection_write_ahead(fd, buf, n);
    return sent_one(fd, buf, n, __send(fd, buf, n, flags));
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    if (flags & MSG_OOB || !connection_write_watched(fd))
        return __send(fd, buf, n, flags);
    return watched_send(fd, buf, n, flags);
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to, socklen_t len)
{
    if (flags & MSG_OOB || !connection_write_watched(fd))
        return NEXT(sendto)(fd, buf, n, flags, to, len);
    connection_write_ahead(fd, buf, n);
    return sent_one(fd, buf, n, NEXT(sendto)(fd, buf, n, flags, to, len));
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
    if (!connection_write_watched(fd))
        return NEXT(writev)(fd, iov, n);
    ahead(fd, iov, n > 0 ? (size_t)n : 0);
    ssize_t sent = NEXT(writev)(fd, iov, n);
    connection_written(fd, iov, n, sent);
    return sent;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (flags & MSG_OOB || !connection_write_watched(fd))
        return NEXT(sendmsg)(fd, m, flags);
    ahead(fd, m->msg_iov, m->msg_iovlen);
    ssize_t sent = NEXT(sendmsg)(fd, m, flags);
    connection_written(fd, m->msg_iov, (int)m->msg_iovlen, sent);
    return sent;
}
