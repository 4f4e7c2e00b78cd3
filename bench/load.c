/* SPDX-License-Identifier: Apache-2.0
 * load.c - GET requests at a fixed rate over connections that stay: as many to a server that is a little
 * slower as to one that is not. Of a load that asks again as soon as it is answered, a slower server has
 * more pauses to wake its client from, and pays for them; at an equal rate the client sleeps about as often.
 *
 * load PORT PATH CONNECTIONS RATE SECONDS    RATE is in requests a second, over all connections
 *
 * A request is due each 1/RATE seconds and goes out on the connection that has been idle longest, late where
 * none is. Prints how many were answered within SECONDS; 1 where an answer is longer than the first, or not
 * complete after half a second.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, ANSWER_MAX = 65536 };

static const uint64_t second = 1000000000;

static struct {
    int fd;
    size_t have; /* bytes of the answer that it waits for */
    uint64_t asked_ns;
} connections[CONNECTIONS_MAX];

static unsigned idle[CONNECTIONS_MAX], idle_first, idle_count; /* a queue in a circle */
static char request[512], bytes[ANSWER_MAX];
static size_t request_len, answer_len;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * second + (uint64_t)t.tv_nsec;
}

static int connected(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    return fd;
}

static void ask(int fd)
{
    if (write(fd, request, request_len) != (ssize_t)request_len)
        fail("write");
}

/* Head and body of the first answer: all have the same. */
static size_t length_of_answer(int fd)
{
    size_t have = 0;
    ask(fd);
    for (;;) {
        ssize_t n = read(fd, bytes + have, sizeof bytes - 1 - have);
        if (n <= 0)
            fail("no whole answer");
        have += (size_t)n;
        bytes[have] = '\0';
        const char *end = strstr(bytes, "\r\n\r\n"), *length = strcasestr(bytes, "\r\ncontent-length:");
        if (end && length && length < end) {
            size_t whole = (size_t)(end - bytes) + 4 + strtoul(length + 17, NULL, 10);
            if (have >= whole)
                return whole;
        }
    }
}

static void becomes_idle(unsigned which)
{
    idle[(idle_first + idle_count++) % CONNECTIONS_MAX] = which;
}

static void ask_on_idle(uint64_t now)
{
    unsigned which = idle[idle_first];
    idle_first = (idle_first + 1) % CONNECTIONS_MAX;
    idle_count--;
    connections[which].have = 0;
    connections[which].asked_ns = now;
    ask(connections[which].fd);
}

/* True: its answer is complete. */
static bool answered(unsigned which)
{
    ssize_t n = read(connections[which].fd, bytes, sizeof bytes);
    if (n <= 0)
        fail("connection ended");
    connections[which].have += (size_t)n;
    if (connections[which].have > answer_len) {
        fprintf(stderr, "an answer longer than the first\n");
        exit(1);
    }
    return connections[which].have == answer_len;
}

static void check_waiting(unsigned long count, uint64_t now)
{
    for (unsigned i = 0; i < count; i++)
        if (connections[i].have != answer_len && now > connections[i].asked_ns + second / 2) {
            fprintf(stderr, "no whole answer within half a second\n");
            exit(1);
        }
}

static unsigned long run(int poller, int timer, unsigned long count, double rate, uint64_t duration)
{
    unsigned long asked = 0, done = 0;
    uint64_t begin = now_ns(), armed = 0;
    for (;;) {
        uint64_t now = now_ns(), elapsed = now - begin, due = 0;
        if (elapsed >= duration) {
            check_waiting(count, now);
            return done;
        }
        while (idle_count && (due = (uint64_t)((double)asked * (double)second / rate)) <= elapsed) {
            ask_on_idle(now);
            asked++;
        }
        if (idle_count && due != armed) {
            uint64_t at = begin + due;
            struct itimerspec when = {
                .it_value = {.tv_sec = (time_t)(at / second), .tv_nsec = (long)(at % second)}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
            armed = due;
        }
        struct epoll_event events[CONNECTIONS_MAX + 1];
        int n = epoll_wait(poller, events, CONNECTIONS_MAX + 1, 1000);
        for (int i = 0; i < n; i++)
            if (events[i].data.u32 == CONNECTIONS_MAX) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) < 0)
                    fail("timer");
            } else if (answered(events[i].data.u32)) {
                becomes_idle(events[i].data.u32);
                done++;
            }
    }
}

int main(int argc, char **argv)
{
    unsigned long count = argc == 6 ? strtoul(argv[3], NULL, 10) : 0;
    double rate = argc == 6 ? strtod(argv[4], NULL) : 0, seconds = argc == 6 ? strtod(argv[5], NULL) : 0;
    if (count < 1 || count > CONNECTIONS_MAX || !(rate > 0) || !(seconds > 0)) {
        fprintf(stderr, "load PORT PATH CONNECTIONS RATE SECONDS\n");
        return 2;
    }
    request_len = (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n",
                                   argv[2], argv[1]);
    int poller = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    for (unsigned i = 0; i < count; i++) {
        connections[i].fd = connected((uint16_t)strtoul(argv[1], NULL, 10));
        if (i == 0)
            answer_len = length_of_answer(connections[i].fd);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, connections[i].fd, &event) != 0)
            fail("epoll_ctl");
        connections[i].have = answer_len;
        becomes_idle(i);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = CONNECTIONS_MAX};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event) != 0)
        fail("epoll_ctl");
    printf("%lu\n", run(poller, timer, count, rate, (uint64_t)(seconds * (double)second)));
    return 0;
}
