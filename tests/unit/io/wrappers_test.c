/* SPDX-License-Identifier: Apache-2.0
 *
 * The wrapped calls themselves, over real sockets: the wrappers are linked into this program, as a preload
 * would be, in front of libc's. Each way to read, to write, to close and to duplicate gives the span it must.
 */
#include "harness.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not <fcntl.h> and <sys/sendfile.h>: with _FILE_OFFSET_BITS=64 they make one name of two. */
#include <linux/fcntl.h>
int __close(int);
int fcntl(int, int, ...);
int fcntl64(int, int, ...);
ssize_t sendfile(int, int, off_t *, size_t);
ssize_t sendfile64(int, int, off64_t *, size_t);
ssize_t splice(int, off64_t *, int, off64_t *, size_t, unsigned);
ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);

static int listener = -1;

static void init(void)
{
    harness_init();
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&in, sizeof in), 0);
    cr_assert_eq(listen(listener, 8), 0);
}

TestSuite(wrappers, .init = init);

#define GET "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define HEAD_OF_5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

struct pair {
    int client, server;
};

static struct pair connected(void)
{
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    getsockname(listener, (struct sockaddr *)&in, &len);
    struct pair p = {.client = socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(connect(p.client, (struct sockaddr *)&in, sizeof in), 0);
    p.server = accept4(listener, NULL, NULL, 0);
    cr_assert_geq(p.server, 0);
    return p;
}

static void ask(struct pair p, const char *text)
{
    cr_assert_eq(send(p.client, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void answer(int fd)
{
    cr_assert_eq(write(fd, OK, strlen(OK)), (ssize_t)strlen(OK));
}

static void finish(struct pair p)
{
    close(p.server);
    close(p.client);
}

static char buffer[65536];

/* ---- ways to read */

static ssize_t by_readv(int fd)
{
    struct iovec iov[2] = {{buffer, 7}, {buffer + 7, sizeof buffer - 7}};
    return readv(fd, iov, 2);
}
static ssize_t by_recvmsg(int fd)
{
    struct iovec iov = {buffer, sizeof buffer};
    return recvmsg(fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, MSG_CMSG_CLOEXEC);
}
static ssize_t by_recvmmsg(int fd)
{
    struct iovec iov = {buffer, sizeof buffer};
    struct mmsghdr v = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    return recvmmsg(fd, &v, 1, 0, NULL) == 1 ? (ssize_t)v.msg_len : -1;
}
static ssize_t by_read(int fd)
{
    return read(fd, buffer, sizeof buffer);
}
static ssize_t by_recv(int fd)
{
    return recv(fd, buffer, sizeof buffer, 0);
}
static ssize_t by_recvfrom(int fd)
{
    return recvfrom(fd, buffer, sizeof buffer, 0, NULL, NULL);
}
static ssize_t by_read_chk(int fd)
{
    return __read_chk(fd, buffer, sizeof buffer, sizeof buffer);
}
static ssize_t by_recv_chk(int fd)
{
    return __recv_chk(fd, buffer, sizeof buffer, sizeof buffer, 0);
}
static ssize_t by_recvfrom_chk(int fd)
{
    return __recvfrom_chk(fd, buffer, sizeof buffer, sizeof buffer, 0, NULL, NULL);
}

Test(wrappers, ways_to_read)
{
    static ssize_t (*const ways[])(int) = {by_readv,    by_recvmsg,  by_recvmmsg, by_read,        by_recv,
                                           by_recvfrom, by_read_chk, by_recv_chk, by_recvfrom_chk};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct pair p = connected();
        ask(p, GET);
        memset(buffer, 0, sizeof buffer);
        errno = 77;
        cr_assert_eq(ways[i](p.server), (ssize_t)strlen(GET), "way %u", i);
        cr_assert_eq(errno, 77);
        cr_assert_str_eq(buffer, GET);
        answer(p.server);
        cr_assert_eq(n_caught, i + 1, "way %u", i);
        cr_assert_str_eq(attribute(&caught[i], "url.path"), "/x");
        cr_assert_str_eq(attribute(&caught[i], "network.peer.address"), "127.0.0.1");
        finish(p);
    }
    cr_assert_eq(n_caught, sizeof ways / sizeof *ways);
}

/* ---- ways to write */

static ssize_t by_write(int fd)
{
    return write(fd, OK, strlen(OK));
}
static ssize_t by_send(int fd)
{
    return send(fd, OK, strlen(OK), MSG_NOSIGNAL);
}
static ssize_t by_sendto(int fd)
{
    return sendto(fd, OK, strlen(OK), MSG_DONTWAIT, NULL, 0);
}
static ssize_t by_writev(int fd)
{
    struct iovec iov[3] = {{(char[]){"HTT"}, 3}, {NULL, 0}, {(char *)(uintptr_t)OK + 3, strlen(OK) - 3}};
    return writev(fd, iov, 3);
}
static ssize_t by_sendmsg(int fd)
{
    struct iovec iov = {(char *)(uintptr_t)OK, strlen(OK)};
    return sendmsg(fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, 0);
}
static ssize_t by_sendmmsg(int fd)
{
    struct iovec iov[2] = {{(char *)(uintptr_t)OK, 10}, {(char *)(uintptr_t)OK + 10, strlen(OK) - 10}};
    struct mmsghdr v[2] = {{.msg_hdr = {.msg_iov = iov, .msg_iovlen = 1}},
                           {.msg_hdr = {.msg_iov = iov + 1, .msg_iovlen = 1}}};
    return sendmmsg(fd, v, 2, 0) == 2 ? (ssize_t)(v[0].msg_len + v[1].msg_len) : -1;
}

Test(wrappers, ways_to_write)
{
    static ssize_t (*const ways[])(int) = {by_write, by_send, by_sendto, by_writev, by_sendmsg, by_sendmmsg};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct pair p = connected();
        ask(p, GET);
        by_read(p.server);
        errno = 77;
        cr_assert_eq(ways[i](p.server), (ssize_t)strlen(OK), "way %u", i);
        cr_assert_eq(errno, 77);
        cr_assert_eq(n_caught, i + 1, "way %u", i);
        cr_assert_str_eq(attribute(&caught[i], "http.response.status_code"), "200");
        finish(p);
    }
    cr_assert_eq(n_caught, sizeof ways / sizeof *ways);
}

static int file_of_5(void)
{
    int fd = memfd_create("body", 0);
    cr_assert_eq(write(fd, "hello", 5), 5);
    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

Test(wrappers, bodies_that_nobody_sees)
{
    for (unsigned way = 0; way < 3; way++) {
        struct pair p = connected();
        int file = file_of_5(), pipes[2];
        ask(p, GET);
        by_read(p.server);
        cr_assert_eq(write(p.server, HEAD_OF_5, strlen(HEAD_OF_5)), (ssize_t)strlen(HEAD_OF_5));
        cr_assert_eq(n_caught, way);
        if (way == 0) {
            cr_assert_eq(sendfile(p.server, file, NULL, 5), 5);
        } else if (way == 1) {
            cr_assert_eq(sendfile64(p.server, file, NULL, 2), 2);
            cr_assert_eq(n_caught, way);
            cr_assert_eq(sendfile64(p.server, file, NULL, 100), 3);
        } else {
            cr_assert_eq(pipe(pipes), 0);
            cr_assert_eq(splice(file, NULL, pipes[1], NULL, 5, 0), 5);
            cr_assert_eq(splice(pipes[0], NULL, p.server, NULL, 5, 0), 5);
        }
        cr_assert_eq(n_caught, way + 1, "way %u", way);
        cr_assert_eq(caught[way].status, 0);
        close(file);
        finish(p);
    }
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}

/* Bytes that are peeked at come again; those cut off by MSG_TRUNC or moved by splice never do. */
Test(wrappers, bytes_that_are_not_read)
{
    struct pair p = connected();
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    for (unsigned way = 0; way < 3; way++) {
        ask(p, POST);
        cr_assert_eq(recv(p.server, buffer, 4, MSG_PEEK), 4);
        cr_assert_eq(recv(p.server, buffer, sizeof buffer, MSG_PEEK | MSG_TRUNC), (ssize_t)strlen(POST));
        size_t head = strlen(POST) - 5;
        cr_assert_eq(recv(p.server, buffer, head, 0), (ssize_t)head);
        if (way == 0)
            cr_assert_eq(recv(p.server, buffer, sizeof buffer, MSG_TRUNC), 5);
        else if (way == 1)
            cr_assert_eq(splice(p.server, NULL, pipes[1], NULL, 5, 0), 5);
        else
            cr_assert_eq(by_recvmsg(p.server), 5);
        answer(p.server);
        cr_assert_eq(n_caught, way + 1, "way %u", way);
    }
    cr_assert_neq(connection_of(p.server), CONNECTION_NONE);
    finish(p);
    cr_assert_eq(n_caught, 3);
}

/* A peek is the first that is known of a connection that came from elsewhere; then nothing is written into
 * it. */
Test(wrappers, a_peek_before_all_else)
{
    int pair[2];
    static const char text[] =
        "GET / HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    test_config.propagate = true;
    finish(connected());
    for (int peeked = 0; peeked < 2; peeked++) {
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        cr_assert_eq(write(pair[1], text, strlen(text)), (ssize_t)strlen(text));
        if (peeked)
            cr_assert_eq(recv(pair[0], buffer, sizeof buffer, MSG_PEEK), (ssize_t)strlen(text));
        memset(buffer, 0, sizeof buffer);
        cr_assert_eq(by_read(pair[0]), (ssize_t)strlen(text));
        cr_assert_eq(strcmp(buffer, text) == 0, peeked);
        answer(pair[0]);
        close(pair[0]);
        close(pair[1]);
    }
    cr_assert_eq(n_caught, 2);
}

/* ---- ways to duplicate */

Test(wrappers, ways_to_duplicate)
{
    for (unsigned way = 0; way < 6; way++) {
        struct pair p = connected();
        ask(p, GET);
        by_read(p.server);
        int other = -1, spare = dup(listener);
        switch (way) {
        case 0:
            other = dup(p.server);
            break;
        case 1:
            other = dup2(p.server, spare);
            break;
        case 2:
            other = dup3(p.server, spare, O_CLOEXEC);
            break;
        case 3:
            other = fcntl(p.server, F_DUPFD, 50);
            break;
        case 4:
            other = fcntl(p.server, F_DUPFD_CLOEXEC, 50);
            break;
        default:
            other = fcntl64(p.server, F_DUPFD_CLOEXEC, 0);
            break;
        }
        cr_assert_geq(other, 0);
        cr_assert_eq(connection_of(other), connection_of(p.server), "way %u", way);
        cr_assert_eq(dup2(p.server, p.server), p.server);
        close(p.server);
        cr_assert_eq(n_caught, way);
        answer(other);
        cr_assert_eq(n_caught, way + 1, "way %u", way);
        close(other);
        close(p.client);
        if (spare != other)
            close(spare);
    }
    for (unsigned i = 0; i < n_caught; i++)
        cr_assert_eq(caught[i].status, 0);
    errno = 0;
    cr_assert_eq(dup2(-1, 3), -1);
    cr_assert_eq(errno, EBADF);
    cr_assert_eq(fcntl(listener, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fcntl64(-1, F_GETFL), -1);
}

/* ---- ways to close */

Test(wrappers, ways_to_close)
{
    for (unsigned way = 0; way < 7; way++) {
        struct pair p = connected();
        ask(p, GET);
        by_read(p.server);
        int high = way == 3 ? fcntl(p.server, F_DUPFD, 900) : -1;
        switch (way) {
        case 0:
            close(p.server);
            break;
        case 1:
            syscall(SYS_close, p.server);
            break;
        case 2:
            cr_assert_eq(close_range((unsigned)p.server, (unsigned)p.server, 0), 0);
            break;
        case 3:
            close(p.server);
            cr_assert_eq(n_caught, way);
            closefrom(high);
            break;
        case 4:
            dup2(listener, p.server);
            break;
        case 5:
            dup3(listener, p.server, O_CLOEXEC);
            break;
        default:
            cr_assert_eq(close_range((unsigned)p.server, (unsigned)p.server, 4 /* CLOEXEC */), 0);
            cr_assert_eq(n_caught, way, "it is not closed");
            close(p.server);
            break;
        }
        cr_assert_eq(n_caught, way + 1, "way %u", way);
        cr_assert_str_eq(attribute(&caught[way], "error.type"), "no_response");
        close(p.client);
        if (way == 4 || way == 5)
            close(p.server);
    }
}

/* What stdio reads and writes nobody sees: no span, and none that says the wrong thing. */
Test(wrappers, a_stream_on_it)
{
    struct pair p = connected();
    ask(p, GET);
    by_read(p.server);
    FILE *f = fdopen(p.server, "r+");
    cr_assert_not_null(f);
    cr_assert_geq(fputs(OK, f), 0);
    fclose(f);
    close(p.client);
    struct pair q = connected();
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(harness_requests_open(), 0);
    finish(q);
    cr_assert_null(fdopen(-1, "r"));
    cr_assert_eq(errno, EBADF);
}

Test(wrappers, shutdown_ends_a_body)
{
    struct pair p = connected();
    ask(p, "GET / HTTP/1.0\r\n\r\n");
    by_read(p.server);
    cr_assert_eq(write(p.server, "HTTP/1.0 200 OK\r\n\r\nhello", 24), 24);
    cr_assert_eq(shutdown(p.server, SHUT_RD), 0);
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(shutdown(p.server, SHUT_WR), 0);
    cr_assert_eq(n_caught, 1);
    finish(p);
    cr_assert_eq(shutdown(-1, SHUT_WR), -1);
    cr_assert_eq(errno, EBADF);
}

/* ---- connections by message */

static ssize_t pass(int over, int fd, bool many)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    struct iovec iov = {(char[]){"x"}, 1};
    struct mmsghdr v = {
        .msg_hdr = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control}};
    return many ? sendmmsg(over, &v, 1, 0) : sendmsg(over, &v.msg_hdr, 0);
}

static int take(int over, bool many)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {buffer, 1};
    struct mmsghdr v = {
        .msg_hdr = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control}};
    int fd = -1;
    cr_assert_eq(many ? recvmmsg(over, &v, 1, MSG_CMSG_CLOEXEC, NULL)
                      : recvmsg(over, &v.msg_hdr, MSG_CMSG_CLOEXEC),
                 1);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

Test(wrappers, connections_by_message)
{
    int over[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, over), 0);
    finish(connected());
    for (int many = 0; many < 2; many++) {
        /* asked here, sent away, answered there: nothing is known of it here */
        struct pair p = connected();
        ask(p, GET);
        by_read(p.server);
        cr_assert_eq(pass(over[0], p.server, many), 1);
        close(p.server);
        cr_assert_eq(n_caught, (unsigned)many);
        /* the number it will have is known for something else, closed in a way that nobody sees */
        struct pair old = connected();
        ask(old, "\x01");
        by_read(old.server);
        cr_assert_eq(connection_of(old.server), CONNECTION_NONE);
        __close(old.server);
        int got = take(over[1], many);
        cr_assert_eq(got, old.server);
        close(old.client);
        cr_assert_eq(fcntl(got, F_GETFD), FD_CLOEXEC);
        /* and a request that comes in there is traced there, whatever was known of the number */
        cr_assert_null(connection_of(got));
        ask(p, GET);
        by_read(got);
        answer(got);
        cr_assert_eq(n_caught, (unsigned)many + 1);
        close(got);
        close(p.client);
    }
    cr_assert_eq(n_caught, 2);
}

