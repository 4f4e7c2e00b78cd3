/* SPDX-License-Identifier: Apache-2.0
 *
 * The span id in the traceparent that the application reads: written where it is certain, and nothing else
 * is.
 */
#include "harness.h"

#include "io/nest.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void init(void)
{
    harness_init();
    test_config.propagate = true;
}

TestSuite(nest, .init = init);

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define TP "traceparent: 00-" TRACE "-" PARENT "-01\r\n"
#define GET(headers) "GET / HTTP/1.1\r\nHost: h\r\n" headers "\r\n"

static char buffer[8192];

/* Reads `text` as one buffer of a new connection and answers it; what the application then has in `buffer`.
 */
static void exchange(const char *text)
{
    n_caught = 0;
    strcpy(buffer, text);
    harness_accept(5);
    harness_read(5, buffer);
    for (int i = 0; i < 4; i++)
        harness_write(5, OK);
    connection_gone(5);
}

/* `text` with the span id and flags of its nth traceparent replaced. */
static const char *replaced(const char *text, int nth, const char *id, const char *flags)
{
    static char out[sizeof buffer];
    const char *at = text;
    memmove(out, text, strlen(text) + 1);
    for (; nth >= 0; nth--)
        at = strstr(at, PARENT) + 1;
    memcpy(out + (at - 1 - text), id, 16);
    memcpy(out + (at - 1 - text) + 17, flags, 2);
    return out;
}

Test(nest, the_application_becomes_a_child)
{
    static const char *const requests[] = {
        GET(TP),
        GET("TraceParent:   00-" TRACE "-" PARENT "-01 \t \r\nA: b\r\n"),
        GET("traceparent:00-" TRACE "-" PARENT "-01\r\n"),
        "\r\n" GET(TP),                                           /* an empty line before a request */
        "POST / HTTP/1.1\r\n" TP "Content-Length: 70\r\n\r\n" TP, /* half of its body */
        "GET / HTTP/1.0\r\n" TP "\r\n",
        GET("Connection: Upgrade\r\nUpgrade: websocket\r\n" TP),
        "CONNECT a:1 HTTP/1.1\r\n" TP "\r\n",
        GET("tracestate: a=b\r\n" TP "X: y:z\r\nEmpty:\r\n"),
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        exchange(requests[i]);
        cr_assert_eq(n_caught, 1, "row %zu", i);
        cr_assert_str_eq(caught[0].parent, PARENT, "row %zu", i);
        cr_assert_str_neq(caught[0].span_id, PARENT);
        cr_assert_str_eq(buffer, replaced(requests[i], 0, caught[0].span_id, "01"), "row %zu: %s", i, buffer);
    }
}

Test(nest, left_as_it_is)
{
    static const char *const requests[] = {
        GET(""),
        GET(TP TP),
        GET(TP "traceparent: \r\n"),
        GET("traceparent: 00-" TRACE "-" PARENT "-0\r\n"),
        GET("traceparent: 00-" TRACE "-" PARENT "-01-x\r\n"),
        GET("traceparent: 01-" TRACE "-" PARENT "-01\r\n"), /* what version 01 says there is not known */
        GET("traceparent: cc-" TRACE "-" PARENT "-01-x\r\n"),
        GET("traceparent: 00-" TRACE "-0000000000000000-01\r\n"),
        GET("traceparent: 00-" TRACE "-B7AD6B7169203331-01\r\n"),
        GET("trace-parent: 00-" TRACE "-" PARENT "-01\r\n"),
        GET("X-traceparent: 00-" TRACE "-" PARENT "-01\r\n"),
        GET("traceparent:\r\n 00-" TRACE "-" PARENT "-01\r\n"), /* folded */
        GET(TP " x\r\n"),
        GET("X: a\r\n b\r\n" TP),
        GET(TP "X: a\rContent-Length: 5\r\n"), /* a bare CR ends a line for some */
        GET(TP "X: a\nY: b\r\n"),
        GET(TP "X : a\r\n"),
        GET(TP "no colon\r\n"),
        GET(TP ": no name\r\n"),
        GET(TP "Content-Length: 0\r\nContent-Length: 0\r\n"),
        "GET / HTTP/1.1\n" TP "\r\n",
        "GET / HTTP/1.1\r\n" TP "\n",
        "GET / HTTP/1.1\r\nHost: h\r\n" TP, /* its end has not come */
        "\x16\x03\x01" TP "\r\n",
        "HTTP/1.1 200 OK\r\n" TP "\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 200\r\n\r\n" GET(TP),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n60\r\n" GET(TP),
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        exchange(requests[i]);
        cr_assert_str_eq(buffer, requests[i], "row %zu: %s", i, buffer);
    }
    /* a NUL ends the head for whoever reads it as a string */
    static const char nul[] = GET(TP "X: a");
    memcpy(buffer, nul, sizeof nul);
    buffer[strlen(nul) - 4] = 0;
    struct iovec iov = {buffer, sizeof nul - 1};
    harness_accept(5);
    connection_read(5, &iov, 1, (ssize_t)iov.iov_len);
    cr_assert_not_null(memmem(buffer, sizeof nul, PARENT, 16));
    connection_gone(5);
}

