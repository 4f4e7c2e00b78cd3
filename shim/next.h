/* SPDX-License-Identifier: Apache-2.0
 * next.h - the real functions behind our wrappers.
 *
 * Where libc exports an alias (__read, __write, __close, __send) the wrapper calls that. The others are
 * looked up once: all of them at the first listen() or accept (next_resolve_all), or one at its first call
 * before that.
 */
#ifndef FORKSPAN_NEXT_H
#define FORKSPAN_NEXT_H

#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

ssize_t __read(int, void *, size_t);
ssize_t __write(int, const void *, size_t);
int __close(int);
ssize_t __send(int, const void *, size_t, int);
#ifdef __GLIBC__
typedef int mmsg_flags;
#else /* musl; the aliases above are in aliases.c there */
typedef unsigned mmsg_flags;
#endif

#define NEXT_LIST(X)                                                                                         \
    X(fork, pid_t, (void))                                                                                   \
    X(_Fork, pid_t, (void))                                                                                  \
    X(clone, int, (int (*)(void *), void *, int, void *, ...))                                               \
    X(execvp, int, (const char *, char *const *))                                                            \
    X(execvpe, int, (const char *, char *const *, char *const *))                                            \
    X(fexecve, int, (int, char *const *, char *const *))                                                     \
    X(wait4, pid_t, (pid_t, int *, int, struct rusage *))                                                    \
    X(waitid, int, (idtype_t, id_t, siginfo_t *, int))                                                       \
    X(listen, int, (int, int))                                                                               \
    X(accept, int, (int, struct sockaddr *, socklen_t *))                                                    \
    X(accept4, int, (int, struct sockaddr *, socklen_t *, int))                                              \
    X(recv, ssize_t, (int, void *, size_t, int))                                                             \
    X(recvfrom, ssize_t, (int, void *, size_t, int, struct sockaddr *, socklen_t *))                         \
    X(recvmsg, ssize_t, (int, struct msghdr *, int))                                                         \
    X(recvmmsg, int, (int, struct mmsghdr *, unsigned, int, struct timespec *))                              \
    X(readv, ssize_t, (int, const struct iovec *, int))                                                      \
    X(sendto, ssize_t, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))                 \
    X(sendmsg, ssize_t, (int, const struct msghdr *, int))                                                   \
    X(sendmmsg, int, (int, struct mmsghdr *, unsigned, int))                                                 \
    X(writev, ssize_t, (int, const struct iovec *, int))                                                     \
    X(sendfile, ssize_t, (int, int, off_t *, size_t))                                                        \
    X(sendfile64, ssize_t, (int, int, off64_t *, size_t))                                                    \
    X(splice, ssize_t, (int, off64_t *, int, off64_t *, size_t, unsigned))                                   \
    X(fdopen, FILE *, (int, const char *))                                                                   \
    X(shutdown, int, (int, int))                                                                             \
    X(dup, int, (int))                                                                                       \
    X(dup2, int, (int, int))                                                                                 \
    X(dup3, int, (int, int, int))                                                                            \
    X(close_range, int, (unsigned, unsigned, int))                                                           \
    X(closefrom, void, (int))                                                                                \
    X(__read_chk, ssize_t, (int, void *, size_t, size_t))                                                    \
    X(__recv_chk, ssize_t, (int, void *, size_t, size_t, int))                                               \
    X(__recvfrom_chk, ssize_t, (int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *))

#define NEXT_ENUM(name, ret, args) NEXT_##name,
enum next_id { NEXT_LIST(NEXT_ENUM) NEXT_COUNT };
#undef NEXT_ENUM

extern void *_Atomic next_table[NEXT_COUNT];
/* Looks one up, remembers it, keeps errno. NULL when libc has none. */
void *next_resolve(enum next_id id);
void next_resolve_all(void);

#define NEXT_TYPE(name, ret, args) typedef ret(*next_##name##_fn) args;
NEXT_LIST(NEXT_TYPE)
#undef NEXT_TYPE

static inline void *next_known(enum next_id id)
{
    /* relaxed: it points to what has always been there */
    return atomic_load_explicit(&next_table[id], memory_order_relaxed);
}
static inline void *next_found(enum next_id id)
{
    void *f = next_known(id);
    return __builtin_expect(f != NULL, 1) ? f : next_resolve(id);
}
/* NEXT(recv)(fd, ...) calls libc's recv. */
#define NEXT(name) ((next_##name##_fn)next_found(NEXT_##name))
/* The same where it has been looked up, else NULL: a caller that leaves the looking up to another function
 * needs no frame. */
#define NEXT_KNOWN(name) ((next_##name##_fn)next_known(NEXT_##name))

#endif
