/* SPDX-License-Identifier: Apache-2.0
 * each.c - a server that makes a process for each request.
 *
 * each HOW LEAVE BUSY. HOW: fork, _Fork, clone, raw-clone, clone3, double, thread. LEAVE: exit, _exit, kill,
 * abort, exec, return. BUSY: how many threads of the master do what threads do meanwhile. Prints its port and
 * pid. GET /... is answered by the new process, which then leaves. SIGTERM: those that run are given two
 * seconds; the exit status is the number of those that had to be killed.
 */
#include <errno.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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
        exit(serve((int)(intptr_t)fd));
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

static void *busy(void *unused)
{
    (void)unused;
    for (unsigned i = 0;; i++) {
        char *volatile p = malloc(i % 5000 + 1);
        time_t now = time(NULL);
        struct tm parts;
        localtime_r(&now, &parts);
        free(p);
        if (i % 64 == 0)
            usleep(100); /* beside two busy processors nobody else's test would run */
    }
    return NULL;
}

/* How many of the children had to be killed. */
static int end_of_all(void)
{
    int killed = 0;
    for (int ms = 0; ms < 2000; ms++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            return 0;
        if (pid == 0)
            usleep(1000);
    }
    char path[64], list[65536];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(list, 1, sizeof list - 1, f) : 0;
    list[n] = '\0';
    if (f)
        fclose(f);
    for (char *rest = list, *word; (word = strtok_r(rest, " ", &rest));)
        killed += kill(atoi(word), SIGKILL) == 0;
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return killed;
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
    if (!strcmp(how, "double"))
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* so that what hangs is counted here */
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, &before);
    for (int i = 0; i < atoi(argv[3]); i++) {
        pthread_t id;
        pthread_create(&id, NULL, busy, NULL);
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
    return end_of_all();
}
