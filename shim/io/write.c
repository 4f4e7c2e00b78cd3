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

/* Connections may leave this way. */
static __attribute__((noinline)) void fds_leave(const struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
            continue;
        const unsigned char *p = CMSG_DATA(c);
        for (size_t left = c->cmsg_len - CMSG_LEN(0); left >= sizeof(int);
             left -= sizeof(int), p += sizeof(int)) {
            int fd;
            __builtin_memcpy(&fd, p, sizeof fd);
            connection_passed_on(fd);
        }
    }
}

/* Of a call that failed nothing is looked at: `m` may be why. */
static void message_left(int fd, const struct msghdr *m, ssize_t sent, int flags)
{
    if (sent >= 0 && m->msg_controllen)
        fds_leave(m);
    if (!(flags & MSG_OOB) && connection_write_watched(fd))
        connection_written(fd, sent < 0 ? NULL : m->msg_iov, sent < 0 ? 0 : (int)m->msg_iovlen, sent);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (!connection_any())
        return NEXT(sendmsg)(fd, m, flags);
    if (!(flags & MSG_OOB) && connection_write_watched(fd))
        ahead(fd, m->msg_iov, m->msg_iovlen);
    ssize_t sent = NEXT(sendmsg)(fd, m, flags);
    message_left(fd, m, sent, flags);
    return sent;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned n, mmsg_flags flags)
{
    if (!connection_any())
        return NEXT(sendmmsg)(fd, v, n, flags);
    if (n && !(flags & MSG_OOB) && connection_write_watched(fd))
        ahead(fd, v->msg_hdr.msg_iov, v->msg_hdr.msg_iovlen);
    int sent = NEXT(sendmmsg)(fd, v, n, flags);
    for (int i = 0; i < sent; i++)
        message_left(fd, &v[i].msg_hdr, (ssize_t)v[i].msg_len, flags);
    if (sent < 0)
        message_left(fd, NULL, -1, flags);
    return sent;
}
