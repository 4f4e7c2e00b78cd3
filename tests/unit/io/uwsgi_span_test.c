/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests in the uwsgi protocol become the spans that the same requests in HTTP/1 do.
 */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void init(void)
{
    harness_init();
    test_config.instrument = INSTRUMENT_HTTP | INSTRUMENT_UWSGI;
    test_config.propagate = true;
}

TestSuite(uwsgi_span, .init = init);

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static uint8_t packet[8192];
static size_t packet_len;

static void packet_make(const char *const *vars)
{
    packet_len = 4;
    memset(packet, 0, 4);
    for (; *vars; vars++) {
        size_t name = strcspn(*vars, "="), value = (size_t)(strchr(*vars, '\0') - *vars) - name - 1;
        packet[packet_len++] = (uint8_t)name;
        packet[packet_len++] = (uint8_t)(name >> 8);
        memcpy(packet + packet_len, *vars, name);
        packet_len += name;
        packet[packet_len++] = (uint8_t)value;
        packet[packet_len++] = (uint8_t)(value >> 8);
        memcpy(packet + packet_len, *vars + name + 1, value);
        packet_len += value;
    }
    packet[1] = (uint8_t)(packet_len - 4);
    packet[2] = (uint8_t)((packet_len - 4) >> 8);
}

static void read_part(size_t from, size_t to)
{
    struct iovec iov = {packet + from, to - from};
    connection_read(5, &iov, 1, (ssize_t)(to - from));
}

static void exchange(const char *const *vars, size_t piece)
{
    packet_make(vars);
    harness_accept(5);
    for (size_t at = 0; at < packet_len; at += piece)
        read_part(at, at + piece < packet_len ? at + piece : packet_len);
    harness_write(5, OK);
    connection_gone(5);
    cr_assert_eq(harness_requests_open(), 0);
}

static const char *const full[] = {"REQUEST_METHOD=POST",
                                   "REQUEST_URI=/shop/a%20b?q=1&sig=secret",
                                   "PATH_INFO=/a b",
                                   "QUERY_STRING=q=1&sig=secret",
                                   "CONTENT_LENGTH=3",
                                   "SERVER_PROTOCOL=HTTP/1.1",
                                   "REMOTE_ADDR=203.0.113.9",
                                   "HTTP_HOST=shop:8080",
                                   "HTTP_USER_AGENT=curl/8",
                                   "HTTP_TRACEPARENT=00-" TRACE "-" PARENT "-01",
                                   "HTTP_TRACESTATE=v=1",
                                   "UWSGI_SCHEME=https",
                                   NULL};

static const char attributes_of_full[] =
    "http.request.method=POST\nurl.path=/shop/a%20b\nurl.scheme=https\nurl.query=q=1&sig=REDACTED\n"
    "http.response.status_code=200\nnetwork.protocol.version=1.1\nserver.address=shop\nserver.port=8080\n"
    "client.address=203.0.113.9\nnetwork.peer.address=192.0.2.7\nnetwork.peer.port=4711\nuser_agent.original="
    "curl/8\n";

Test(uwsgi_span, full)
{
    for (size_t piece = 1; piece < 500; piece++) {
        harness_forget();
        exchange(full, piece);
        cr_assert_eq(n_caught, 1, "pieces of %zu", piece);
        cr_assert_str_eq(caught[0].name, "POST");
        cr_assert_str_eq(caught[0].attributes, attributes_of_full, "pieces of %zu", piece);
        cr_assert_str_eq(caught[0].trace_id, TRACE);
        cr_assert_str_eq(caught[0].parent, PARENT);
        cr_assert_str_eq(caught[0].tracestate, "v=1");
    }
}