Test(nest, only_what_is_recorded)
{
    static const char *exclude[] = {"/", NULL};
    test_config.exclude = exclude;
    exchange(GET(TP));
    cr_assert_str_eq(buffer, GET(TP));
    cr_assert_eq(n_caught, 0);
    test_config.exclude = NULL;
    test_config.propagate = false;
    exchange(GET(TP));
    cr_assert_str_eq(buffer, GET(TP));
    cr_assert_eq(n_caught, 1);
    test_config.propagate = true;
    test_config.propagate_tracecontext = false; /* then its span has no such parent */
    exchange(GET(TP));
    cr_assert_str_eq(buffer, GET(TP));
    test_config.propagate_tracecontext = true;
#define UNSAMPLED GET("traceparent: 00-" TRACE "-" PARENT "-00\r\n")
    exchange(UNSAMPLED);
    cr_assert_str_eq(buffer, UNSAMPLED);
    cr_assert_eq(n_caught, 0);
    test_serves = false;
    harness_read(5, strcpy(buffer, GET(TP)));
    cr_assert_str_eq(buffer, GET(TP));
    test_serves = true;
    /* recorded against its parent's word: what is inside is recorded, too */
    test_config.parent_based = false;
    exchange(UNSAMPLED);
    cr_assert_eq(n_caught, 1);
    cr_assert_str_eq(buffer, replaced(UNSAMPLED, 0, caught[0].span_id, "01"));
#define RANDOM GET("traceparent: 00-" TRACE "-" PARENT "-ff\r\n")
    exchange(RANDOM); /* bits that nobody knows are not passed on */
    cr_assert_str_eq(buffer, replaced(RANDOM, 0, caught[0].span_id, "03"));
}

/* Cut anywhere into two reads or two buffers of one: only the head that is whole in one is written to. */
Test(nest, every_cut)
{
    static const char text[] =
        GET("A: b\r\n" TP) "POST /2 HTTP/1.1\r\n" TP "Content-Length: 3\r\n\r\nabc" GET(TP);
    const size_t first = strlen(GET("A: b\r\n" TP)), all = strlen(text), third = all - strlen(GET(TP));
    const size_t second = third - 3; /* where the second head ends */
    for (size_t cut = 0; cut <= all; cut++) {
        for (int how = 0; how < 4; how++) {
            /* in two places, or one behind the other, as a server has it that reads the rest of a head */
            bool vector = how & 1, apart = how & 2;
            static char room[2048];
            char *parts[2] = {room, apart ? room + 1024 : room + cut};
            memset(room, 0, sizeof room);
            memcpy(parts[0], text, cut);
            memcpy(parts[1], text + cut, all - cut);
            struct iovec iov[2] = {{parts[0], cut}, {parts[1], all - cut}};
            n_caught = 0;
            harness_accept(5);
            if (vector) {
                connection_read(5, iov, 2, (ssize_t)all);
            } else {
                if (cut)
                    connection_read(5, &iov[0], 1, (ssize_t)cut);
                if (all > cut)
                    connection_read(5, &iov[1], 1, (ssize_t)(all - cut));
            }
            for (int i = 0; i < 3; i++)
                harness_write(5, OK);
            connection_gone(5);
            cr_assert_eq(n_caught, 3);
            char got[1024], want[1024];
            memcpy(got, parts[0], cut);
            memcpy(got + cut, parts[1], all - cut + 1);
            strcpy(want, text);
            if (cut == 0 || cut >= first)
                strcpy(want, replaced(want, 0, caught[0].span_id, "01"));
            bool whole = cut <= first || cut >= second;
            if (whole) {
                char *at = strstr(want + first, PARENT);
                memcpy(at, caught[1].span_id, 16);
            }
            if (cut <= third || cut == all)
                memcpy(strstr(want + third, PARENT), caught[2].span_id, 16);
            cr_assert_str_eq(got, want, "cut at %zu, %d:\n%s\n%s", cut, how, got, want);
        }
    }
}

