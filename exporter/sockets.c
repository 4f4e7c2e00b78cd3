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
#define real_close __real_close
#define real_socket __real_socket
#else
#define real_close close
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
    struct stat st;
    int keep = errno;
    bool yes =
        fstat(known[i].fd_and_one - 1, &st) == 0 && st.st_dev == known[i].dev && st.st_ino == known[i].ino;
    errno = keep;
    return yes;
}

/* The fd under a number of at least `low`, or where it is. */
static int raised(int fd, int low)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, low);
    if (moved < 0)
        return fd;
    real_close(fd);
    return moved;
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
    if (fd < 0)
        return -1;
    struct rlimit limit;
    int high = FD_HIGH;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FD_HIGH + 2 * SOCKETS)
        high = limit.rlim_cur > 64 ? (int)limit.rlim_cur - SOCKETS : 3;
    fd = raised(fd, high);
    while (find(fd) >= 0) { /* a number we lost, whose close() is still to come */
        int moved = raised(fd, fd + 1);
        if (moved == fd) {
            real_close(fd);
            errno = EMFILE;
            return -1;
        }
        fd = moved;
    }
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -1; /* taken at once */
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
