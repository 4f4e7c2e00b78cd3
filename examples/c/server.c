/* SPDX-License-Identifier: Apache-2.0
 * server.c - a prefork HTTP server with spans of its own, in plain C.
 *
 * forkspan makes the span of each request. This program adds what it does meanwhile: "look up", and below it
 * "compute". Nothing names a parent: the request that the worker is serving is found. Without forkspan it
 * serves the same pages.
 *
 *     GET /square/12    144
 *     GET /square/x     400, and an error in the span
 */
#include <forkspan.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, CACHE = 16 };

static struct {
    long n, square;
    bool there;
} cache[CACHE];

static long compute(long n)
{
    struct forkspan_span *s = forkspan_start("compute", FORKSPAN_INTERNAL, NULL);
    long square = n * n;
    forkspan_set_int(s, "square", square);
    forkspan_end(s);
    return square;
}

/* False: not a number that can be squared. */
static bool look_up(const char *text, long *square)
{
    struct forkspan_span *s = forkspan_start("look up", FORKSPAN_INTERNAL, NULL);
    char *end;
    long n = strtol(text, &end, 10);
    bool good = end != text && *end == '\0' && n >= 0 && n < 1000000000;
    forkspan_attach(s); /* what is started until its end is below it */
    if (!good) {
        forkspan_set_status(s, FORKSPAN_ERROR, "not a number");
    } else {
        size_t place = (size_t)n % CACHE;
        bool hit = cache[place].there && cache[place].n == n;
        forkspan_set_int(s, "n", n);
        forkspan_set_bool(s, "cache.hit", hit);
        if (!hit) {
            cache[place].n = n;
            cache[place].square = compute(n);
            cache[place].there = true;
        }
        *square = cache[place].square;
    }
    forkspan_end(s);
    return good;
}

static void answer(int fd, const char *status, const char *body)
{
    char response[512];
    int len = snprintf(response, sizeof response,
                       "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n%s",
                       status, strlen(body), body);
    for (const char *p = response; len > 0;) {
        ssize_t sent = write(fd, p, (size_t)len);
        if (sent <= 0)
            return;
        p += sent;
        len -= (int)sent;
    }
}

static void serve(int fd)
{
    char head[4096], path[256], body[64];
    size_t have = 0;
    do {
        ssize_t n = read(fd, head + have, sizeof head - 1 - have);
        if (n <= 0)
            return;
        have += (size_t)n;
        head[have] = '\0';
    } while (!strstr(head, "\r\n\r\n") && have < sizeof head - 1);
    if (sscanf(head, "GET /square/%255[^ ?] HTTP/1.", path) != 1) {
        answer(fd, "404 Not Found", "GET /square/NUMBER\n");
        return;
    }
    long square;
    if (look_up(path, &square)) {
        snprintf(body, sizeof body, "%ld\n", square);
        answer(fd, "200 OK", body);
    } else {
        answer(fd, "400 Bad Request", "not a number\n");
    }
}

/* Ends by a signal, without an exit handler: what it has finished is sent all the same. */
static void work(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        serve(fd);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    pid_t worker[WORKERS];
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 8000));
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64) ||
        getsockname(listener, (struct sockaddr *)&address, &len)) {
        perror("listen");
        return 1;
    }
    sigset_t ends, before;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, &before);
    for (int i = 0; i < WORKERS; i++) {
        worker[i] = fork();
        if (worker[i] == 0) {
            sigprocmask(SIG_SETMASK, &before, NULL);
            work(listener);
        }
    }
    printf("http://127.0.0.1:%u/square/12 (%d workers, forkspan %s)\n", ntohs(address.sin_port), WORKERS,
           forkspan_enabled() ? "on" : "off");
    fflush(stdout);
    int number;
    sigwait(&ends, &number);
    for (int i = 0; i < WORKERS; i++)
        if (worker[i] > 0)
            kill(worker[i], SIGTERM);
    while (wait(NULL) > 0)
        ;
    return 0;
}
