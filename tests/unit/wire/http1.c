/* SPDX-License-Identifier: Apache-2.0
 *
 * Every message of the corpus gives the events written beside it, however its bytes are cut.
 */
#include "wire/http1.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a parser said, as text: slices of one kind joined. */
struct transcript {
    char text[4096];
    size_t len;
    char last; /* kind of the slice that is open */
    bool done;
};

static void say(struct transcript *t, const char *s, size_t n)
{
    for (size_t i = 0; i < n && t->len + 1 < sizeof t->text; i++)
        t->text[t->len++] = s[i];
    t->text[t->len] = 0;
}

static void word(struct transcript *t, const char *s)
{
    if (t->len)
        say(t, " ", 1);
    say(t, s, strlen(s));
    t->last = 0;
}

static void slice(struct transcript *t, char kind, struct http1_slice s)
{
    if (t->last != kind) {
        char head[4] = {kind, ':', 0};
        word(t, head);
        t->last = kind;
    }
    say(t, (const char *)s.p, s.len);
}

static void feed(struct transcript *t, struct http1 *p, enum http1_request_kind kind, const char *s, size_t n)
{
    struct http1_slice in = {(const uint8_t *)s, n}, out;
    char text[32];
    if (t->done)
        return;
    for (;;) {
        enum http1_event e = http1_next(p, &in, &out);
        switch (e) {
        case HTTP1_NEED_MORE:
            cr_assert_eq(in.len, 0);
            return;
        case HTTP1_NOT_HTTP:
            cr_assert_eq(in.len, 0);
            word(t, "NOT_HTTP");
            t->done = true;
            return;
        case HTTP1_START:
            http1_set_request_kind(p, kind);
            word(t, "start");
            break;
        case HTTP1_METHOD:
            slice(t, 'm', out);
            break;
        case HTTP1_TARGET:
            slice(t, 't', out);
            break;
        case HTTP1_VERSION:
            sprintf(text, "1.%d", p->minor);
            word(t, text);
            break;
        case HTTP1_STATUS:
            sprintf(text, "%d", p->status);
            word(t, text);
            break;
        case HTTP1_VALUE:
            slice(t, (char)('A' + p->field), out);
            break;
        case HTTP1_VALUE_END:
            word(t, ";");
            break;
        case HTTP1_HEAD_END:
            word(t, "head");
            break;
        case HTTP1_MESSAGE_END:
            word(t, "end");
            break;
        case HTTP1_UPGRADED:
            word(t, "UPGRADED");
            break;
        }
    }
}

struct sample {
    bool response;
    enum http1_request_kind kind;
    const char *bytes;
    const char *said;
};

#define REQ false, HTTP1_REQ_PLAIN
#define RES true, HTTP1_REQ_PLAIN
#define RES_HEAD true, HTTP1_REQ_HEAD
#define RES_CONNECT true, HTTP1_REQ_CONNECT
#define H "HTTP/1.1\r\nHost: a\r\n"
#define S "start m:POST t:/ 1.1 B:a ; "

