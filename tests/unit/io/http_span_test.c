/* SPDX-License-Identifier: Apache-2.0
 *
 * What a span says of a request: rows of docs/otel-conformance.md, sections 5, 6.1, 6.2 and 7.
 */
#include "harness.h"

#include "arena/sampling.h"
#include "io/http_span.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(http_span, .init = harness_init);

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* The whole list of attributes of one exchange. */
struct row {
    const char *request, *response, *name, *attributes;
    unsigned status;
};

#define PEER "client.address=192.0.2.7\nnetwork.peer.address=192.0.2.7\nnetwork.peer.port=4711\n"
#define SERVER(address, port) "server.address=" address "\nserver.port=" port "\n"

static const struct row rows[] = {
    {"GET /a HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl/8\r\n\r\n", OK, "GET",
     "http.request.method=GET\nurl.path=/a\nurl.scheme=http\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER("shop", "80") PEER "user_agent.original=curl/8\n",
     0},
    {"get /a?x=1&y=%20 HTTP/1.0\r\nHost: shop:8080\r\n\r\n", "HTTP/1.0 404 No\r\nContent-Length: 0\r\n\r\n",
     "HTTP",
     "http.request.method=_OTHER\nhttp.request.method_original=get\nurl.path=/"
     "a\nurl.scheme=http\nurl.query=x=1&y=%20\n"
     "http.response.status_code=404\nnetwork.protocol.version=1.0\n" SERVER("shop", "8080") PEER,
     0},
    {"POST / HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nContent-Length: 2\r\n\r\nab",
     "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", "POST",
     "http.request.method=POST\nurl.path=/\nurl.scheme=http\nhttp.response.status_code=503\nerror.type=503\n"
     "network.protocol.version=1.1\n" SERVER("2001:db8::1", "8443") PEER,
     2},
    {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", OK, "OPTIONS",
     "http.request.method=OPTIONS\nurl.path=*\nurl.scheme=http\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER("h", "80") PEER,
     0},
    {"GET http://u:p@abs.example:81/p?q HTTP/1.1\r\nHost: other\r\n\r\n", OK, "GET",
     "http.request.method=GET\nurl.path=/p\nurl.scheme=http\nurl.query=q\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER("abs.example", "81") PEER,
     0},
    {"CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "CONNECT",
     "http.request.method=CONNECT\nurl.path=\nurl.scheme=http\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER("db.example", "443") PEER,
     0},
    {"GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nbody until close", "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=http\nhttp.response.status_code=200\n"
     "network.protocol.version=1.0\n" PEER,
     0},
    {"GET / HTTP/1.1\r\nHost: in\r\nX-Forwarded-For: 203.0.113.195:41, 70.41.3.18\r\nX-Forwarded-Proto: "
     "https\r\n"
     "X-Forwarded-Host: shop.example, p\r\n\r\n",
     OK, "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=https\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER(
         "shop.example", "443") "client.address=203.0.113.195\n"
                                "network.peer.address=192.0.2.7\nnetwork.peer.port=4711\n",
     0},
    {"GET / HTTP/1.1\r\nHost: in\r\nX-Forwarded-For: 1.1.1.1\r\n"
     "Forwarded: for=\"[2001:db8::1]:80\";Proto=https;host=\"f.example:444\", for=9.9.9.9\r\n\r\n",
     OK, "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=https\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER(
         "f.example", "444") "client.address=2001:db8::1\n"
                             "network.peer.address=192.0.2.7\nnetwork.peer.port=4711\n",
     0},
    {"GET / HTTP/1.1\r\nHost: in\r\nForwarded: for=unknown\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n", OK,
     "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=http\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER("in",
                                             "80") "client.address=2001:db8::7\n"
                                                   "network.peer.address=192.0.2.7\nnetwork.peer.port=4711\n",
     0},
    {"GET / HTTP/1.1\r\nHost: in\r\nForwarded: for=_hidden\r\n\r\n", OK, "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=http\nhttp.response.status_code=200\n"
     "network.protocol.version=1.1\n" SERVER("in", "80") PEER,
     0},
    /* the connection ended too early */
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "", "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=http\nerror.type=no_response\n"
     "network.protocol.version=1.1\n" SERVER("h", "80") PEER,
     2},
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "GET",
     "http.request.method=GET\nurl.path=/\nurl.scheme=http\nhttp.response.status_code=200\n"
     "error.type=response_incomplete\nnetwork.protocol.version=1.1\n" SERVER("h", "80") PEER,
     2},
    /* interim responses are not the status */
    {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: "
     "0\r\n\r\n",
     "PUT",
     "http.request.method=PUT\nurl.path=/\nurl.scheme=http\nhttp.response.status_code=201\n"
     "network.protocol.version=1.1\n" SERVER("h", "80") PEER,
     0},
    {"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n\x81\x01x",
     "GET",
     "http.request.method=GET\nurl.path=/ws\nurl.scheme=http\nhttp.response.status_code=101\n"
     "network.protocol.version=1.1\n" SERVER("h", "80") PEER,
     0},
    /* answered before its head was complete */
    {"GET /slow HTTP/1.1\r\nHost: h\r\nX-", "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n", "GET",
     "http.request.method=GET\nurl.path=/slow\nurl.scheme=http\nhttp.response.status_code=408\n"
     "network.protocol.version=1.1\n" SERVER("h", "80") PEER,
     0},
};

