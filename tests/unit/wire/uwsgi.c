/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of the uwsgi protocol give the events written beside them, however their bytes are cut; what is no
 * such request is found out at the first byte that says so.
 */
#include "wire/uwsgi.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct transcript {
    char text[4096];
    size_t len;
    bool open; /* a value, whose next slice goes on */
};

static void say(struct transcript *t, const void *s, size_t n)
{
    cr_assert(t->len + n < sizeof t->text);
    memcpy(t->text + t->len, s, n);
    t->len += n;
    t->text[t->len] = 0;
}

static void word(struct transcript *t, const char *s)
{
    say(t, s, strlen(s));
    t->open = false;
}

static const char *const names[] = {"other",  "method",    "uri",    "path",  "query", "protocol",
                                    "scheme", "https",     "remote", "host",  "agent", "parent",
                                    "state",  "forwarded", "for",    "proto", "xhost"};

/* False once the stream is lost. */
static bool feed(struct transcript *t, struct uwsgi *p, const uint8_t *s, size_t n)
{
    uint8_t *copy = malloc(n + !n); /* so that a read beyond it is seen by the sanitizers */
    memcpy(copy, s, n);
    struct http1_slice in = {copy, n}, out;
    for (;;) {
        enum uwsgi_event e = uwsgi_next(p, &in, &out);
        if (out.len)
            cr_assert(e == UWSGI_VALUE && out.p >= copy && out.p + out.len <= copy + n);
        switch (e) {
        case UWSGI_NEED_MORE:
        case UWSGI_NOT_UWSGI:
            cr_assert_eq(in.len, 0);
            if (e == UWSGI_NOT_UWSGI)
                word(t, "NOT ");
            free(copy);
            return e == UWSGI_NEED_MORE;
        case UWSGI_START:
            word(t, "start ");
            break;
        case UWSGI_VALUE:
            if (!t->open) {
                word(t, names[p->var]);
                word(t, "=");
            }
            say(t, out.p, out.len);
            t->open = true;
            break;
        case UWSGI_VALUE_END:
            if (!t->open)
                word(t, names[p->var]);
            word(t, " ");
            break;
        case UWSGI_HEAD_END:
            word(t, "end ");
            break;
        }
    }
}

struct packet {
    uint8_t bytes[70000];
    size_t len;
};

static void number(struct packet *p, size_t n)
{
    p->bytes[p->len++] = (uint8_t)n;
    p->bytes[p->len++] = (uint8_t)(n >> 8);
}

/* "NAME=value" each; the size is written last. */
static void packet_make(struct packet *p, uint8_t modifier1, const char *const *vars)
{
    p->len = 0;
    p->bytes[p->len++] = modifier1;
    number(p, 0);
    p->bytes[p->len++] = 0;
    for (; *vars; vars++) {
        size_t name = strcspn(*vars, "="), value = strlen(*vars) - name - 1;
        number(p, name);
        memcpy(p->bytes + p->len, *vars, name);
        p->len += name;
        number(p, value);
        memcpy(p->bytes + p->len, *vars + name + 1, value);
        p->len += value;
    }
    p->bytes[1] = (uint8_t)(p->len - 4);
    p->bytes[2] = (uint8_t)((p->len - 4) >> 8);
}

static void expect_cut(const struct packet *p, const char *wanted, size_t a, size_t b)
{
    struct transcript t = {0};
    struct uwsgi u;
    uwsgi_init(&u);
    (void)(feed(&t, &u, p->bytes, a) && feed(&t, &u, p->bytes + a, b - a) &&
           feed(&t, &u, p->bytes + b, p->len - b));
    cr_assert_str_eq(t.text, wanted, "cut at %zu and %zu", a, b);
}

static void expect(const struct packet *p, const char *wanted)
{
    for (size_t a = 0; a <= p->len; a++)
        for (size_t b = a; b <= p->len; b += 7)
            expect_cut(p, wanted, a, b);
    struct transcript t = {0};
    struct uwsgi u;
    uwsgi_init(&u);
    for (size_t i = 0; i < p->len && feed(&t, &u, p->bytes + i, 1); i++)
        ;
    cr_assert_str_eq(t.text, wanted, "byte by byte");
}

static struct packet packet;

