/* SPDX-License-Identifier: Apache-2.0
 * transport.h - one curl handle and one connection, shared by the protocols over HTTP; every wait is the
 * host's.
 */
#ifndef FORKSPAN_EXPORTER_TRANSPORT_H
#define FORKSPAN_EXPORTER_TRANSPORT_H

#include "certificates.h"
#include "exporter_internal.h"
#include "names.h"

#include <curl/curl.h>

enum {
    ANSWER_MAX = 4 << 20 /* protocol/exporter.md: a longer answer is refused, also after decompression */
};
enum { WATCHED = 8 };

struct transport {
    CURLM *multi;
    CURL *easy;
    const char *url;
    bool secure, http2_only;
    bool named; /* there is a host to look up: not a socket in the file system */
    struct names names;
    long port;
    struct certificates certificates;
    struct curl_slist *resolve;
    struct {
        int fd, what;
    } watched[WATCHED];
    uint64_t timer_at; /* when curl wants to be called, CLOCK_MONOTONIC; 0: not */
    /* of the last try */
    bool done, too_large;
    CURLcode code;
    char error[CURL_ERROR_SIZE];
    uint8_t *answer;
    size_t answer_len, answer_room;
    /* each line of the answer's head and trailers */
    void (*on_header)(void *ctx, const char *line, size_t len);
    void *on_header_ctx;
};

/* Reads what it needs from files; opens no connection. False, and said, if it can not work. */
bool transport_open(struct exporter *e, struct transport *t, const char *url, bool http2_only);
/* One POST. After TRIED: t->code, t->error, t->easy, t->answer. *sent: some of it may have left. */
enum tried transport_post(struct exporter *e, struct transport *t, struct curl_slist *headers,
                          const uint8_t *body, size_t len, uint64_t until_ns, bool *sent);
/* One more line for transport_post(); false: no memory, and the list is as it was. */
bool transport_header(struct curl_slist **list, const char *line);
void transport_after_fork_child(struct transport *t);
void transport_close(struct transport *t);
/* The code is one that another try will give again. */
bool transport_permanent(CURLcode code);

#endif