/* Where the messages behind it begin may be another's opinion. */
Test(nest, nothing_behind_what_is_odd)
{
    static const char *const before[] = {
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length : 0\r\n\r\n",
        "POST / HTTP/1.1\r\nX: a\rContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\rContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nX\rContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "POST / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\n\n",
        "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        harness_accept(5);
        harness_read(5, strcpy(buffer, before[i]));
        harness_read(5, strcpy(buffer, GET(TP)));
        cr_assert_str_eq(buffer, GET(TP), "row %zu", i);
        connection_gone(5);
        n_caught = 0;
    }
    static const char *const plain[] = {
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nX:\r\nConnection: keep-alive\r\n\r\nabc",
        "\r\nHEAD / HTTP/1.0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        harness_accept(5);
        harness_read(5, strcpy(buffer, plain[i]));
        harness_read(5, strcpy(buffer, GET(TP)));
        cr_assert_str_neq(buffer, GET(TP), "row %zu", i);
        connection_gone(5);
        n_caught = 0;
    }
}

static void peek(int fd, size_t n)
{
    struct iovec iov = {(char[]){"GET / HTTP/1.1\r\n"}, 16};
    connection_peeked(fd, &iov, 1, (ssize_t)n);
}

Test(nest, what_was_peeked_at)
{
    const size_t len = strlen(GET(TP));
    for (size_t n = 1; n < 2 * len; n += len / 2) {
        strcpy(buffer, GET(TP) GET(TP) GET(TP));
        harness_accept(5);
        peek(5, n);
        peek(5, 1);
        harness_read(5, buffer);
        harness_write(5, OK OK OK);
        for (size_t i = 0; i < 3; i++) {
            bool same = memcmp(buffer + i * len, GET(TP), len) == 0;
            cr_assert_eq(same, i * len < n, "%zu peeked, head %zu", n, i);
        }
        /* the bytes peeked at are gone: what comes now nobody has seen */
        harness_read(5, strcpy(buffer, GET(TP)));
        cr_assert_str_neq(buffer, GET(TP));
        connection_gone(5);
        n_caught = 0;
    }
}

Test(nest, a_failed_peek_is_none)
{
    harness_accept(5);
    struct iovec iov = {buffer, 1};
    connection_peeked(5, &iov, 1, -1);
    connection_peeked(5, &iov, 1, 0);
    exchange(GET(TP));
    cr_assert_str_neq(buffer, GET(TP));
}

/* Whatever comes: nothing changes but the 18 bytes of a traceparent, into the id of a span that there is. */
Test(nest, random_bytes)
{
    static const char seed[] =
        GET(TP "X: y\r\n") "POST / HTTP/1.1\r\n" TP "Content-Length: 4\r\n\r\nabcd" GET(
            TP) "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" TP "\r\n4\r\nabcd\r\n0\r\n\r\n" GET(TP);
    static const char noise[] = "\r\n\n\r :;0aA-\tT/";
    unsigned x = 1;
    size_t written = 0;
    for (int round = 0; round < 20000; round++) {
        char before[sizeof seed];
        memcpy(before, seed, sizeof seed);
        size_t n = sizeof seed - 1;
        for (int i = round % 4; i >= 0; i--) {
            x = x * 1664525u + 1013904223u;
            before[(x >> 8) % n] = noise[(x >> 4) % sizeof noise];
        }
        memcpy(buffer, before, n);
        struct iovec iov = {buffer, n};
        n_caught = 0;
        harness_accept(5);
        connection_read(5, &iov, 1, (ssize_t)n);
        connection_gone(5);
        for (size_t i = 0; i < n; i++) {
            if (buffer[i] == before[i])
                continue;
            cr_assert_geq(i, 36);
            size_t at =
                i; /* the first changed byte lies in the span id, or all of it happens to be the same */
            while (at > 0 && memcmp(buffer + at, "00-", 3) != 0)
                at--;
            cr_assert_leq(i - at, 55);
            char id[17] = {0};
            memcpy(id, buffer + at + 36, 16);
            bool found = false;
            for (unsigned s = 0; s < n_caught; s++)
                found |= strcmp(caught[s].span_id, id) == 0 &&
                         strncmp(caught[s].trace_id, buffer + at + 3, 32) == 0;
            cr_assert(found, "round %d: %.*s", round, 55, buffer + at);
            memcpy(buffer + at + 36, before + at + 36, 19);
            written++;
        }
    }
    cr_assert_gt(written, 20000);
}
