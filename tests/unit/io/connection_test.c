/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections: what is tracked, what ends it, two threads, and forks.
 */
#include "harness.h"

#include "fork/generation.h"
#include "io/address.h"
#include "io/http_span.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(connection, .init = harness_init);

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Test(connection, nothing_before_the_first_accept)
{
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    cr_assert_eq(connection_of(-1), CONNECTION_NONE);
    cr_assert_not(connection_close_watched(5));
    harness_read(5, GET);
    cr_assert_eq(connection_length, 0);
    harness_accept(5);
    cr_assert_gt(connection_length, 5);
    cr_assert_eq(connection_of(-1), CONNECTION_NONE);
    cr_assert_eq(connection_of(INT32_MAX), CONNECTION_NONE);
}

Test(connection, not_serving)
{
    test_serves = false;
    harness_accept(5);
    cr_assert_eq(connection_length, 0);
    test_serves = true;
    test_own_thread = true;
    harness_accept(5);
    cr_assert_eq(connection_length, 0);
    test_own_thread = false;
    harness_accept(5);
    test_config.instrument = INSTRUMENT_FASTCGI;
    harness_accept(6);
    cr_assert_eq(connection_of(6), CONNECTION_NONE);
}

Test(connection, what_is_not_http_costs_nothing)
{
    harness_accept(5);
    harness_read(5, "\x16\x03\x01");
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    connection_gone(5);
    cr_assert_null(connection_of(5));
    harness_accept(5);
    harness_write(5, "220 ready\r\n");
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    connection_gone(5);
    harness_accept(5);
    harness_read(5, GET "\x01\x02");
    cr_assert_neq(connection_of(5), CONNECTION_NONE, "one answer is still to come");
    harness_write(5, OK);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}

/* An fd that nobody accepted: told by its first bytes, and only if it is a connected stream socket. */
Test(connection, lazy_classification)
{
    int pair[2], ends[2];
    harness_accept(900); /* the table */
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    cr_assert_eq(pipe(ends), 0);
    connection_arrived(pair[0]);
    errno = 77;
    harness_read(pair[0], GET);
    cr_assert_eq(errno, 77);
    harness_write(pair[0], OK);
    cr_assert_eq(n_caught, 1);
    harness_read(pair[1], "HTTP/1.1 200 OK\r\n\r\n");
    cr_assert_eq(connection_of(pair[1]), CONNECTION_NONE);
    harness_read(ends[0], GET);
    cr_assert_eq(connection_of(ends[0]), CONNECTION_NONE);
    connection_gone(ends[0]);
    cr_assert_null(connection_of(ends[0]));
}

