/* SPDX-License-Identifier: Apache-2.0
 * uwsgi.h - an incremental parser of the uwsgi protocol's requests: bytes in, events out.
 *
 * Knows nothing of libc wrapping, spans or memory: no allocation, no system call, no state outside
 * `struct uwsgi`. Safe in a signal handler. A request is a packet of four bytes (modifier1, size in 16 bits
 * little endian, modifier2) and `size` bytes of variables, each a name and a value with 16-bit lengths; then
 * comes the body, whose end the connection's end or CONTENT_LENGTH tells. The answer is no packet: it is
 * HTTP/1. One request a connection.
 *
 * Feed it like this; a stream may be cut anywhere:
 *
 *     while ((e = uwsgi_next(&p, &in, &out)) != UWSGI_NEED_MORE && e != UWSGI_NOT_UWSGI) ...
 *
 * Events, in order: START; (VALUE* VALUE_END)*; HEAD_END. All that follows is body: NEED_MORE.
 */
#ifndef FORKSPAN_WIRE_UWSGI_H
#define FORKSPAN_WIRE_UWSGI_H

#include "wire/http1.h"

enum uwsgi_event {
    UWSGI_NEED_MORE, /* the buffer is used up */
    UWSGI_NOT_UWSGI, /* final: this is no request in the uwsgi protocol */
    UWSGI_START,     /* first byte of a request (not yet taken from the buffer) */
    UWSGI_VALUE,     /* slice of the value of variable uwsgi.var (only of those of enum uwsgi_var) */
    UWSGI_VALUE_END, /* the value of uwsgi.var is complete; an empty one has no VALUE */
    UWSGI_HEAD_END,  /* behind the last variable */
};

/* What a web server tells of a request (RFC 3875's names, and those that servers add). */
enum uwsgi_var {
    UWSGI_VAR_OTHER,
    UWSGI_REQUEST_METHOD,
    UWSGI_REQUEST_URI, /* path and query as they came */
    UWSGI_PATH_INFO,
    UWSGI_QUERY_STRING,
    UWSGI_SERVER_PROTOCOL,
    UWSGI_SCHEME, /* UWSGI_SCHEME, REQUEST_SCHEME */
    UWSGI_HTTPS,
    UWSGI_REMOTE_ADDR,
    UWSGI_HOST,
    UWSGI_USER_AGENT,
    UWSGI_TRACEPARENT,
    UWSGI_TRACESTATE,
    UWSGI_FORWARDED,
    UWSGI_X_FORWARDED_FOR,
    UWSGI_X_FORWARDED_PROTO,
    UWSGI_X_FORWARDED_HOST,
};

#define UWSGI_NAME_ROOM 24 /* longer than the longest name we know; a longer one is no name of ours */

struct uwsgi {
    uint16_t left; /* bytes of the packet still to come */
    uint16_t need; /* bytes of the name or value still to come */
    uint8_t var;   /* enum uwsgi_var */
    uint8_t state; /* private from here on */
    uint8_t count; /* bytes taken of a number, or of the header */
    uint8_t name_len;
    uint8_t name[UWSGI_NAME_ROOM];
};

void uwsgi_init(struct uwsgi *p);

/* A request may begin with this byte: no HTTP/1, TLS or FastCGI stream does. */
bool uwsgi_first_byte(uint8_t c);

/* Takes bytes from `in` and returns the next event; `out` is the slice of VALUE (into `in`'s bytes), else
 * empty. NEED_MORE leaves `in` empty. Time: the length of the head, and O(1) a buffer of body. */
enum uwsgi_event uwsgi_next(struct uwsgi *p, struct http1_slice *in, struct http1_slice *out);

/* The name of a variable; UWSGI_VAR_OTHER for those that nobody asks for. */
enum uwsgi_var uwsgi_var_of(const uint8_t *name, size_t len);

#endif
