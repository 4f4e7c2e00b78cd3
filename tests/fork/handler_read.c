/* SPDX-License-Identifier: Apache-2.0
 * handler_read.c - workers whose SIGUSR1 handler interrupts malloc and reads the first request of a process.
 *
 *     handler_read N read     the handler reads and answers a request; the next one is read in ordinary code
 *     handler_read N accept   the handler accepts the connection, too
 *     handler_read N control  the handler starts a thread, as nobody may
 *
 * A worker that hangs is killed. Prints "workers N hung N helped N": in how many there was one thread more
 * than the worker's own after the ordinary read.
 */
#include "storm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { READ, ACCEPT, CONTROL };

static int what, listener, client, server = -1, number;
static struct sockaddr_in at;
static pthread_t worker;
static _Atomic bool in_loop;
static volatile sig_atomic_t handled;

static void *nothing(void *arg)
{
    return arg;
}

static void answer(void)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    char request[200];
    if (read(server, request, sizeof request) <= 0 || write(server, text, sizeof text - 1) < 0)
        _exit(2);
}

/* What no handler may do is what this is about. NOLINTBEGIN(bugprone-signal-handler) */
static void on_usr1(int sig)
{
    (void)sig;
    int keep = errno;
    if (what == CONTROL) {
        pthread_t id;
        pthread_create(&id, NULL, nothing, NULL);
    } else {
        if (what == ACCEPT)
            server = accept(listener, NULL, NULL);
        answer();
    }
    handled = 1;
    errno = keep;
}
/* NOLINTEND(bugprone-signal-handler) */

/* A second thread of the worker's own: without one malloc takes no lock. */
static void *interrupt(void *arg)
{
    (void)arg;
    while (!atomic_load(&in_loop))
        sched_yield();
    nanosleep(&(struct timespec){0, 20000 + number * 7919 % 400000}, NULL);
    pthread_kill(worker, SIGUSR1);
    while (!handled)
        poll(NULL, 0, 1);
    pause();
    return NULL;
}

static void ask(const char *path)
{
    char text[128];
    int n = snprintf(text, sizeof text, "GET /%s%d HTTP/1.1\r\nHost: handler\r\n\r\n", path, number);
    if (write(client, text, (size_t)n) != n)
        _exit(3);
}

static int threads(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : -1;
}

static void work(void)
{
    pthread_t id;
    client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *)&at, sizeof at) != 0)
        _exit(4);
    if (what != ACCEPT)
        server = accept(listener, NULL, NULL);
    ask("first");
    worker = pthread_self();
    signal(SIGUSR1, on_usr1);
    pthread_create(&id, NULL, interrupt, NULL);
    atomic_store(&in_loop, true);
    while (!handled)
        for (size_t i = 0; i < 100; i++) { /* mostly inside the allocator, which has its lock then */
            char *volatile p = malloc(i * 701 % 70000 + 2000);
            free(p);
        }
    if (what == CONTROL)
        _exit(0);
    ask("second");
    answer();
    bool helped = false;
    for (int i = 0; i < 400 && !(helped = threads() == 3); i++)
        poll(NULL, 0, 5);
    close(server);
    exit(helped ? 10 : 0);
}

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[1]) : 0, hung = 0, helped = 0;
    socklen_t len = sizeof at;
    what = argc > 2 && argv[2][0] == 'c' ? CONTROL : argc > 2 && argv[2][0] == 'a' ? ACCEPT : READ;
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0)
        return 2;
    for (number = 0; number < n; number++) {
        pid_t pid = fork();
        if (pid == 0)
            work();
        int status = 0;
        hung += !child_status(pid, what == CONTROL ? 1000 : 5000, &status);
        helped += status == 10 << 8;
        if (status != 10 << 8 && status != 0 && WIFEXITED(status))
            return 3;
        if (what == CONTROL && hung)
            number = n;
    }
    printf("workers %d hung %d helped %d\n", n, hung, helped);
    return 0;
}