Test(connection, looks_like_request)
{
    static const char *const yes[] = {"GET / HTTP/1.1", "GET",         "G",
                                      "OPTIONS * ",     "CONNECT a:1", "GET http://"};
    static const char *const no[] = {"HTTP/1.1 200",      "get /", "GET x", "\x16\x03", "", " GET",
                                     "ABCDEFGHIJKLMNOPQ", "AB /"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        cr_assert(http_looks_like_request((const uint8_t *)yes[i], strlen(yes[i])), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        cr_assert_not(http_looks_like_request((const uint8_t *)no[i], strlen(no[i])), "%s", no[i]);
}

Test(connection, accept_resets)
{
    harness_accept(5);
    harness_read(5, "GET / HTTP/1.1\r\nHos");
    harness_accept(5); /* closed behind our back */
    cr_assert_eq(harness_requests_open(), 0);
    harness_read(5, GET);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

Test(connection, close_range)
{
    for (int fd = 5; fd < 15; fd++) {
        harness_accept(fd);
        harness_read(fd, GET);
    }
    connection_gone_range(7, ~0u);
    cr_assert_eq(n_caught, 8);
    cr_assert_neq(connection_of(6), NULL);
    cr_assert_null(connection_of(7));
    connection_gone_range(0, 6);
    cr_assert_eq(n_caught, 10);
}

Test(connection, connections_are_used_again)
{
    harness_accept(5);
    struct connection *first = connection_of(5);
    for (int i = 0; i < 1000; i++) {
        connection_gone(5);
        harness_accept(5);
        cr_assert_eq(connection_of(5), first);
    }
}

/* One is counted as answered, or as an error, once, whether or not it has a span. */
Test(connection, answers_and_errors_are_counted)
{
    harness_exchange(GET, OK);
    harness_exchange(GET, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    cr_assert(test_answered == 2 && test_counters[COUNT_ERRORS] == 0);
    harness_exchange(GET, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    harness_exchange(GET, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    harness_exchange(GET, "");
    cr_assert(test_answered == 5 && test_counters[COUNT_ERRORS] == 3);
    test_config.sampler = SAMPLER_ALWAYS_OFF;
    harness_exchange(GET, OK);
    harness_exchange(GET, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    cr_assert(test_answered == 7 && test_counters[COUNT_ERRORS] == 4 && n_caught == 5);
    harness_exchange("GET / HT", "");
    cr_assert_eq(test_answered, 7, "of half a head nothing is known");
}

Test(connection, vfork_child_leaves_all_alone)
{
    harness_accept(5);
    harness_read(5, GET);
    test_vfork_child = true;
    connection_gone(5);
    connection_gone_range(0, ~0u);
    harness_read(5, "garbage");
    harness_write(5, "garbage");
    test_vfork_child = false;
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(caught[0].status, 0);
}

/* Somebody else is in the half, as seen from here: one word. */
Test(connection, two_in_one_half)
{
    harness_accept(5);
    harness_read(5, GET);
    struct connection *c = connection_of(5);
    cr_assert(connection_try(c, HALF_RESPONSE));
    harness_write(5, OK);
    cr_assert_eq(test_counters[COUNT_UNSURE], 1);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    cr_assert_eq(harness_requests_open(), 1, "its holder lets it go");
    connection_leave(c, HALF_RESPONSE);
    cr_assert_eq(harness_requests_open(), 0);
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(c->ending, CONNECTION_FREE);
    connection_gone(5);
    harness_accept(5);
    cr_assert_eq(connection_of(5), c);
    harness_read(5, GET);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

Test(connection, close_while_a_half_is_held)
{
    harness_accept(5);
    harness_read(5, GET);
    struct connection *c = connection_of(5);
    cr_assert(connection_try(c, HALF_REQUEST));
    connection_gone(5);
    cr_assert_eq(n_caught, 0);
    connection_leave(c, HALF_REQUEST);
    cr_assert_eq(n_caught, 1);
    cr_assert_str_eq(attribute(&caught[0], "error.type"), "no_response");
}

enum { ROUNDS = 20000 };

static void *other_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++)
        harness_read(5, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    return NULL;
}

/* Two threads write one half as fast as they can while a third closes and accepts: nothing leaks, nothing
 * breaks. */
Test(connection, storm)
{
    pthread_t a, b;
    harness_accept(5);
    pthread_create(&a, NULL, other_thread, NULL);
    pthread_create(&b, NULL, other_thread, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        connection_gone(5);
        harness_forget();
        harness_accept(5);
    }
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    n_caught = 0;
    connection_gone(5);
    cr_assert_eq(harness_requests_open(), 0);
    n_caught = 0;
    harness_accept(5);
    harness_read(5, GET);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

struct pass {
    _Atomic int turn;
};

static void *writer(void *arg)
{
    struct pass *p = arg;
    for (int i = 0; i < 500; i++) {
        while (p->turn != 2 * i + 1)
            ;
        harness_write(5, OK);
        n_caught = 0;
        p->turn = 2 * i + 2;
    }
    return NULL;
}

/* One thread reads, another writes: that is what halves are for. */
Test(connection, halves_in_two_threads)
{
    struct pass pass = {0};
    pthread_t t;
    harness_accept(5);
    pthread_create(&t, NULL, writer, &pass);
    for (int i = 0; i < 500; i++) {
        while (pass.turn != 2 * i)
            ;
        harness_read(5, GET);
        pass.turn = 2 * i + 1;
    }
    pthread_join(t, NULL);
    cr_assert_eq(test_counters[COUNT_QUEUED], 500);
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}

static int in_child(void (*what)(void))
{
    uint64_t before = generation_now();
    pid_t pid = fork();
    if (pid == 0) {
        if (generation_now() == before) /* nothing wipes the page here (an emulator): the handlers' part */
            generation_renew();
        what();
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    return status;
}

#define CHILD(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            _exit(__LINE__ % 200 + 1);                                                                       \
    } while (0)

static void child_serves_idle(void)
{
    harness_read(5, GET);
    harness_write(5, OK);
    CHILD(n_caught == 1);
    connection_gone(5);
    CHILD(n_caught == 1);
}

Test(connection, fork_idle_connection_is_the_childs)
{
    harness_accept(5);
    cr_assert_eq(in_child(child_serves_idle), 0);
    harness_read(5, GET);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

static void child_forgets(void)
{
    /* what it does with a request that its parent has read makes no span, and touches nothing of the parent's
     */
    unsigned open = harness_requests_open();
    harness_write(5, OK);
    CHILD(n_caught == 0);
    CHILD(connection_of(5) == CONNECTION_NONE);
    connection_gone(6);
    CHILD(n_caught == 0);
    CHILD(harness_requests_open() == open);
    harness_accept(5);
    harness_read(5, GET);
    harness_write(5, OK);
    CHILD(n_caught == 1);
}

Test(connection, fork_in_mid_request)
{
    harness_accept(5);
    harness_read(5, GET);
    harness_accept(6);
    harness_read(6, "GET / HT");
    cr_assert_eq(in_child(child_forgets), 0);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

static void child_answers(void)
{
    test_inherits = true;
    harness_read(5, "rest");
    harness_write(5, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    CHILD(n_caught == 1);
    CHILD(strcmp(attribute(&caught[0], "http.response.status_code"), "404") == 0);
    CHILD(strcmp(attribute(&caught[0], "url.path"), "/body") == 0);
    CHILD(harness_requests_open() == 0); /* its copy is given back; its parent's is not open any more */
    connection_gone(5);
    CHILD(n_caught == 1);
    CHILD(test_counters[COUNT_UNSURE] == 0);
}

static void child_answers_what_was_left(void)
{
    test_inherits = true;
    struct request *r = PENDING_POINTER(connection_of(5)->pending[0]);
    CHILD(request_leave(process_requests(), r)); /* as the parent does at its close */
    harness_write(5, OK);
    CHILD(n_caught == 1);
    CHILD(harness_requests_open() == 0);
}

/* How many entries the table has left: each is taken for good. */
static unsigned room_left(void)
{
    unsigned n = 0;
    while (test_counters[COUNT_NO_ROOM] == 0) {
        CHILD(request_claim(process_requests()) != NULL);
        n += test_counters[COUNT_NO_ROOM] == 0;
    }
    return n;
}

static void child_answers_what_is_not_recorded(void)
{
    test_inherits = true;
    struct request *r = PENDING_POINTER(connection_of(5)->pending[0]);
    CHILD(request_leave(process_requests(), r));
    harness_write(5, OK);
    CHILD(n_caught == 0 && test_answered == 1);
    CHILD(room_left() == REQUESTS); /* both entries are given back, the parent's and the copy */
}

static void child_is_too_late(void)
{
    test_inherits = true;
    struct request *r = PENDING_POINTER(connection_of(5)->pending[0]);
    CHILD(request_answer(r)); /* as the parent does at its first byte */
    harness_write(5, OK);
    CHILD(n_caught == 0);
}

static void child_finds_another_slot(void)
{
    test_inherits = test_slot_reused = true;
    harness_write(5, OK);
    CHILD(n_caught == 0);
}

static void child_lets_go(void)
{
    test_inherits = true;
    connection_gone(5);
    CHILD(n_caught == 0);
    CHILD(harness_requests_open() == 1);
}

Test(connection, an_unrecorded_head_read_here_and_answered_by_a_child)
{
    test_config.sampler = SAMPLER_ALWAYS_OFF;
    harness_accept(5);
    harness_read(5, GET);
    cr_assert_eq(in_child(child_answers_what_is_not_recorded), 0);
}

#define POST "POST /body HTTP/1.1\r\nContent-Length: 4\r\n\r\n"

Test(connection, a_head_read_here_and_answered_by_a_child)
{
    harness_accept(5);
    harness_read(5, POST);
    cr_assert_eq(in_child(child_answers), 0);
    cr_assert_eq(in_child(child_answers_what_was_left), 0);
    cr_assert_eq(in_child(child_is_too_late), 0);
    cr_assert_eq(in_child(child_finds_another_slot), 0);
    cr_assert_eq(in_child(child_lets_go), 0);
    /* closed here after a fork: it may be the child's */
    test_forks = 1;
    connection_gone(5);
    cr_assert_eq(n_caught, 0);
    /* answered here after a fork */
    harness_accept(5);
    harness_read(5, GET);
    test_forks = 2;
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_null(attribute(&caught[0], "error.type"));
    /* answered by a child first */
    harness_accept(5);
    harness_read(5, GET);
    test_forks = 3;
    struct request *r = PENDING_POINTER(connection_of(5)->pending[0]),
                   *copy = request_claim(process_requests());
    cr_assert(request_take(process_requests(), r, copy));
    cr_assert_not(request_take(process_requests(), r, copy), "only once");
    request_release(process_requests(), copy);
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    /* closed here without a fork: nobody answers any more */
    harness_accept(5);
    harness_read(5, GET);
    connection_gone(5);
    cr_assert_eq(n_caught, 2);
    cr_assert_str_eq(attribute(&caught[1], "error.type"), "no_response");
}

static void child_half_left_behind(void)
{
    harness_read(5, GET);
    CHILD(test_counters[COUNT_UNSURE] == 0);
    CHILD(connection_of(5) == CONNECTION_NONE); /* its place in the stream is not known */
    harness_accept(5);
    harness_read(5, GET);
    harness_write(5, OK);
    CHILD(n_caught == 1);
}

Test(connection, fork_while_a_half_is_held)
{
    harness_accept(5);
    cr_assert(connection_try(connection_of(5), HALF_REQUEST));
    cr_assert_eq(in_child(child_half_left_behind), 0);
    connection_leave(connection_of(5), HALF_REQUEST);
    harness_read(5, GET);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

Test(connection, addresses)
{
    static const char *const v6[] = {
        "::",          "::1", "2001:db8::1", "2001:db8:0:1:1:1:1:1", "1:0:0:2::3",
        "fe80::1:0:0", "1::", "::2:0:0:3",   "1:2:3:4:5:6:7:8"};
    char out[ADDRESS_TEXT];
    uint8_t bytes[16];
    for (size_t i = 0; i < sizeof v6 / sizeof *v6; i++) {
        char want[INET6_ADDRSTRLEN];
        inet_pton(AF_INET6, v6[i], bytes);
        inet_ntop(AF_INET6, bytes, want, sizeof want);
        size_t n = address_format(AF_INET6, bytes, out);
        cr_assert_eq(n, strlen(want), "%s", v6[i]);
        cr_assert_arr_eq(out, want, n, "%s", v6[i]);
    }
    inet_pton(AF_INET6, "::ffff:192.0.2.10", bytes);
    cr_assert_eq(address_format(AF_INET6, bytes, out), 10);
    cr_assert_arr_eq(out, "192.0.2.10", 10);
    cr_assert_eq(address_format(AF_UNIX, bytes, out), 0);
}

Test(connection, host_and_port)
{
    static const struct {
        const char *in, *host;
        int port;
    } rows[] = {
        {"a", "a", -1},     {"a:1", "a", 1},  {" a:65535 ", "a", 65535}, {"a:65536", "a", -1},
        {"a:", "a", -1},    {"a:x", "a", -1}, {"[::1]:80", "::1", 80},   {"[::1]", "::1", -1},
        {"::1", "::1", -1}, {"", NULL, 0},    {":80", NULL, 0},          {"[::1", NULL, 0},
        {"[]:80", NULL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text host;
        int32_t port;
        bool ok = address_split((struct text){rows[i].in, strlen(rows[i].in)}, &host, &port);
        cr_assert_eq(ok, rows[i].host != NULL, "%s", rows[i].in);
        if (ok) {
            cr_assert_eq(host.len, strlen(rows[i].host), "%s", rows[i].in);
            cr_assert_arr_eq(host.p, rows[i].host, host.len);
            cr_assert_eq(port, rows[i].port, "%s", rows[i].in);
        }
    }
}

Test(connection, forwarded)
{
    static const struct {
        const char *in, *name, *value;
    } rows[] = {
        {"for=1.2.3.4", "for", "1.2.3.4"},
        {"FOR=1.2.3.4;Host=x", "host", "x"},
        {"by=a; for=\"[::1]:8\" ,for=b", "for", "[::1]:8"},
        {"for=\"a,b;c\";proto=https", "proto", "https"},
        {"for=\"un", "for", NULL},
        {"xfor=1", "for", NULL},
        {"for=", "for", NULL},
        {"for;proto=x", "proto", "x"},
        {",;,", "for", NULL},
        {"for=\"a\\\"b\";host=h", "host", "h"},
        {"for=\"a\\", "for", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text value;
        bool ok = forwarded_find((struct text){rows[i].in, strlen(rows[i].in)}, rows[i].name, &value);
        cr_assert_eq(ok, rows[i].value != NULL, "%s", rows[i].in);
        if (ok) {
            cr_assert_eq(value.len, strlen(rows[i].value), "%s", rows[i].in);
            cr_assert_arr_eq(value.p, rows[i].value, value.len);
        }
    }
}

/* Two numbers of one connection: it lasts until both are closed, whatever the order, and its bytes count by
 * either. */
Test(connection, duplicates)
{
    for (int first = 5; first <= 6; first++) {
        n_caught = 0;
        harness_accept(5);
        harness_read(5, GET);
        connection_duplicated(5, 6);
        cr_assert_eq(connection_of(6), connection_of(5));
        connection_gone(first);
        cr_assert_null(connection_of(first));
        cr_assert_eq(n_caught, 0, "the other one is open");
        int other = 11 - first;
        harness_write(other, OK);
        cr_assert_eq(n_caught, 1);
        cr_assert_eq(caught[0].status, 0);
        harness_read(other, GET);
        connection_duplicated(other, first); /* there is room for a second again */
        harness_write(first, OK);
        cr_assert_eq(n_caught, 2);
        harness_read(first, GET);
        connection_gone(5);
        connection_gone(6);
        cr_assert_eq(n_caught, 3);
        cr_assert_str_eq(attribute(&caught[2], "error.type"), "no_response");
        cr_assert_eq(harness_requests_open(), 0);
    }
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}

Test(connection, more_duplicates_than_are_followed)
{
    harness_accept(5);
    harness_read(5, GET);
    connection_duplicated(5, 6);
    connection_duplicated(6, 7);
    for (int fd = 5; fd < 8; fd++)
        cr_assert_eq(connection_of(fd), CONNECTION_NONE);
    cr_assert_eq(test_counters[COUNT_UNSURE], 1);
    cr_assert_eq(harness_requests_open(), 0);
    for (int fd = 5; fd < 8; fd++)
        connection_gone(fd);
    cr_assert_eq(n_caught, 0);
    harness_accept(6);
    harness_read(6, GET);
    harness_write(6, OK);
    cr_assert_eq(n_caught, 1);
}

Test(connection, a_number_that_was_anothers)
{
    harness_accept(5);
    harness_accept(6);
    harness_read(6, GET);
    connection_duplicated(5, 6); /* closed in a way that we do not see */
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(connection_of(6), connection_of(5));
    harness_accept(5); /* and so was this one */
    harness_read(6, GET);
    harness_write(6, OK);
    cr_assert_eq(n_caught, 2);
    connection_gone(5);
    connection_gone(6);
    harness_accept(5);
    harness_read(5, "\x01");
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    connection_duplicated(8, 5); /* of a file: what comes over its number is found out anew */
    cr_assert_null(connection_of(5));
}

static void child_duplicates(void)
{
    /* as inetd's child, or one that becomes a CGI script */
    for (int fd = 10; fd < 13; fd++)
        connection_duplicated(5, fd);
    CHILD(test_counters[COUNT_UNSURE] == 0);
    CHILD(n_caught == 0);
}

Test(connection, duplicates_in_a_child)
{
    harness_accept(5);
    harness_read(5, GET);
    cr_assert_eq(in_child(child_duplicates), 0);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

Test(connection, blind)
{
    harness_accept(5);
    harness_read(5, GET);
    connection_blind(5);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    cr_assert_eq(harness_requests_open(), 0);
    connection_gone(5);
    connection_arrived(5);
    connection_blind(5);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    cr_assert_eq(n_caught, 0);
}

/* Who sent the connection away does not know how its request ended; who answered it first does. */
Test(connection, passed_on)
{
    harness_accept(5);
    harness_read(5, GET);
    connection_passed_on(5);
    connection_gone(5);
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(harness_requests_open(), 0);
    harness_accept(5);
    harness_read(5, GET);
    connection_passed_on(5);
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
}

/* Bytes taken out of the stream unseen are a body's, or the stream is lost. */
Test(connection, read_unseen)
{
    harness_accept(5);
    harness_read(5, "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n0123456789");
    connection_read_unseen(5, 60);
    connection_read_unseen(5, -1);
    connection_read_unseen(5, 0);
    connection_read_unseen(5, 30);
    harness_read(5, GET);
    harness_write(5, OK OK);
    cr_assert_eq(n_caught, 2);
    harness_read(5, GET);
    connection_read_unseen(5, 1);
    cr_assert_neq(connection_of(5), CONNECTION_NONE, "one answer is still to come");
    harness_write(5, OK);
    cr_assert_eq(n_caught, 3);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    connection_gone(5);
    connection_arrived(5);
    connection_read_unseen(5, 10);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}

/* shutdown carries no bytes: beside a write of another thread, or in a signal handler, it makes nothing
 * unsure. */
Test(connection, shutdown_beside_a_write)
{
    harness_accept(5);
    harness_read(5, GET);
    struct connection *c = connection_of(5);
    cr_assert(connection_try(c, HALF_RESPONSE));
    connection_shut(5);
    connection_leave(c, HALF_RESPONSE);
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
}

/* While this thread is in a half, as a handler that interrupted it finds it: what moves no bytes through that
 * half, or goes over another connection, makes nothing unsure. */
Test(connection, in_a_signal_handler)
{
    struct iovec iov = {(char[]){"x"}, 1};
    harness_accept(5);
    harness_accept(6);
    harness_read(5, GET);
    struct connection *c = connection_of(5);
    for (int half = 0; half < 2; half++) {
        cr_assert(connection_try(c, half ? HALF_RESPONSE : HALF_REQUEST));
        errno = EAGAIN;
        connection_read(5, &iov, 1, -1);
        connection_written(5, &iov, 1, -1);
        connection_written_unseen(5, -1);
        connection_peeked(5, &iov, 1, 1);
        connection_shut(5);
        connection_passed_on(6);
        connection_duplicated(5, 7);
        connection_gone(7);
        harness_read(6, GET);
        harness_write(6, OK);
        connection_leave(c, half ? HALF_RESPONSE : HALF_REQUEST);
    }
    harness_write(5, OK);
    cr_assert_eq(n_caught, 3);
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}
