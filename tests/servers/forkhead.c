/* SPDX-License-Identifier: Apache-2.0
 *
 * Two servers that no package has.
 *
 *   forkhead head PORT     a process accepts and reads each request's head, and a child made for it, without
 *                          exec, reads the body and answers; it leaves by exit() or _exit() in turn
 *   forkhead clone PORT    four workers made by clone() on stacks of 16 KiB, where that is permitted in PID
 *                          namespaces of their own (uWSGI's --namespace), each accepting for itself
 *
 * /STATUS/KIND/...: as tests/servers/app.py answers it; KIND chunked has no length and ends with the
 * connection. X-Pid names who answered. SIGTERM ends it.
 */
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;
static int listener;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

static size_t head_read(int fd, char *buffer, size_t room)
{
    size_t n = 0;
    while (n < room - 1) {
        ssize_t got = read(fd, buffer + n, room - 1 - n);
        if (got <= 0)
            return 0;
        n += (size_t)got;
        buffer[n] = 0;
        if (strstr(buffer, "\r\n\r\n"))
            return n;
    }
    return 0;
}

static void answer(int fd, char *head, size_t n)
{
    char text[1024], method[16] = "", path[256] = "", kind[16] = "fixed";
    int status = 200;
    sscanf(head, "%15s %255[^? ]", method, path);
    sscanf(path, "/%d/%15[^/]", &status, kind);
    const char *length = strstr(head, "Content-Length: ");
    size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
    size_t have = n - (size_t)(strstr(head, "\r\n\r\n") + 4 - head);
    char sink[4096];
    while (have < body) {
        ssize_t got = read(fd, sink, sizeof sink);
        if (got <= 0)
            return;
        have += (size_t)got;
    }
    int empty = strcmp(kind, "empty") == 0 || status == 204 || status == 304;
    size_t answer_length = empty ? 0 : strlen(path) + 6;
    int at = snprintf(text, sizeof text, "HTTP/1.1 %d Word\r\nX-Pid: %d\r\nConnection: close\r\n", status,
                      getpid());
    if (strcmp(kind, "chunked") != 0 && status != 204 && status != 304)
        at += snprintf(text + at, sizeof text - (size_t)at, "Content-Length: %zu\r\n", answer_length);
    at += snprintf(text + at, sizeof text - (size_t)at, "\r\n");
    if (!empty && strcmp(method, "HEAD") != 0)
        at += snprintf(text + at, sizeof text - (size_t)at, "path %s\n", path);
    if (write(fd, text, (size_t)at) != at)
        perror("write");
}

static int serve_head(void)
{
    static char head[65536];
    unsigned long served = 0;
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        size_t n = head_read(fd, head, sizeof head);
        pid_t pid = n ? fork() : -1;
        if (pid == 0) {
            close(listener);
            answer(fd, head, n);
            close(fd);
            if (served % 2)
                exit(0);
            _exit(0);
        }
        served++;
        close(fd);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return 0;
}

static int worker(void *unused)
{
    static char head[65536];
    (void)unused;
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        size_t n = head_read(fd, head, sizeof head);
        if (n)
            answer(fd, head, n);
        close(fd);
    }
    exit(0);
}

static int serve_clone(void)
{
    static _Alignas(16) char stack[4][16384];
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = clone(worker, stack[i] + sizeof stack[i], CLONE_NEWPID | SIGCHLD, NULL);
        if (pids[i] < 0)
            pids[i] = clone(worker, stack[i] + sizeof stack[i], SIGCHLD, NULL);
    }
    while (!stopping)
        pause();
    for (int i = 0; i < 4; i++)
        kill(pids[i], SIGTERM);
    for (int i = 0; i < 4; i++)
        waitpid(pids[i], NULL, 0);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: accept returns */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 256)) {
        perror("forkhead");
        return 1;
    }
    return strcmp(argv[1], "clone") == 0 ? serve_clone() : serve_head();
}
