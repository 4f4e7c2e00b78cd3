/* SPDX-License-Identifier: Apache-2.0
 * each.c - a server that makes a process for each request.
 *
 * each HOW LEAVE BUSY. HOW: fork, _Fork, clone, raw-clone, clone3, double, thread. LEAVE: exit, _exit, kill,
 * abort, exec, return. BUSY: how many threads of the master hold, most of the time, locks that a child would
 * never see released. Prints its port and pid. GET /... is answered by the new process, which then leaves.
 *
 * return: from the function that clone was given; from that of the thread that forked, which is the last one
 * of its process then; elsewhere there is no function but main to return from.
 *
 * SIGTERM: it leaves, without a look at its children.
 */
#include <dlfcn.h>
#include <linux/sched.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

static volatile sig_atomic_t stopping;
static const char *how, *leave;
static int listener;

static void on_term(int signal_number)
{
    (void)signal_number;
    stopping = 1;
    shutdown(listener, SHUT_RDWR); /* an accept that begins only now returns, too */
}

static void answer(int fd)
{
    char head[4096];
    size_t used = 0;
    while (used + 1 < sizeof head) {
        ssize_t n = read(fd, head + used, sizeof head - 1 - used);
        if (n <= 0)
            return;
        used += (size_t)n;
        head[used] = '\0';
        if (strstr(head, "\r\n\r\n"))
            break;
    }
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    if (write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1)
        return;
    close(fd);
}

/* Returns where the process is to end by returning. */
static int serve(int fd)
{
    struct rlimit none = {0, 0};
    close(listener);
    signal(SIGTERM, SIG_DFL);
    answer(fd);
    switch (leave[0]) {
    case '_':
        _exit(0);
    case 'k':
        raise(SIGKILL);
        break;
    case 'a':
        setrlimit(RLIMIT_CORE, &none);
        abort();
    case 'r':
        return 0;
    default:
        if (!strcmp(leave, "exec"))
            execl("/bin/true", "true", (char *)NULL);
        exit(0);
    }
    return 1;
}

static int by_clone(void *fd)
{
    return serve((int)(intptr_t)fd);
}

static void *by_thread(void *fd)
{
    pid_t pid = fork();
    if (pid == 0)
        serve((int)(intptr_t)fd);
    return NULL;
}

/* Returns 0 in a child that goes on here. */
static pid_t child(int fd)
{
    static _Alignas(16) char stack[65536];
    if (!strcmp(how, "_Fork"))
        return _Fork();
    if (!strcmp(how, "raw-clone"))
        return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0L);
    if (!strcmp(how, "clone3")) {
        struct clone_args arguments = {.exit_signal = SIGCHLD};
        return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    }
    if (!strcmp(how, "clone"))
        return clone(by_clone, stack + sizeof stack, SIGCHLD, (void *)(intptr_t)fd);
    if (!strcmp(how, "thread")) {
        pthread_t id;
        if (pthread_create(&id, NULL, by_thread, (void *)(intptr_t)fd) == 0)
            pthread_join(id, NULL);
        return 1;
    }
    pid_t pid = fork();
    if (pid == 0 && !strcmp(how, "double") && fork() != 0)
        _exit(0);
    return pid;
}

/* Each of three has another lock: malloc's and the time zone's, stdio's, the loader's. */
static void *busy(void *which)
{
    FILE *nowhere = fopen("/dev/null", "w");
    setvbuf(nowhere, NULL, _IONBF, 0);
    for (unsigned i = 0;; i++) {
        time_t now = 0;
        struct tm parts;
        switch ((intptr_t)which % 3) {
        case 0:
            free(malloc(i % 5000 + 1));
            localtime_r(&now, &parts);
            break;
        case 1:
            fputs("busy\n", nowhere);
            fflush(NULL);
            break;
        default:
            (void)dlsym(RTLD_DEFAULT, "there is no such thing");
        }
        if (i % 256 == 0)
            usleep(50); /* beside two busy processors nobody else's test would run */
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    if (argc < 4)
        return 99;
    how = argv[1];
    leave = argv[2];
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    if (bind(listener, (struct sockaddr *)&at, len) || listen(listener, 128) ||
        getsockname(listener, (struct sockaddr *)&at, &len))
        return 98;
    mallopt(M_ARENA_MAX, 1); /* its lock is everybody's */
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, &before);
    for (int i = 0; i < atoi(argv[3]); i++) {
        pthread_t id;
        pthread_create(&id, NULL, busy, (void *)(intptr_t)i);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    printf("%d %d\n", ntohs(at.sin_port), (int)getpid());
    fflush(stdout);
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (child(fd) == 0)
            return serve(fd);
        close(fd);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    return 0;
}