Test(http_span, attributes)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        n_caught = 0;
        harness_exchange(rows[i].request, rows[i].response);
        cr_assert_eq(n_caught, 1, "row %zu: %u spans", i, n_caught);
        cr_assert_str_eq(caught[0].attributes, rows[i].attributes, "row %zu: got\n%swant\n%s", i,
                         caught[0].attributes, rows[i].attributes);
        cr_assert_str_eq(caught[0].name, rows[i].name);
        cr_assert_eq(caught[0].status, rows[i].status, "row %zu", i);
        cr_assert_eq(caught[0].kind, 2);
        cr_assert_geq(caught[0].end, caught[0].start);
        cr_assert_eq(harness_requests_open(), 0);
    }
    cr_assert_eq(test_counters[COUNT_STARTED], sizeof rows / sizeof *rows);
    cr_assert_eq(test_counters[COUNT_QUEUED], sizeof rows / sizeof *rows);
}

/* The same when every byte comes and goes alone. */
Test(http_span, attributes_byte_by_byte)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        n_caught = 0;
        harness_accept(5);
        for (const char *p = rows[i].request; *p; p++)
            harness_read(5, (char[]){*p, 0});
        for (const char *p = rows[i].response; *p; p++)
            harness_write(5, (char[]){*p, 0});
        connection_gone(5);
        cr_assert_eq(n_caught, 1);
        cr_assert_str_eq(caught[0].attributes, rows[i].attributes, "row %zu: %s", i, caught[0].attributes);
    }
}

Test(http_span, forwarded_not_trusted)
{
    test_config.trust_forwarded = false;
    harness_exchange("GET / HTTP/1.1\r\nHost: in\r\nForwarded: for=1.2.3.4;proto=https;host=x\r\n"
                     "X-Forwarded-For: 4.4.4.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: y\r\n\r\n",
                     OK);
    cr_assert_str_eq(attribute(&caught[0], "client.address"), "192.0.2.7");
    cr_assert_str_eq(attribute(&caught[0], "url.scheme"), "http");
    cr_assert_str_eq(attribute(&caught[0], "server.address"), "in");
}