static const struct sample corpus[] = {
    /* requests */
    {REQ, "GET / HTTP/1.1\r\n\r\n", "start m:GET t:/ 1.1 head end"},
    {REQ, "GET / HTTP/1.0\r\n\r\n", "start m:GET t:/ 1.0 head end"},
    {REQ, "\r\n\r\nGET /a?b=c HTTP/1.1\nHost: x\n\n", "start m:GET t:/a?b=c 1.1 B:x ; head end"},
    {REQ, "get / HTTP/1.1\r\n\r\n", "start m:get t:/ 1.1 head end"},
    {REQ, "M-SEARCH * HTTP/1.1\r\n\r\n", "start m:M-SEARCH t:* 1.1 head end"},
    {REQ, "GET /\xc3\xa4 HTTP/1.1\r\n\r\n", "start m:GET t:/\xc3\xa4 1.1 head end"},
    {REQ, "GET  /  HTTP/1.1 \r\n\r\n", "start m:GET t:/ 1.1 head end"},
    {REQ, "GET / HTTP/1.1\r\nhOsT:x  \r\nUSER-AGENT:\t a b\r\n\r\n",
     "start m:GET t:/ 1.1 B:x   ; C:a b ; head end"},
    {REQ, "GET / HTTP/1.1\r\nHost:\r\n\r\n", "start m:GET t:/ 1.1 ; head end"},
    {REQ, "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "start m:GET t:/ 1.1 B:x ; head end"},
    {REQ, "GET / HTTP/1.1\r\nX-Host: y\r\nHostX: z\r\nHos: t\r\n\r\n", "start m:GET t:/ 1.1 head end"},
    {REQ,
     "GET / HTTP/1.1\r\ntraceparent: 00\r\ntracestate: a=b\r\nForwarded: c\r\nX-Forwarded-For: d\r\n"
     "X-Forwarded-Proto: e\r\nX-Forwarded-Host: f\r\n\r\n",
     "start m:GET t:/ 1.1 D:00 ; E:a=b ; F:c ; G:d ; H:e ; I:f ; head end"},
    {REQ, "GET / HTTP/1.1\r\nUser-Agent: a\r\n  b\r\n\tc\r\nX: y\r\n z\r\n\r\n",
     "start m:GET t:/ 1.1 C:a b c ; head end"},
    {REQ, "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "start m:GET t:/ 1.1 B:a b ; head end"},
    {REQ, "GET / HTTP/1.1\r\nno colon here\r\nHost: x\r\n\r\n", "start m:GET t:/ 1.1 B:x ; head end"},
    {REQ, "GET / HTTP/1.1\r\n: x\r\nHost: x\r\n\r\n", "start m:GET t:/ 1.1 B:x ; head end"},
    {REQ, "GET http://h/p HTTP/1.1\r\n\r\n", "start m:GET t:http://h/p 1.1 head end"},
    /* bodies */
    {REQ, "POST / " H "Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ, "POST / " H "Content-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ, "POST / " H "Content-Length: 2 , 2\r\ncontent-length: 02\r\n\r\nab\r\nGET / HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ, "POST / " H "Content-Length:\r\n 2\r\n\r\nabGET / HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ, "POST / " H "Content-Length: 2\r\nContent-Length: 3\r\n\r\n", S "NOT_HTTP"},
    {REQ, "POST / " H "Content-Length: 2, 3\r\n\r\n", S "NOT_HTTP"},
    {REQ, "POST / " H "Content-Length: +2\r\n\r\n", S "NOT_HTTP"},
    {REQ, "POST / " H "Content-Length: 2 2\r\n\r\n", S "NOT_HTTP"},
    {REQ, "POST / " H "Content-Length: 18446744073709551616\r\n\r\n", S "NOT_HTTP"},
    {REQ, "POST / " H "Content-Length:\r\n\r\n", S "NOT_HTTP"},
    {REQ, "POST / " H "Content-Length: 18446744073709551615\r\n\r\nxxxxx", S "head"},
    {REQ,
     "POST / " H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\nGET / "
     "HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ,
     "POST / " H
     "Transfer-Encoding: gzip, Chunked\r\nContent-Length: 7\r\n\r\n1\na\n0 ;e\nT: x\nU: y\n\nGET / "
     "HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ,
     "POST / " H "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\nGET / "
     "HTTP/1.1\r\n\r\n",
     S "head end start m:GET t:/ 1.1 head end"},
    {REQ, "POST / " H "Transfer-Encoding: chunked, gzip\r\n\r\nGET / HTTP/1.1\r\n\r\n", S "head"},
    {REQ, "POST / " H "Transfer-Encoding: xchunked\r\n\r\nabc", S "head"},
    {REQ, "POST / " H "Transfer-Encoding: chunked\r\n\r\nx\r\n", S "head NOT_HTTP"},
    {REQ, "POST / " H "Transfer-Encoding: chunked\r\n\r\n1\r\nabc", S "head NOT_HTTP"},
    {REQ, "POST / " H "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", S "head NOT_HTTP"},
    /* not HTTP/1 */
    {REQ, "\x16\x03\x01\x02", "NOT_HTTP"},
    {REQ, "\x01\x01", "NOT_HTTP"},
    {REQ, "*3\r\n$3\r\nSET\r\n", "NOT_HTTP"},
    {REQ, "get foo\r\n", "start m:get t:foo NOT_HTTP"},
    {REQ, "GET /\r\n", "start m:GET t:/ NOT_HTTP"},
    {REQ, "GET / HTTP/2.0\r\n", "start m:GET t:/ NOT_HTTP"},
    {REQ, "GET / HTTP/1.2\r\n", "start m:GET t:/ NOT_HTTP"},
    {REQ, "GET / HTTP/1.11\r\n", "start m:GET t:/ 1.1 NOT_HTTP"},
    {REQ, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "start m:PRI t:* NOT_HTTP"},
    {REQ, "GET\t/ HTTP/1.1\r\n", "start m:GET NOT_HTTP"},
    {REQ, "GET /\t HTTP/1.1\r\n", "start m:GET t:/ NOT_HTTP"},
    {REQ, "GET / HTTP/1.1\rx", "start m:GET t:/ 1.1 NOT_HTTP"},
    {REQ, "GET / http/1.1\r\n", "start m:GET t:/ NOT_HTTP"},
    /* pipelining */
    {REQ,
     "GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.0\r\n\r\nPOST /3 HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /4 "
     "HTTP/1.1\r\n\r\n",
     "start m:GET t:/1 1.1 head end start m:HEAD t:/2 1.0 head end start m:POST t:/3 1.1 head end start "
     "m:GET t:/4 "
     "1.1 head end"},
    /* responses */
    {RES, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "start 1.1 200 head end"},
    {RES, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "start 1.1 200 head end"},
    {RES, "HTTP/1.0 404 Not Found\nContent-Length: 1\n\nxHTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
     "start 1.0 404 head end start 1.1 500 head end"},
    {RES, "HTTP/1.1 200 OK\r\nHost: x\r\n\r\nall of it\r\n\r\nHTTP/1.1 200 OK", "start 1.1 200 head"},
    {RES,
     "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 K\r\nContent-Length: "
     "0\r\n\r\n",
     "start 1.1 204 head end start 1.1 304 head end start 1.1 200 head end"},
    {RES_HEAD,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
     "start 1.1 200 head end start 1.1 200 head end"},
    {RES_HEAD, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
     "start 1.1 100 head start 1.1 200 head end"},
    {RES,
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 201 "
     "OK\r\nContent-Length: 1\r\n\r\nx",
     "start 1.1 100 head start 1.1 103 head start 1.1 102 head start 1.1 201 head end"},
    {RES, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x05hello", "start 1.1 101 head UPGRADED"},
    {RES_CONNECT, "HTTP/1.1 200 OK\r\n\r\n\x16\x03", "start 1.1 200 head UPGRADED"},
    {RES_CONNECT, "HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx", "start 1.1 407 head end"},
    {RES, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n0123456789abcde\r\n0\r\n\r\n",
     "start 1.1 200 head end"},
    {RES,
     "HTTP/1.1 200 OK\r\nTE: x\r\n: y\r\nUpgrade: z\r\n folded\r\nno colon\r\nConTent-LENGTH:\r\n 1\r\n\r\nx"
     "HTTP/1.1 200 OK\r\ntransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "start 1.1 200 head end start 1.1 200 head end"},
    {RES, "220 smtp ready\r\n", "NOT_HTTP"},
    {RES, "HTTP/1.1 20\r\n", "start 1.1 NOT_HTTP"},
    {RES, "HTTP/1.1 2000 x\r\n", "start 1.1 200 NOT_HTTP"},
    {RES, "HTTP/1.1 099 x\r\n", "start 1.1 NOT_HTTP"},
    {RES, "HTTP/2 200\r\n", "start NOT_HTTP"},
};

#define CORPUS (sizeof corpus / sizeof *corpus)

static void begin(struct transcript *t, struct http1 *p, const struct sample *s)
{
    t->len = 0;
    t->last = 0;
    t->done = false;
    t->text[0] = 0;
    if (s->response)
        http1_init_response(p);
    else
        http1_init_request(p);
}

Test(http1, size)
{
    cr_assert_lt(sizeof(struct http1), 128);
}

Test(http1, corpus_whole)
{
    static struct transcript t;
    for (size_t i = 0; i < CORPUS; i++) {
        struct http1 p;
        begin(&t, &p, &corpus[i]);
        feed(&t, &p, corpus[i].kind, corpus[i].bytes, strlen(corpus[i].bytes));
        cr_assert_str_eq(t.text, corpus[i].said, "sample %zu: %s\n  said %s\n  want %s", i, corpus[i].bytes,
                         t.text, corpus[i].said);
    }
}

Test(http1, corpus_byte_by_byte)
{
    static struct transcript t;
    for (size_t i = 0; i < CORPUS; i++) {
        struct http1 p;
        begin(&t, &p, &corpus[i]);
        for (const char *s = corpus[i].bytes; *s; s++)
            feed(&t, &p, corpus[i].kind, s, 1);
        cr_assert_str_eq(t.text, corpus[i].said, "sample %zu: %s\n  said %s", i, corpus[i].bytes, t.text);
    }
}

Test(http1, corpus_cut_twice_everywhere)
{
    static struct transcript t;
    for (size_t i = 0; i < CORPUS; i++) {
        size_t n = strlen(corpus[i].bytes);
        for (size_t a = 0; a <= n; a++)
            for (size_t b = a; b <= n; b++) {
                struct http1 p;
                begin(&t, &p, &corpus[i]);
                feed(&t, &p, corpus[i].kind, corpus[i].bytes, a);
                feed(&t, &p, corpus[i].kind, corpus[i].bytes + a, b - a);
                feed(&t, &p, corpus[i].kind, corpus[i].bytes + b, n - b);
                cr_assert_str_eq(t.text, corpus[i].said, "sample %zu cut at %zu and %zu: %s", i, a, b,
                                 t.text);
            }
    }
}

Test(http1, doubts_do_not_hang_on_where_it_is_cut)
{
    static const struct {
        const char *head;
        bool odd;
    } heads[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\rb\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\rb\r\nAccept: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: h\r\nAc cept: a\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost : h\r\nAccept: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHo\x01st: h\r\nAccept: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: h\nAccept: a\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t n = strlen(heads[i].head);
        for (size_t cut = 0; cut <= n; cut++) {
            struct http1 p;
            http1_init_request(&p);
            for (int half = 0; half < 2; half++) {
                struct http1_slice in = {(const uint8_t *)heads[i].head + (half ? cut : 0),
                                         half ? n - cut : cut},
                                   out;
                enum http1_event e;
                do
                    e = http1_next(&p, &in, &out);
                while (e != HTTP1_NEED_MORE && e != HTTP1_NOT_HTTP);
                cr_assert_eq(e, HTTP1_NEED_MORE);
            }
            cr_assert_eq(http1_odd(&p), heads[i].odd, "head %zu cut at %zu", i, cut);
        }
    }
}

/* Whoever looks behind each of these ends for the next takes the square of their number: minutes. */
Test(http1, value_of_ends, .timeout = 20)
{
    enum { MANY = 1 << 22 };
    static const char *const ends[] = {"\r", "\nHost:", "\n a"};
    char *big = malloc(MANY);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]), len = MANY / n * n;
        for (size_t at = 0; at < len; at += n)
            memcpy(big + at, ends[i], n);
        struct http1 p;
        http1_init_request(&p);
        static const char begin[] = "GET / HTTP/1.1\r\nHost:";
        struct http1_slice in = {(const uint8_t *)begin, sizeof begin - 1}, out;
        while (http1_next(&p, &in, &out) != HTTP1_NEED_MORE)
            continue;
        in = (struct http1_slice){(const uint8_t *)big, len};
        while (http1_next(&p, &in, &out) != HTTP1_NEED_MORE)
            cr_assert_not(http1_final(&p));
        cr_assert(http1_odd(&p) || i == 1);
    }
    free(big);
}

Test(http1, head_of_a_mebibyte)
{
    enum { BIG = 1 << 20 };
    static const char *const names[] = {"X-Other: ", "User-Agent: ", "Cookie: "};
    char *big = malloc(BIG);
    memset(big, 'x', BIG);
    for (size_t i = 0; i < 3; i++) {
        struct http1 p;
        http1_init_request(&p);
        static struct transcript t;
        t.len = 0;
        t.last = 0;
        t.done = false;
        static const char rest[] = "\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
                          first[] = "GET / HTTP/1.1\r\n";
        feed(&t, &p, HTTP1_REQ_PLAIN, first, sizeof first - 1);
        feed(&t, &p, HTTP1_REQ_PLAIN, names[i], strlen(names[i]));
        size_t mark = t.len;
        for (size_t at = 0; at < BIG; at += 4096) {
            size_t before = t.len;
            feed(&t, &p, HTTP1_REQ_PLAIN, big + at, 4096);
            t.len = before; /* the value itself is not of interest */
        }
        t.len = mark;
        feed(&t, &p, HTTP1_REQ_PLAIN, rest, sizeof rest - 1);
        cr_assert_not_null(strstr(t.text, "B:h ; head end start m:GET t:/2 1.1 head end"), "%s", t.text);
    }
    free(big);
}

/* Also a name without end. */
Test(http1, long_name)
{
    struct http1 p;
    http1_init_request(&p);
    static struct transcript t;
    feed(&t, &p, HTTP1_REQ_PLAIN, "GET / HTTP/1.1\r\n", 16);
    for (int i = 0; i < 100000; i++)
        feed(&t, &p, HTTP1_REQ_PLAIN, "host", 4);
    feed(&t, &p, HTTP1_REQ_PLAIN, ": x\r\n\r\n", 7);
    cr_assert_str_eq(t.text, "start m:GET t:/ 1.1 head end");
}

Test(http1, skip_body)
{
    struct http1 p;
    static struct transcript t;
    http1_init_response(&p);
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    feed(&t, &p, HTTP1_REQ_PLAIN, head, sizeof head - 1);
    http1_skip_body(&p, 999);
    feed(&t, &p, HTTP1_REQ_PLAIN, "", 0);
    cr_assert_str_eq(t.text, "start 1.1 200 head");
    http1_skip_body(&p, 1);
    feed(&t, &p, HTTP1_REQ_PLAIN, "", 0);
    cr_assert_str_eq(t.text, "start 1.1 200 head end");
    feed(&t, &p, HTTP1_REQ_PLAIN, head, sizeof head - 1);
    http1_skip_body(&p, 1001);
    feed(&t, &p, HTTP1_REQ_PLAIN, "", 0);
    cr_assert_str_eq(t.text, "start 1.1 200 head end start 1.1 200 head end NOT_HTTP");
}

Test(http1, skip_chunk_and_until_close)
{
    struct http1 p;
    static struct transcript t;
    http1_init_response(&p);
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n";
    feed(&t, &p, HTTP1_REQ_PLAIN, head, sizeof head - 1);
    http1_skip_body(&p, 255);
    feed(&t, &p, HTTP1_REQ_PLAIN, "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 26);
    cr_assert_str_eq(t.text, "start 1.1 200 head end start 1.1 200 head");
    cr_assert(http1_ends_at_close(&p));
    http1_skip_body(&p, 1u << 30);
    feed(&t, &p, HTTP1_REQ_PLAIN, "", 0);
    cr_assert(http1_ends_at_close(&p));
    /* in a head nobody can skip */
    http1_init_response(&p);
    t.len = 0;
    feed(&t, &p, HTTP1_REQ_PLAIN, head, 10);
    http1_skip_body(&p, 1);
    feed(&t, &p, HTTP1_REQ_PLAIN, "", 0);
    cr_assert(http1_final(&p));
}

Test(http1, random_bytes)
{
    static char bytes[512];
    static struct transcript t;
    unsigned x = 1;
    for (int round = 0; round < 20000; round++) {
        const struct sample *s = &corpus[(unsigned)round % CORPUS];
        size_t n = strlen(s->bytes);
        if (n > sizeof bytes)
            n = sizeof bytes;
        memcpy(bytes, s->bytes, n);
        for (int k = 0; k < 1 + round % 5; k++) {
            x = x * 1664525u + 1013904223u;
            bytes[(x >> 8) % n] = (char)(x >> 24);
        }
        struct http1 p;
        begin(&t, &p, s);
        feed(&t, &p, s->kind, bytes, n);
        static char whole[sizeof t.text];
        memcpy(whole, t.text, sizeof whole);
        begin(&t, &p, s);
        for (size_t i = 0; i < n; i++)
            feed(&t, &p, s->kind, bytes + i, 1);
        cr_assert_arr_eq(t.text, whole, strlen(whole) + 1);
    }
}
