/* SPDX-License-Identifier: Apache-2.0
 * sockets_wrap.c - what curl and c-ares call instead of libc's socket functions, in the static build.
 *
 * Between the check and the call another thread can still take the number; what is sent then can reach only a
 * socket, never a file: send() refuses those.
 */
#include "sockets.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define REFUSE_UNLESS_OURS(fd)                                                                               \
    do {                                                                                                     \
        if (!sockets_ours(fd)) {                                                                             \
            errno = EBADF;                                                                                   \
            return -1;                                                                                       \
        }                                                                                                    \
    } while (0)

int __wrap_socket(int family, int type, int protocol);
int __wrap_close(int fd);
int __real_close(int fd);

int __wrap_socket(int family, int type, int protocol)
{
    return sockets_make(family, type, protocol);
}

/* The one that is also called on other things: files that were opened by name. */
int __wrap_close(int fd)
{
    return sockets_known(fd) ? sockets_close(fd) : __real_close(fd);
}

#define CHECKED(type, name, parameters, arguments)                                                           \
    type __real_##name parameters;                                                                           \
    type __wrap_##name parameters;                                                                           \
    type __wrap_##name parameters                                                                            \
    {                                                                                                        \
        REFUSE_UNLESS_OURS(fd);                                                                              \
        return __real_##name arguments;                                                                      \
    }

CHECKED(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags | MSG_NOSIGNAL))
CHECKED(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
CHECKED(ssize_t, recvfrom, (int fd, void *p, size_t n, int flags, struct sockaddr *from, socklen_t *len),
        (fd, p, n, flags, from, len))
CHECKED(int, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len))
CHECKED(int, bind, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len))
CHECKED(int, shutdown, (int fd, int how), (fd, how))
CHECKED(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
        (fd, level, name, value, len))
CHECKED(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
        (fd, level, name, value, len))

/* As send(), for the same reason: c-ares writes its questions over TCP with it. */
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
    REFUSE_UNLESS_OURS(fd);
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* F_SETFL and F_SETFD on somebody else's fd would be seen by him. Other users (files) pass. */
#define CHECKED_FCNTL(name)                                                                                  \
    int __real_##name(int fd, int command, ...);                                                             \
    int __wrap_##name(int fd, int command, ...);                                                             \
    int __wrap_##name(int fd, int command, ...)                                                              \
    {                                                                                                        \
        va_list ap;                                                                                          \
        va_start(ap, command);                                                                               \
        long argument = va_arg(ap, long);                                                                    \
        va_end(ap);                                                                                          \
        if (sockets_known(fd))                                                                               \
            REFUSE_UNLESS_OURS(fd);                                                                          \
        return __real_##name(fd, command, argument);                                                         \
    }
CHECKED_FCNTL(fcntl)
CHECKED_FCNTL(fcntl64)

/* Names are asked for in names.c, never in libc: its locks would be held when somebody forks. */
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out)
{
    (void)node;
    (void)service;
    (void)hints;
    *out = NULL;
    return EAI_FAIL;
}