Test(http_span, query_redaction)
{
    static const char *const query[][2] = {
        {"sig=abcdef", "sig=REDACTED"},
        {"a=b&sig=x&c=d", "a=b&sig=REDACTED&c=d"},
        {"Signature=aaaaaaaaaaaaaaaaaaaaaa&x", "Signature=REDACTED&x"},
        {"X-Amz-Signature=1&X-Amz-Credential=2&X-Amz-Security-Token=3&AWSAccessKeyId=4&X-Goog-Signature=5",
         "X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED&AWSAccessKeyId="
         "REDACTED&"
         "X-Goog-Signature=REDACTED"},
        {"SIG=x&sigx=y&xsig=z", "SIG=x&sigx=y&xsig=z"},
        {"sig=", "sig=REDACTED"},
        {"sig", "sig"},
        {"&&sig=1&", "&&sig=REDACTED&"},
    };
    for (size_t i = 0; i < sizeof query / sizeof *query; i++) {
        char request[512];
        n_caught = 0;
        snprintf(request, sizeof request, "GET /p?%s HTTP/1.1\r\n\r\n", query[i][0]);
        harness_exchange(request, OK);
        cr_assert_str_eq(attribute(&caught[0], "url.query"), query[i][1]);
    }
    /* a query that grows beyond its room */
    char request[1024] = "GET /p?";
    for (int i = 0; i < 80; i++)
        strcat(request, "sig=1&");
    strcat(request, " HTTP/1.1\r\n\r\n");
    n_caught = 0;
    harness_exchange(request, OK);
    cr_assert_null(strstr(attribute(&caught[0], "url.query"), "=1"));
}

Test(http_span, context)
{
    static const struct {
        const char *headers, *trace, *parent, *state;
        unsigned flags;
    } table[] = {
#define TP "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
        {"", NULL, "", "", 0x103},
        {TP "01\r\n", TRACE, PARENT, "", 0x301},
        {TP "03\r\nTraceState: a=b, c=d \r\n", TRACE, PARENT, "a=b, c=d", 0x303},
        {TP "01 \t\r\ntracestate: a=b\r\ntracestate: c=d\r\n", TRACE, PARENT, "a=b,c=d", 0x301},
        {TP "01\r\ntracestate: foo=\r\n", TRACE, PARENT, "", 0x301},
        {TP "01\r\n" TP "01\r\n", NULL, "", "", 0x103},
        {TP "01-what\r\ntracestate: a=b\r\n", NULL, "", "", 0x103},
        {"traceparent: cc-" TRACE "-" PARENT "-01-what-and-more-than-there-is-room-for\r\n", TRACE, PARENT,
         "", 0x301},
        {"tracestate: a=b\r\n", NULL, "", "", 0x103},
        {"traceparent: \r\n", NULL, "", "", 0x103},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char request[512];
        n_caught = 0;
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\n%s\r\n", table[i].headers);
        harness_exchange(request, OK);
        cr_assert_eq(n_caught, 1, "row %zu", i);
        if (table[i].trace)
            cr_assert_str_eq(caught[0].trace_id, table[i].trace, "row %zu", i);
        else
            cr_assert_str_neq(caught[0].trace_id, TRACE);
        cr_assert_str_eq(caught[0].parent, table[i].parent, "row %zu", i);
        cr_assert_str_eq(caught[0].tracestate, table[i].state, "row %zu", i);
        cr_assert_eq(caught[0].flags, table[i].flags, "row %zu: %x", i, caught[0].flags);
    }
    n_caught = 0;
    harness_exchange("GET / HTTP/1.1\r\n" TP "00\r\n\r\n", OK);
    cr_assert_eq(n_caught, 0); /* its parent was not sampled */
    test_config.parent_based = false;
    test_config.propagate_tracecontext = false;
    harness_exchange("GET / HTTP/1.1\r\n" TP "00\r\n\r\n", OK);
    cr_assert_str_eq(caught[0].parent, "");
}

Test(http_span, long_tracestate_keeps_whole_members)
{
    static char request[4096];
    strcpy(request, "GET / HTTP/1.1\r\n" TP "01\r\ntracestate: ");
    for (int i = 0; i < 30; i++)
        sprintf(request + strlen(request), "%sk%02d=01234567890123456789", i ? "," : "", i);
    strcat(request, "\r\n\r\n");
    harness_exchange(request, OK);
    size_t n = strlen(caught[0].tracestate);
    cr_assert_geq(n, 480);
    cr_assert_eq(caught[0].tracestate[n - 1], '9');
    cr_assert_eq((n + 1) % 25, 0);
}