Test(uwsgi, request)
{
    static const char *const vars[] = {"REQUEST_METHOD=POST",
                                       "REQUEST_URI=/a?b",
                                       "PATH_INFO=/a",
                                       "QUERY_STRING=",
                                       "SERVER_PROTOCOL=HTTP/1.1",
                                       "CONTENT_LENGTH=3",
                                       "HTTP_HOST=h:1",
                                       "HTTP_TRACEPARENT=00-x",
                                       "UWSGI_SCHEME=https",
                                       NULL};
    packet_make(&packet, 0, vars);
    memcpy(packet.bytes + packet.len, "\0ab", 3);
    packet.len += 3;
    expect(
        &packet,
        "start method=POST uri=/a?b path=/a query protocol=HTTP/1.1 host=h:1 parent=00-x scheme=https end ");
}

Test(uwsgi, every_name_we_know)
{
    static const char *const vars[] = {"HTTPS=on",
                                       "REMOTE_ADDR=::1",
                                       "HTTP_USER_AGENT=u",
                                       "HTTP_TRACESTATE=a=b",
                                       "HTTP_FORWARDED=for=x",
                                       "HTTP_X_FORWARDED_FOR=1",
                                       "HTTP_X_FORWARDED_PROTO=p",
                                       "HTTP_X_FORWARDED_HOST=h",
                                       "REQUEST_SCHEME=http",
                                       "HTTP_X_FORWARDED_HOSTS=no",
                                       "HTTP_X_FORWARDED_PROTO_OF_A_LONG_NAME=no",
                                       "https=no",
                                       NULL};
    packet_make(&packet, 5, vars);
    expect(
        &packet,
        "start https=on remote=::1 agent=u state=a=b forwarded=for=x for=1 proto=p xhost=h scheme=http end ");
}

Test(uwsgi, largest)
{
    static char value[65500];
    char *rest = stpcpy(value, "QUERY_STRING=");
    memset(rest, 'q', sizeof value - 1 - (size_t)(rest - value));
    const char *const vars[] = {value, NULL};
    packet_make(&packet, 0, vars);
    struct uwsgi u;
    uwsgi_init(&u);
    struct http1_slice in = {packet.bytes, packet.len}, out;
    cr_assert_eq(uwsgi_next(&u, &in, &out), UWSGI_START);
    cr_assert_eq(uwsgi_next(&u, &in, &out), UWSGI_VALUE);
    cr_assert_eq(out.len, sizeof value - 14);
    cr_assert_eq(uwsgi_next(&u, &in, &out), UWSGI_VALUE_END);
    cr_assert_eq(uwsgi_next(&u, &in, &out), UWSGI_HEAD_END);
    cr_assert_eq(uwsgi_next(&u, &in, &out), UWSGI_NEED_MORE);
}

static void expect_bytes(const char *bytes, size_t n, const char *wanted)
{
    memcpy(packet.bytes, bytes, n);
    packet.len = n;
    expect(&packet, wanted);
}

#define BYTES(s) s, sizeof(s) - 1

Test(uwsgi, no_request)
{
    expect_bytes(BYTES("\0\0\0\0"), "start NOT ");              /* no variables */
    expect_bytes(BYTES("\0\4\0\0\0\0\0\0"), "start NOT ");      /* a name of no bytes */
    expect_bytes(BYTES("\0\3\0\0\1\0A"), "start NOT ");         /* no room for a value's length */
    expect_bytes(BYTES("\0\6\0\0\1\0A\2\0x"), "start NOT ");    /* a value longer than the packet */
    expect_bytes(BYTES("\0\6\0\0\5\0AAAA"), "start NOT ");      /* a name longer than the packet */
    expect_bytes(BYTES("\0\6\0\0\1\0\xff\1\0x"), "start NOT "); /* a name of other bytes */
    expect_bytes(BYTES("\0\6\0\0\1\0\0\1\0x"), "start NOT ");
    expect_bytes(BYTES("\x16\x03\x01\x02\x00\x01"), "NOT "); /* TLS */
    expect_bytes(BYTES("\1\1\0\1\0\10\0\0"), "NOT ");        /* FastCGI */
    expect_bytes(BYTES("GET / HTTP/1.1\r\n"), "NOT ");
    expect_bytes(BYTES("\r\nGET / HTTP/1.1\r\n"), "NOT ");
}

Test(uwsgi, first_bytes_of_other_protocols)
{
    for (unsigned c = 0; c < 256; c++) {
        bool http = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '\r' || c == '\n';
        if (http || c == 1 || c == 0x16 || c >= 0x80)
            cr_assert_not(uwsgi_first_byte((uint8_t)c), "%u", c);
    }
    cr_assert(uwsgi_first_byte(0) && uwsgi_first_byte(5) && uwsgi_first_byte(7));
}
