/* SPDX-License-Identifier: Apache-2.0 */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { SOCKETS = 32, FD_HIGH = 200 /* above what servers number their own with */ };

/* One thread at a time, as all of the exporter. A number stays here until its user closes it, also when it is
 * no longer ours: a late close() must not reach its new owner. */
static struct {
    int fd_and_one; /* 0: free */
    dev_t dev;
    ino_t ino;
} known[SOCKETS];

#ifdef EXPORTER_WRAPS
int __real_close(int fd);
int __real_socket(int family, int type, int protocol);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
#define real_getsockopt __real_getsockopt
#define real_close __real_close
#define real_socket __real_socket
#else
#define real_close close
#define real_getsockopt getsockopt
#define real_socket socket
#endif

static int find(int fd)
{
    for (int i = 0; i < SOCKETS; i++)
        if (known[i].fd_and_one == fd + 1)
            return i;
    return -1;
}

static bool same(int i)
{
#ifdef EXPORTER_WITHOUT_CHECKS
    (void)i;
    return true; /* tests only: to show what the check prevents */
#else
    struct stat st;
    int keep = errno;
    bool yes =
        fstat(known[i].fd_and_one - 1, &st) == 0 && st.st_dev == known[i].dev && st.st_ino == known[i].ino;
    errno = keep;
    return yes;
#endif
}

static bool is(int fd, const struct stat *wanted)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_dev == wanted->st_dev && st.st_ino == wanted->st_ino;
}

/* Closes a number if it is that file yet. */
static void close_if(int fd, const struct stat *wanted)
{
    if (is(fd, wanted))
        real_close(fd);
}

/* The socket under a number of at least `low` that is none of ours, or -1. Its first number is the lowest
 * there is, which is what a process that closes everything gets for its next file: each step looks again. */
static int raised(int fd, int low, const struct stat *it)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, low);
    while (moved >= 0 && find(moved) >= 0) { /* a number we lost, whose close() is still to come */
        int next = fcntl(moved, F_DUPFD_CLOEXEC, moved + 1);
        close_if(moved, it);
        moved = next;
    }
    close_if(fd, it);
    /* Another file is there: its owner took that number, or took the first one, and this is a copy. Which,
     * nobody can tell: it is left alone. */
    return moved >= 0 && is(moved, it) ? moved : -1;
}

/* Just made by us: a socket of that kind, connected to nobody. */
static bool fresh(int fd, int type, struct stat *st)
{
    int kind = 0;
    socklen_t len = sizeof kind;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    return fstat(fd, st) == 0 && S_ISSOCK(st->st_mode) &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_len) != 0 &&
           real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &len) == 0 && kind == type;
}

int sockets_make(int family, int type, int protocol)
{
    int at = 0;
    while (at < SOCKETS && known[at].fd_and_one)
        at++;
    if (at == SOCKETS) {
        errno = EMFILE;
        return -1;
    }
    int fd = real_socket(family, type | SOCK_CLOEXEC, protocol);
    struct stat st;
    if (fd < 0)
        return -1;
    if (!fresh(fd, type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), &st)) {
        errno = EBADF; /* taken at once */
        return -1;
    }
    struct rlimit limit;
    int high = FD_HIGH;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FD_HIGH + 2 * SOCKETS)
        high = limit.rlim_cur > 64 ? (int)limit.rlim_cur - SOCKETS : 3;
    fd = raised(fd, high, &st);
    if (fd < 0) {
        errno = EMFILE;
        return -1;
    }
    known[at].fd_and_one = fd + 1;
    known[at].dev = st.st_dev;
    known[at].ino = st.st_ino;
    return fd;
}

bool sockets_ours(int fd)
{
    int i = find(fd);
    return i >= 0 && same(i);
}

bool sockets_known(int fd)
{
    return find(fd) >= 0;
}

int sockets_close(int fd)
{
    int i = find(fd);
    if (i < 0)
        return 0;
    bool ours = same(i);
    known[i].fd_and_one = 0;
    return ours ? real_close(fd) : 0;
}

bool sockets_lost(void)
{
    for (int i = 0; i < SOCKETS; i++)
        if (known[i].fd_and_one && !same(i))
            return true;
    return false;
}

void sockets_forget(void)
{
    for (int i = 0; i < SOCKETS; i++)
        if (known[i].fd_and_one)
            sockets_close(known[i].fd_and_one - 1);
}
