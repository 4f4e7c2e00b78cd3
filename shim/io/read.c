/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls that take bytes from a socket. An fd of no interest: two loads, two compares, a tail call.
 */
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

#include <unistd.h>

/* What -D_FORTIFY_SOURCE makes of the calls; no header declares them without it. */
ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);

/* These bytes are not the stream's. */
#define NOT_STREAM (MSG_OOB | MSG_ERRQUEUE)

/* MSG_PEEK leaves the bytes in the stream; MSG_TRUNC takes them out and does not fill the buffer, or both. */
static void seen_buffers(int fd, const struct iovec *iov, int n, ssize_t got, int flags)
{
    if (__builtin_expect(!(flags & (MSG_PEEK | MSG_TRUNC)), 1))
        connection_read(fd, iov, n, got);
    else if (!(flags & MSG_PEEK))
        connection_read_unseen(fd, got);
    else if (!(flags & MSG_TRUNC))
        connection_peeked(fd, iov, n, got);
}

static ssize_t seen(int fd, void *buf, size_t n, ssize_t got, int flags)
{
    struct iovec iov = {buf, n};
    seen_buffers(fd, &iov, 1, got, flags);
    return got;
}

static __attribute__((noinline)) ssize_t watched_read(int fd, void *buf, size_t n)
{
    return seen(fd, buf, n, __read(fd, buf, n), 0);
}

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
    if (!connection_read_watched(fd))
        return __read(fd, buf, n);
    return watched_read(fd, buf, n);
}

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
    if (!connection_read_watched(fd))
        return NEXT(__read_chk)(fd, buf, n, room);
    return seen(fd, buf, n, NEXT(__read_chk)(fd, buf, n, room), 0);
}

/* Apart from recv(), which then needs no frame. */
static __attribute__((noinline)) ssize_t first_recv(int fd, void *buf, size_t n, int flags)
{
    return NEXT(recv)(fd, buf, n, flags);
}

static __attribute__((noinline)) ssize_t watched_recv(int fd, void *buf, size_t n, int flags)
{
    return seen(fd, buf, n, NEXT(recv)(fd, buf, n, flags), flags);
}

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    if (!(flags & NOT_STREAM) && connection_read_watched(fd))
        return watched_recv(fd, buf, n, flags);
    next_recv_fn next = NEXT_KNOWN(recv);
    return next ? next(fd, buf, n, flags) : first_recv(fd, buf, n, flags);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
    if (flags & NOT_STREAM || !connection_read_watched(fd))
        return NEXT(__recv_chk)(fd, buf, n, room, flags);
    return seen(fd, buf, n, NEXT(__recv_chk)(fd, buf, n, room, flags), flags);
}

EXPORT ssize_t recvfrom(int fd, void *restrict buf, size_t n, int flags, struct sockaddr *restrict from,
                        socklen_t *restrict len)
{
    if (flags & NOT_STREAM || !connection_read_watched(fd))
        return NEXT(recvfrom)(fd, buf, n, flags, from, len);
    return seen(fd, buf, n, NEXT(recvfrom)(fd, buf, n, flags, from, len), flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *from,
                              socklen_t *len)
{
    if (flags & NOT_STREAM || !connection_read_watched(fd))
        return NEXT(__recvfrom_chk)(fd, buf, n, room, flags, from, len);
    return seen(fd, buf, n, NEXT(__recvfrom_chk)(fd, buf, n, room, flags, from, len), flags);
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
    if (!connection_read_watched(fd))
        return NEXT(readv)(fd, iov, n);
    ssize_t got = NEXT(readv)(fd, iov, n);
    connection_read(fd, iov, n, got);
    return got;
}

/* Connections may come this way: whatever is known of their numbers is old. */
static void fds_arrived(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
            continue;
        const unsigned char *p = CMSG_DATA(c);
        for (size_t left = c->cmsg_len - CMSG_LEN(0); left >= sizeof(int);
             left -= sizeof(int), p += sizeof(int)) {
            int fd;
            __builtin_memcpy(&fd, p, sizeof fd);
            if (fd >= 0)
                connection_arrived(fd);
        }
    }
}

/* Of a call that failed nothing is looked at: `m` may be why. */
static void message_arrived(int fd, struct msghdr *m, ssize_t got, int flags)
{
    if (got >= 0 && m->msg_controllen)
        fds_arrived(m);
    if (!(flags & NOT_STREAM) && connection_read_watched(fd))
        seen_buffers(fd, got >= 0 ? m->msg_iov : NULL, got >= 0 ? (int)m->msg_iovlen : 0, got, flags);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    ssize_t got = NEXT(recvmsg)(fd, m, flags);
    message_arrived(fd, m, got, flags);
    return got;
}

EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned n, mmsg_flags flags, struct timespec *timeout)
{
    int got = NEXT(recvmmsg)(fd, v, n, flags, timeout);
    for (int i = 0; i < got; i++)
        message_arrived(fd, &v[i].msg_hdr, (ssize_t)v[i].msg_len, flags);
    return got;
}