Test(uwsgi_span, target_without_request_uri_in_any_order)
{
    static const char *const orders[][5] = {
        {"REQUEST_METHOD=GET", "PATH_INFO=/path", "QUERY_STRING=a=b", NULL, NULL},
        {"QUERY_STRING=a=b", "REQUEST_METHOD=GET", "PATH_INFO=/path", NULL, NULL},
        {"PATH_INFO=/path", "QUERY_STRING=a=b", "REQUEST_METHOD=GET", NULL, NULL},
        {"PATH_INFO=/other", "REQUEST_URI=/path?a=b", "REQUEST_METHOD=GET", "QUERY_STRING=c", NULL},
        {"REQUEST_URI=/path?a=b", "REQUEST_URI=/second", "REQUEST_METHOD=GET", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        for (size_t piece = 1; piece < 100; piece += 6) {
            harness_forget();
            exchange(orders[i], piece);
            cr_assert_eq(n_caught, 1);
            cr_assert_str_eq(attribute(&caught[0], "url.path"), "/path", "order %zu, pieces of %zu", i,
                             piece);
            cr_assert_str_eq(attribute(&caught[0], "url.query"), "a=b", "order %zu, pieces of %zu", i, piece);
        }
}

Test(uwsgi_span, longest_target)
{
    static char path[4096] = "PATH_INFO=/";
    memset(path + 11, 'p', 3000);
    exchange((const char *const[]){"QUERY_STRING=a=b", path, "REQUEST_METHOD=GET", NULL}, 512);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(strncmp(attribute(&caught[0], "url.path"), "/ppp", 4), 0);
}

Test(uwsgi_span, version_and_scheme)
{
    static const char *const rows[][4] = {
        {"SERVER_PROTOCOL=HTTP/2.0", "HTTPS=on", "2", "https"},
        {"SERVER_PROTOCOL=HTTP/1.0", "HTTPS=off", "1.0", "http"},
        {"SERVER_PROTOCOL=HTTP/3", "HTTPS=", "3", "http"},
        {"SERVER_PROTOCOL=HTTP/1.1", "REQUEST_SCHEME=http", "1.1", "http"},
        {"SERVER_PROTOCOL=INCLUDED OF A LONG NAME", "REQUEST_SCHEME=https", "1.1", "https"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_forget();
        exchange((const char *const[]){"REQUEST_METHOD=GET", "REQUEST_URI=/", rows[i][0], rows[i][1], NULL},
                 9);
        cr_assert_str_eq(attribute(&caught[0], "network.protocol.version"), rows[i][2], "row %zu", i);
        cr_assert_str_eq(attribute(&caught[0], "url.scheme"), rows[i][3], "row %zu", i);
    }
}

Test(uwsgi_span, the_application_reads_our_span_as_its_parent)
{
    exchange(full, sizeof packet);
    char wanted[56] = "00-" TRACE "-";
    strcat(wanted, caught[0].span_id);
    strcat(wanted, "-01");
    cr_assert(memmem(packet, packet_len, wanted, 55), "the packet holds our span's id");
    cr_assert_not(memmem(packet, packet_len, PARENT, 16));
    /* In two reads the application may have seen the first: then it reads what came. */
    harness_forget();
    exchange(full, 100);
    cr_assert(memmem(packet, packet_len, PARENT, 16));
    cr_assert_str_eq(caught[0].parent, PARENT);
    test_config.propagate = false;
    exchange(full, sizeof packet);
    cr_assert(memmem(packet, packet_len, PARENT, 16));
}

Test(uwsgi_span, only_if_asked_for)
{
    test_config.instrument = INSTRUMENT_HTTP;
    exchange(full, 50);
    cr_assert_eq(n_caught, 0);
    harness_exchange("GET / HTTP/1.1\r\n\r\n", OK);
    cr_assert_eq(n_caught, 1);
    test_config.instrument = INSTRUMENT_UWSGI;
    harness_exchange("GET / HTTP/1.1\r\n\r\n", OK);
    cr_assert_eq(n_caught, 1);
    exchange(full, 50);
    cr_assert_eq(n_caught, 2);
}

Test(uwsgi_span, not_answered)
{
    packet_make(full);
    harness_accept(5);
    read_part(0, packet_len);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_str_eq(attribute(&caught[0], "error.type"), "no_response");
    /* a head that does not end makes no span */
    harness_accept(5);
    read_part(0, packet_len - 1);
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_eq(harness_requests_open(), 0);
}

Test(uwsgi_span, other_packets_make_no_span)
{
    exchange((const char *const[]){"UWSGI_FUNC=ping", "KEY=value", NULL}, 9);
    cr_assert_eq(n_caught, 0);
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}

Test(uwsgi_span, head_has_no_body_and_a_body_is_let_pass)
{
    packet_make((const char *const[]){"REQUEST_METHOD=HEAD", "REQUEST_URI=/", NULL});
    harness_accept(5);
    read_part(0, packet_len);
    harness_write(5, "HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello");
    connection_gone(5);
    cr_assert_eq(n_caught, 1);
    cr_assert_str_eq(attribute(&caught[0], "http.response.status_code"), "404");
    cr_assert_null(attribute(&caught[0], "error.type"));
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
}
