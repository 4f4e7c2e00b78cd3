/* SPDX-License-Identifier: Apache-2.0
 * matrix_facts.c - what a process of the matrix sees, written down without allocating.
 */
#include "matrix.h"

#include "forkspan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void path_of(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", opt.folder, name);
}

void fact(const char *format, ...)
{
    int keep = errno;
    char line[1024], path[256];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line - 1, format, ap);
    va_end(ap);
    if (n > (int)sizeof line - 2)
        n = (int)sizeof line - 2;
    line[n] = '\n';
    path_of(path, "facts");
    /* by number: no cancellation point, no wrapper of anybody's; opened each time, since all fds may be
     * closed */
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || syscall(SYS_write, fd, line, (size_t)n + 1) != n + 1)
        _exit(99);
    syscall(SYS_close, fd);
    errno = keep;
}

int count_threads(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : -1;
}

void see_threads(const char *who, int wanted)
{
    /* a thread that was joined is in /proc for a moment yet */
    for (int i = 0; i < 200 && count_threads() > wanted; i++)
        poll(NULL, 0, 5);
    fact("t %s %d %d", who, count_threads(), wanted);
}

/* errno, signal mask and open files. A socket's number is the host's, its inode is not. */
void see_process(const char *who, int error)
{
    sigset_t mask;
    uint64_t bits = 0;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i <= 64; i++)
        bits |= (uint64_t)(sigismember(&mask, i) == 1) << (i - 1);
    char fds[768];
    size_t used = 0;
    fds[0] = '\0';
    for (int fd = 0; fd < 260 && used < sizeof fds - 64;
         fd = fd == 48 ? 196 : fd + 1) { /* low ones, and an exporter's */
        char link[64], target[256];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n < 0)
            continue;
        target[n] = '\0';
        char *end = strchr(target, '[');
        if (end)
            *end = '\0';
        if (strncmp(target, "/dev/pts/", 9) == 0)
            target[8] = '\0';
        const char *base = strrchr(target, '/');
        used += (size_t)snprintf(fds + used, sizeof fds - used, "%d=%.24s,", fd, base ? base + 1 : target);
    }
    fact("h %s errno %d", who, error);
    fact("h %s mask %016llx", who, (unsigned long long)bits);
    fact("h %s fds %s", who, fds);
}

bool exists(const char *name)
{
    char path[256];
    path_of(path, name);
    return access(path, F_OK) == 0;
}

void make(const char *name)
{
    char path[256];
    path_of(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0)
        close(fd);
}

bool wait_for(const char *name, int ms)
{
    /* a file, polled: the other side is a receiver that any of many processes may be talking to */
    for (int waited = 0; !exists(name); waited += 2) {
        if (waited >= ms)
            return false;
        poll(NULL, 0, 2);
    }
    return true;
}

void end_span(const char *name)
{
    struct forkspan_span *s = forkspan_start(name, FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    forkspan_set_int(s, "n", 1);
    forkspan_end(s);
}

void end_spans(const char *who, int n)
{
    for (int i = 0; i < n; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s-%d", who, i);
        if (traced)
            fact("s %s", name);
        end_span(name);
    }
}