Test(http_span, turned_off_while_it_runs)
{
    harness_accept(5);
    harness_read(5, "GET /before HTTP/1.1\r\n\r\n");
    test_sampling = sampling_write(&(struct sampling){.off = true});
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1); /* what is in progress still ends as a span */
    cr_assert_str_eq(attribute(&caught[0], "url.path"), "/before");
    harness_read(5, "GET /off HTTP/1.1\r\n" TP "01\r\n\r\n");
    test_sampling = 0;
    harness_write(5, OK);
    cr_assert_eq(n_caught, 1);
    harness_read(5, "GET /after HTTP/1.1\r\n\r\n");
    harness_write(5, OK);
    cr_assert_eq(n_caught, 2);
    cr_assert_str_eq(attribute(&caught[1], "url.path"), "/after");
}

Test(http_span, a_full_ring_drops_and_counts)
{
    test_full = true;
    uint64_t before = test_counters[COUNT_DROPPED];
    harness_exchange("GET / HTTP/1.1\r\n\r\n", OK);
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(test_counters[COUNT_DROPPED] - before, 1);
}

Test(http_span, not_sampled_keeps_in_step)
{
    test_config.sampler = SAMPLER_ALWAYS_OFF;
    harness_accept(5);
    harness_read(5, "HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n" TP "01\r\n\r\n");
    harness_write(
        5, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 203 OK\r\nContent-Length: 1\r\n\r\nx");
    cr_assert_eq(n_caught, 1);
    cr_assert_str_eq(attribute(&caught[0], "http.response.status_code"), "203");
    cr_assert_eq(harness_requests_open(), 0);
}

Test(http_span, pipelining)
{
    harness_accept(5);
    harness_read(
        5, "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
           "HEAD /3 HTTP/1.1\r\n\r\nGET /4 HTTP/1.1\r\n\r\n");
    cr_assert_eq(harness_requests_open(), 4);
    harness_write(
        5, "HTTP/1.1 201 a\r\nContent-Length: 1\r\n\r\naHTTP/1.1 202 b\r\nTransfer-Encoding: chunked\r\n\r\n"
           "1\r\nx\r\n0\r\n\r\nHTTP/1.1 203 c\r\nContent-Length: 77\r\n\r\nHTTP/1.1 204 d\r\n\r\n");
    cr_assert_eq(n_caught, 4);
    static const char *const path[] = {"/1", "/2", "/3", "/4"}, *const code[] = {"201", "202", "203", "204"};
    for (int i = 0; i < 4; i++) {
        cr_assert_str_eq(attribute(&caught[i], "url.path"), path[i]);
        cr_assert_str_eq(attribute(&caught[i], "http.response.status_code"), code[i]);
    }
    connection_gone(5);
    cr_assert_eq(n_caught, 4);
}

Test(http_span, more_pipelined_than_fit)
{
    harness_accept(5);
    for (unsigned i = 0; i < CONNECTION_PENDING + 3; i++)
        harness_read(5, "GET / HTTP/1.1\r\n\r\n");
    for (unsigned i = 0; i < CONNECTION_PENDING + 3; i++)
        harness_write(5, OK);
    cr_assert_eq(n_caught, CONNECTION_PENDING);
    cr_assert_eq(harness_requests_open(), 0);
    cr_assert_eq(connection_of(5), CONNECTION_NONE);
    connection_gone(5);
}

Test(http_span, keep_alive_and_error_behind_it)
{
    harness_accept(5);
    for (int i = 0; i < 50; i++) {
        harness_read(5, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        harness_write(5, OK);
    }
    harness_read(5, "GET /last HTTP/1.1\r\nHost: h\r\n\r\n");
    struct iovec iov = {(char[]){"x"}, 1};
    harness_write(5, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    errno = ECONNRESET;
    connection_written(5, &iov, 1, -1);
    cr_assert_eq(errno, ECONNRESET);
    connection_gone(5);
    cr_assert_eq(n_caught, 51);
    cr_assert_str_eq(attribute(&caught[50], "error.type"), "connection_reset");
    cr_assert_str_eq(attribute(&caught[50], "http.response.status_code"), "200");
    cr_assert_eq(caught[50].status, 2);
}

Test(http_span, faults)
{
    struct iovec iov = {(char[]){"x"}, 1};
    harness_accept(5);
    harness_read(5, "GET / HTTP/1.1\r\n\r\n");
    connection_read(5, &iov, 1, 0);
    connection_gone(5);
    cr_assert_str_eq(attribute(&caught[0], "error.type"), "client_closed");
    harness_accept(5);
    harness_read(5, "GET / HTTP/1.1\r\n\r\n");
    connection_write_ahead(5, OK, strlen(OK));
    errno = EPIPE;
    connection_written(5, &iov, 1, -1);
    connection_gone(5);
    cr_assert_str_eq(attribute(&caught[1], "error.type"), "connection_reset");
    cr_assert_null(attribute(&caught[1], "http.response.status_code"), "it was never sent");
    harness_accept(5);
    harness_read(5, "GET / HTTP/1.1\r\n\r\n");
    errno = EAGAIN;
    connection_read(5, &iov, 1, -1);
    connection_written(5, &iov, 1, -1);
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_null(attribute(&caught[2], "error.type"));
}

Test(http_span, status_is_told_ahead)
{
    static struct request copied;
    harness_accept(5);
    harness_read(5, "GET / HTTP/1.1\r\n\r\n");
    connection_write_ahead(5, "HTTP/1.1 100 Continue\r\n", 16);
    cr_assert(request_read(process_requests(), 0, &copied));
    cr_assert_eq(copied.status, 0);
    cr_assert_eq(copied.phase, REQUEST_OPEN);
    connection_write_ahead(5, "HTTP/1.1 502 Bad Gate", 16);
    cr_assert(request_read(process_requests(), 0, &copied));
    cr_assert_eq(copied.status, 502);
    /* what who sweeps makes of it */
    struct http_outcome o = {.end_ns = copied.start_realtime_ns + 5, .error_type = "SIGSEGV"};
    static uint8_t out[8192];
    struct http_span span;
    http_span_of(&span, &test_config, &copied, &o);
    size_t n = http_span_write(&span, out, span.room);
    struct ring_place place = {.p = out, .room = (uint32_t)span.room};
    ring_commit(&place, (uint32_t)n, RING_SCOPE_HTTP);
    cr_assert_str_eq(attribute(&caught[0], "error.type"), "SIGSEGV");
    cr_assert_eq(caught[0].end - caught[0].start, 5);
}

Test(http_span, sendfile)
{
    harness_accept(5);
    harness_read(5, "GET /big HTTP/1.1\r\n\r\n");
    harness_write(5, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    connection_written_unseen(5, 400);
    cr_assert_eq(n_caught, 0);
    connection_written_unseen(5, 600);
    cr_assert_eq(n_caught, 1);
    harness_read(5, "GET /next HTTP/1.1\r\n\r\n");
    harness_write(5, OK);
    cr_assert_eq(n_caught, 2);
    connection_gone(5);
}

Test(http_span, shutdown_ends_a_body_until_close)
{
    harness_accept(5);
    harness_read(5, "GET / HTTP/1.0\r\n\r\n");
    harness_write(5, "HTTP/1.0 200 OK\r\n\r\nabc");
    connection_shut(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(caught[0].status, 0);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
}

Test(http_span, exclude)
{
    static const char *exclude[] = {"/healthz", "/static/*", NULL};
    test_config.exclude = exclude;
    harness_accept(5);
    harness_read(
        5, "GET /healthz?x HTTP/1.1\r\n\r\nGET /static/a HTTP/1.1\r\n\r\nGET /healthz/x HTTP/1.1\r\n\r\n");
    harness_write(5, OK OK OK);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_str_eq(attribute(&caught[0], "url.path"), "/healthz/x");
}

Test(http_span, limits)
{
    test_config.attribute_count = 3;
    test_config.attribute_length = 4;
    harness_exchange("GET /\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f HTTP/1.1\r\nHost: h\r\n\r\n", OK);
    cr_assert_str_eq(caught[0].attributes,
                     "http.request.method=GET\nurl.path=/\xc3\xa4\xc3\xb6\xc3\xbc\nurl.scheme=http\n");
    cr_assert_eq(caught[0].dropped, 7);
    test_config.attribute_count = 0;
    harness_exchange("GET / HTTP/1.1\r\n\r\n", OK);
    cr_assert_str_eq(caught[1].attributes, "");
}

Test(http_span, truncation_and_bad_text)
{
    static char request[70000];
    strcpy(request, "GET /");
    for (int i = 0; i < 2000; i++)
        strcat(request, "\xe2\x82\xac");
    strcat(request, " HTTP/1.1\r\nUser-Agent: \xff\xfe");
    for (int i = 0; i < 300; i++)
        strcat(request, "\xff");
    strcat(request, "\r\nHost: h\r\n\r\n");
    harness_exchange(request, OK);
    const char *path = attribute(&caught[0], "url.path");
    cr_assert_eq(strlen(path), 1 + 3 * 169); /* 510 bytes, cut at a character */
    cr_assert_str_eq(path + strlen(path) - 3, "\xe2\x82\xac");
    cr_assert_not_null(attribute(&caught[0], "user_agent.original"));
    cr_assert_not_null(attribute(&caught[0], "server.address"));
}

/* A ring gives away what is reserved: the bound is close, and never too low. */
Test(http_span, room)
{
    static char request[8192];
    unsigned x = 7;
    for (int round = 0; round < 3000; round++) {
        n_caught = 0;
        x = x * 1664525u + 1013904223u;
        int a = (int)(x >> 8) % 600, b = (int)(x >> 12) % 300, c = (int)(x >> 16) % 200;
        snprintf(request, sizeof request, "GET /%0*d?%0*d HTTP/1.1\r\nHost: %0*d\r\nUser-Agent: %0*d\r\n\r\n",
                 a + 1, 0, b + 1, 0, c + 1, 0, b + 1, 0);
        harness_exchange(request, OK);
        cr_assert_eq(n_caught, 1);
        cr_assert_not_null(attribute(&caught[0], "url.path"));
        cr_assert_leq(caught[0].room - caught[0].len, 150);
    }
}

Test(http_span, unix_peer_and_no_table)
{
    struct {
        sa_family_t family;
        char path[108];
    } peer = {AF_UNIX, "/run/client.sock"};
    test_no_table = true;
    connection_accepted(5, (struct sockaddr *)&peer, (socklen_t)(sizeof(sa_family_t) + 17));
    harness_read(5, "GET / HTTP/1.1\r\n\r\n");
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_str_eq(attribute(&caught[0], "network.peer.address"), "/run/client.sock");
    cr_assert_null(attribute(&caught[0], "network.peer.port"));
}

Test(http_span, table_full)
{
    for (int fd = 10; fd < 10 + 700; fd++) {
        harness_accept(fd);
        harness_read(fd, "GET / HTTP/1.1\r\n\r\n");
    }
    cr_assert_eq(harness_requests_open(), REQUESTS);
    cr_assert_eq(test_counters[COUNT_NO_ROOM], 700 - REQUESTS);
    unsigned spans = 0;
    for (int fd = 10; fd < 10 + 700; fd++) {
        harness_write(fd, OK);
        connection_gone(fd);
        spans += n_caught;
        n_caught = 0;
    }
    cr_assert_eq(spans, 700 - test_counters[COUNT_DROPPED]);
    cr_assert_eq(spans, test_counters[COUNT_STARTED]);
    cr_assert_eq(harness_requests_open(), 0);
}

Test(http_span, no_ring)
{
    test_no_ring = true;
    harness_exchange("GET / HTTP/1.1\r\n\r\n", OK);
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(harness_requests_open(), 0);
}
