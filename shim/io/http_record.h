/* SPDX-License-Identifier: Apache-2.0
 * http_record.h - the span of an HTTP server request (semantic conventions 1.44) from its entry in the table
 * of requests: by the process that served it, and by who sweeps a dead one's table. Pure functions.
 */
#ifndef FORKSPAN_IO_HTTP_RECORD_H
#define FORKSPAN_IO_HTTP_RECORD_H

#include "arena/requests.h"
#include "config/config.h"
#include "io/address.h"
#include "span/encode.h"

/* The parts of a request's target: origin-form, absolute-form, authority-form (CONNECT) or "*". */
struct target {
    struct text authority, path, query;
};
struct target http_target(const struct request *r);

/* How a request ended. */
struct http_outcome {
    uint64_t end_ns;        /* Unix time; raised to the start where it is before it */
    const char *error_type; /* NULL: complete; else why not, or how its process died */
};

/* What a request's headers, target and peer come to. */
struct http_facts {
    struct target target;
    struct text scheme, host, client, peer; /* empty: not known */
    int32_t port;
    bool method_known, socket_peer;
    char peer_text[ADDRESS_TEXT];
};

/* What is known of a span before there is room for it. It points into its request and into itself: the one
 * must not go before it, and it must not be copied. */
struct http_span {
    const struct config *config;
    const struct request *request;
    const struct http_outcome *outcome;
    struct http_facts facts;
    struct span_head head;
    uint32_t attributes; /* without those of head.dropped_attributes */
    size_t room;         /* an upper bound of the record's bytes */
};
void http_span_of(struct http_span *s, const struct config *config, const struct request *r,
                  const struct http_outcome *o);

/* The record (field 2 of ScopeSpans); returns its bytes, 0 where it did not fit. */
size_t http_span_write(const struct http_span *s, uint8_t *out, size_t room);

#endif
