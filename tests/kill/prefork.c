/* SPDX-License-Identifier: Apache-2.0
 * prefork.c - a small prefork server whose workers die on request.
 *
 * prefork WORKERS [late]. Prints its port and pid. GET /ok/N answers with the worker's pid; /hang/N answers
 * never; /abort/N, /exit/N, /exec/N, /rlimit/N and /grow/N end the worker before the answer (die.h), /late/N
 * after it and before the close. A worker that died is replaced. SIGTERM: the workers end, then the master.
 * "late": a master that does not look after its children before it stops. It tells them to stop, which they
 * do by exit, and reaps the one that had died before when all others have ended, or half a second later.
 */
#include "die.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS_MAX = 64 };
static volatile sig_atomic_t stopping;
static int late;

static void on_term(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

/* Reads to the end of the head; false where the client has gone. */
static int read_head(int fd, char *head, size_t room)
{
    size_t used = 0;
    while (used + 1 < room) {
        ssize_t n = read(fd, head + used, room - 1 - used);
        if (n <= 0)
            return 0;
        used += (size_t)n;
        head[used] = '\0';
        if (strstr(head, "\r\n\r\n"))
            return 1;
    }
    return 0;
}

static void limit_memory(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
}

static void die_if_asked(const char *path)
{
    static const struct {
        const char *path;
        int (*die)(void *);
    } ways[] = {{"/hang/", die_hang}, {"/abort/", die_abort},   {"/exit/", die_exit},
                {"/exec/", die_exec}, {"/rlimit/", die_rlimit}, {"/grow/", die_grow}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (!strncmp(path, ways[i].path, strlen(ways[i].path)))
            ways[i].die(NULL);
}

static void answer(int fd)
{
    char head[4096], body[32], text[256];
    if (!read_head(fd, head, sizeof head))
        return;
    if (!strncmp(head, "GET ", 4))
        die_if_asked(head + 4);
    if (!strncmp(head, "GET /squeeze/", 13))
        limit_memory(1 << 20);
    if (!strncmp(head, "GET /ease/", 10))
        limit_memory(RLIM_INFINITY);
    snprintf(body, sizeof body, "%d", (int)getpid());
    int n =
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 strlen(body), body);
    if (write(fd, text, (size_t)n) != n)
        return;
    if (!strncmp(head, "GET /late/", 10))
        raise(SIGKILL);
}

static void worker(int listener)
{
    if (!late)
        signal(SIGTERM, SIG_DFL);
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        answer(fd);
        close(fd);
    }
    if (late)
        exit(0);
    _exit(0);
}

static pid_t spawn(int listener)
{
    pid_t pid = fork();
    if (pid == 0)
        worker(listener);
    return pid;
}

/* True when every child has ended; none is reaped. */
static int all_ended(const pid_t *workers, int n)
{
    for (int i = 0; i < n; i++) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)workers[i], &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 4;
    late = argc > 2;
    pid_t workers[WORKERS_MAX];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (n < 1 || n > WORKERS_MAX || bind(listener, (struct sockaddr *)&at, len) || listen(listener, 128) ||
        getsockname(listener, (struct sockaddr *)&at, &len))
        return 1;
    struct sigaction action = {.sa_handler = on_term}; /* no SA_RESTART: wait must come back */
    sigaction(SIGTERM, &action, NULL);
    for (int i = 0; i < n; i++)
        workers[i] = spawn(listener);
    printf("%d %d\n", ntohs(at.sin_port), (int)getpid());
    fflush(stdout);
    sigset_t term, none;
    sigemptyset(&none);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    while (late && !stopping)
        sigsuspend(&none);
    sigprocmask(SIG_UNBLOCK, &term, NULL);
    while (!stopping) {
        pid_t gone = wait(NULL);
        for (int i = 0; i < n && !stopping; i++)
            if (gone > 0 && workers[i] == gone)
                workers[i] = spawn(listener);
    }
    for (int i = 0; i < n; i++)
        kill(workers[i], SIGTERM);
    for (int ms = 0; late && ms < 500 && !all_ended(workers, n); ms++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    return 0;
}
