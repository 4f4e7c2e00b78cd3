/* SPDX-License-Identifier: Apache-2.0
 *
 * Recorded conversations (tests/servers/record.py), cut everywhere and fed in every order that the rules
 * allow - no byte of a response before the end of its request's head - give the same spans.
 */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void init(void)
{
    harness_init();
    test_config.propagate = true;
}

TestSuite(orders, .init = init);

enum { MESSAGES = 8, ROOM = 8192 };

struct conversation {
    char requests[ROOM], responses[ROOM];
    size_t r, s;             /* bytes of them */
    size_t head[MESSAGES];   /* where the head of each request ends */
    size_t answer[MESSAGES]; /* where its response ends, the interim ones before it included */
    unsigned n_heads, n_answers;
};

static struct conversation talk;
static char natural[16384]; /* the spans of the order that was recorded */
static unsigned runs;

/* ---- loading */

static void heads_find(void)
{
    talk.requests[talk.r] = 0;
    for (size_t at = 0; at < talk.r;) {
        char *end = strstr(talk.requests + at, "\r\n\r\n");
        cr_assert_not_null(end);
        size_t head_end = (size_t)(end - talk.requests) + 4;
        talk.head[talk.n_heads++] = head_end;
        *end = 0; /* to look for fields in this head alone */
        const char *length = strstr(talk.requests + at, "Content-Length: ");
        const char *coding = strstr(talk.requests + at, "Transfer-Encoding: chunked");
        *end = '\r';
        at = head_end;
        if (coding)
            at = (size_t)(strstr(talk.requests + at, "\r\n0\r\n\r\n") - talk.requests) + 7;
        else if (length)
            at += (size_t)atoi(length + 16);
    }
}

/* Recorded order: where each block lies. */
static struct block {
    char direction;
    size_t n;
} blocks[4 * MESSAGES];
static unsigned n_blocks;

static void load(const char *name)
{
    char path[512], direction;
    size_t n;
    snprintf(path, sizeof path, CONVERSATIONS "/%s", name);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    memset(&talk, 0, sizeof talk);
    n_blocks = 0;
    while (fscanf(f, "%c %zu", &direction, &n) == 2) {
        char *to = direction == '>' ? talk.requests + talk.r : talk.responses + talk.s;
        cr_assert_eq(fgetc(f), '\n');
        cr_assert_eq(fread(to, 1, n, f), n);
        blocks[n_blocks++] = (struct block){direction, n};
        if (direction == '>') {
            talk.r += n;
        } else {
            talk.s += n;
            if (to[9] != '1') /* "HTTP/1.1 1xx": more of the same answer follows */
                talk.answer[talk.n_answers++] = talk.s;
        }
    }
    fclose(f);
    heads_find();
    cr_assert_eq(talk.n_heads, talk.n_answers);
}

/* ---- feeding */

static size_t got_r, got_s;

static void begin(void)
{
    n_caught = 0;
    got_r = got_s = 0;
    harness_accept(5);
}

static void feed_read(size_t n)
{
    static char piece[ROOM];
    if (n > talk.r - got_r)
        n = talk.r - got_r;
    memcpy(piece, talk.requests + got_r, n);
    struct iovec iov = {piece, n};
    if (n)
        connection_read(5, &iov, 1, (ssize_t)n);
    got_r += n;
}

/* So many bytes of the responses may have been written when so many of the requests have been read. */
static size_t allowed(size_t r)
{
    size_t s = 0;
    for (unsigned i = 0; i < talk.n_heads && talk.head[i] <= r; i++)
        s = talk.answer[i];
    return s;
}

/* At most n, and at most what is allowed. */
static void feed_write(size_t n)
{
    size_t most = allowed(got_r) - got_s;
    n = n < most ? n : most;
    struct iovec iov = {talk.responses + got_s, n};
    if (n) {
        connection_write_ahead(5, iov.iov_base, n);
        connection_written(5, &iov, 1, (ssize_t)n);
    }
    got_s += n;
}

static void spans(char out[16384])
{
    size_t at = 0;
    out[0] = 0;
    for (unsigned i = 0; i < n_caught; i++)
        at += (size_t)snprintf(out + at, 16384 - at, "%s %u parent %s\n%s\n", caught[i].name,
                               caught[i].status, caught[i].parent, caught[i].attributes);
    cr_assert_lt(at, 16384);
}

