/* SPDX-License-Identifier: Apache-2.0
 * calls.c - calls on an fd that is of no interest, for counting their instructions from outside.
 *
 * calls CALL N [serving]: the calls are made in measured(), which the counter looks for. "serving": in a
 * process that has accepted a connection before, on a socket that has been looked at and is no HTTP. It has a
 * second thread then, as a server under forkspan has: libc's own calls take their longer way in such a
 * process.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 100 };
static int fds[2], copies[MOST]; /* made before: what dup() costs is none of close() */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* One byte in the socket stays one: what is written to one end is read from the other. */
__attribute__((noinline)) void measured(const char *call, int n);
__attribute__((noinline)) void measured(const char *call, int n)
{
    char byte = 0;
    ssize_t done = 0;
    if (strcmp(call, "read") == 0)
        for (int i = 0; i < n; i++)
            done += read(fds[0], &byte, 1);
    else if (strcmp(call, "recv") == 0)
        for (int i = 0; i < n; i++)
            done += recv(fds[0], &byte, 1, 0);
    else if (strcmp(call, "write") == 0)
        for (int i = 0; i < n; i++)
            done += write(fds[1], &byte, 1);
    else if (strcmp(call, "send") == 0)
        for (int i = 0; i < n; i++)
            done += send(fds[1], &byte, 1, 0);
    else if (strcmp(call, "close") == 0)
        for (int i = 0; i < n; i++)
            done += close(copies[i]) == 0;
    if (done != n)
        die(call);
}

static void *wait_for_ever(void *arg)
{
    pause();
    return arg;
}

/* The process is a server from here on, if somebody looks. */
static void serve_once(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    if (listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &len) != 0 ||
        connect(client, (struct sockaddr *)&address, len) != 0 || accept(listener, NULL, NULL) < 0)
        die("serving");
    pthread_t id;
    if (pthread_create(&id, NULL, wait_for_ever, NULL) != 0)
        die("pthread_create");
}

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : 0;
    if (n < 1 || n > MOST)
        return 2;
    if (argc > 3)
        serve_once();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        die("socketpair");
    char bytes[128] = {0};
    /* room for all, and what is looked up once has been looked up */
    if (write(fds[1], bytes, 100) != 100 || send(fds[1], bytes, 1, 0) != 1 ||
        recv(fds[0], bytes, 1, 0) != 1 || read(fds[0], bytes, 1) != 1 || close(dup(fds[0])) != 0 ||
        write(fds[1], bytes, 2) != 2)
        die("warm");
    for (int i = 0; i < n; i++)
        copies[i] = dup(fds[0]);
    measured(argv[1], n);
    return 0;
}