/* ---- what a slow client does */

Test(wrappers, partial_writes)
{
    struct pair p = connected();
    static char body[1 << 20];
    char head[64];
    int small = 4096;
    setsockopt(p.server, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    fcntl(p.server, F_SETFL, O_NONBLOCK);
    ask(p, GET);
    by_read(p.server);
    cr_assert_eq(by_read(p.server), -1);
    cr_assert_eq(errno, EAGAIN);
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof body);
    struct iovec iov[2] = {{head, (size_t)n}, {body, sizeof body}};
    unsigned again = 0, partial = 0;
    while (iov[1].iov_len) {
        ssize_t sent = writev(p.server, iov, 2);
        if (sent < 0) {
            cr_assert_eq(errno, EAGAIN);
            cr_assert_eq(n_caught, 0);
            again++;
            recv(p.client, buffer, sizeof buffer, MSG_DONTWAIT); /* or nothing has come, and what is sent is
                                                                  not yet acknowledged */
            continue;
        }
        partial++;
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;
            iov[i].iov_base = (char *)iov[i].iov_base + part;
            iov[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
    }
    cr_assert_gt(again, 0);
    cr_assert_gt(partial, 1);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(caught[0].status, 0);
    finish(p);
}

/* The kernel, not we, finds what is wrong with an argument. */
Test(wrappers, bad_arguments)
{
    struct pair p = connected();
    void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ask(p, GET);
    cr_assert_eq(read(p.server, nowhere, 10), -1);
    cr_assert_eq(errno, EFAULT);
    cr_assert_eq(recvmsg(p.server, nowhere, 0), -1);
    cr_assert_eq(errno, EFAULT);
    cr_assert_eq(readv(p.server, nowhere, 1), -1);
    cr_assert_eq(errno, EFAULT);
    cr_assert_eq(recvmmsg(p.server, nowhere, 1, MSG_DONTWAIT, NULL), -1);
    cr_assert_eq(errno, EFAULT);
    cr_assert_eq(recv(p.server, nowhere, 10, MSG_PEEK), -1);
    cr_assert_eq(errno, EFAULT);
    by_read(p.server);
    answer(p.server);
    cr_assert_eq(sendmsg(p.client, nowhere, 0), -1);
    cr_assert_eq(errno, EFAULT);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(caught[0].status, 0);
    finish(p);
}