static void end(const char *order, size_t i, size_t j)
{
    static char now[16384];
    feed_read(talk.r);
    feed_write(talk.s);
    cr_assert_eq(got_s, talk.s);
    connection_gone(5);
    spans(now);
    cr_assert_str_eq(now, natural, "%s %zu %zu gives\n%s", order, i, j, now);
    cr_assert_eq(harness_requests_open(), 0);
    runs++;
}

static void as_recorded(void)
{
    begin();
    for (unsigned b = 0; b < n_blocks; b++) {
        if (blocks[b].direction == '>')
            feed_read(blocks[b].n);
        else
            feed_write(blocks[b].n);
    }
    connection_gone(5);
    spans(natural);
}

static void all_orders(const char *name)
{
    load(name);
    as_recorded();
    /* every cut of the requests: what may be answered is answered at once, or as late as can be */
    for (size_t i = 0; i <= talk.r; i++) {
        begin();
        feed_read(i);
        feed_write(talk.s);
        end("requests cut, early", i, 0);
        begin();
        feed_read(i);
        end("requests cut, late", i, 0);
    }
    /* every cut of the responses, with no more read than they need */
    for (size_t j = 0; j <= talk.s; j++) {
        begin();
        while (allowed(got_r) < j)
            feed_read(1);
        feed_write(j);
        end("responses cut", j, 0);
    }
    /* both cut */
    size_t step_r = talk.r / 80 + 1, step_s = talk.s / 80 + 1;
    for (size_t i = 0; i <= talk.r; i += step_r) {
        for (size_t j = 0; j <= allowed(i); j += step_s) {
            begin();
            feed_read(i);
            feed_write(j);
            end("both cut", i, j);
        }
    }
    /* byte by byte */
    begin();
    while (got_r < talk.r || got_s < talk.s) {
        feed_read(1);
        while (got_s < allowed(got_r))
            feed_write(1);
    }
    end("byte by byte", 0, 0);
    /* pieces of any size in any order */
    unsigned x = 1;
    for (size_t round = 0; round < 1000; round++) {
        size_t most = (size_t)1 << round % 9;
        begin();
        while (got_r < talk.r || got_s < talk.s) {
            x = x * 1664525u + 1013904223u;
            if (x >> 31)
                feed_read(1 + (x >> 8) % most);
            else
                feed_write(1 + (x >> 8) % most);
        }
        end("pieces", round, most);
    }
    cr_assert_eq(test_counters[COUNT_UNSURE], 0);
    cr_log_info("%s: %u orders", name, runs);
}

/* "METHOD path status" of each span of `natural`. */
static void said(char out[1024])
{
    out[0] = 0;
    for (unsigned i = 0; i < n_caught; i++) {
        char method[32];
        const char *original = attribute(&caught[i], "http.request.method_original");
        snprintf(method, sizeof method, "%s",
                 original ? original : attribute(&caught[i], "http.request.method"));
        sprintf(out + strlen(out), "%s %s", method, attribute(&caught[i], "url.path"));
        sprintf(out + strlen(out), " %s\n", attribute(&caught[i], "http.response.status_code"));
    }
}

#define CONVERSATION(function, name, spans_of_it)                                                            \
    Test(orders, function)                                                                                   \
    {                                                                                                        \
        char text[1024];                                                                                     \
        load(name);                                                                                          \
        as_recorded();                                                                                       \
        said(text);                                                                                          \
        cr_assert_str_eq(text, spans_of_it, "%s", text);                                                     \
        all_orders(name);                                                                                    \
        cr_assert_gt(runs, 1000);                                                                            \
    }

CONVERSATION(http_server_keep_alive, "http.server-keep-alive",
             "GET /a 200\nHEAD /b 200\nPOST /c 200\nPUT /d 501\n")
CONVERSATION(http_server_continue, "http.server-continue", "POST /a 200\nGET /b 200\n")
CONVERSATION(gunicorn_one, "sync-one", "GET /404/fixed/a 404\n")
CONVERSATION(gunicorn_until_close, "sync-until-close", "GET /200/chunked/a 200\n")
CONVERSATION(gunicorn_chunked, "gthread-chunked",
             "GET /200/chunked/a 200\nPOST /200/fixed/c 200\nHEAD /200/fixed/b 200\nGET /304/fixed/c 304\n"
             "GET /503/empty/d 503\n")
CONVERSATION(nginx_pipelined, "nginx-pipelined", "GET /a 200\nGET /file/small 200\nHEAD /file/small 200\n")
CONVERSATION(nginx_early, "nginx-early", "POST /file/small 405\nGET /file/none 404\n")
CONVERSATION(nginx_errors, "nginx-errors", "DELETE /file/small 405\nGET /file/small 206\nBREW /b 200\n")
