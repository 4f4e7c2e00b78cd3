/* SPDX-License-Identifier: Apache-2.0
 * http1.h - an incremental HTTP/1.x message parser: bytes in, events out.
 *
 * Knows nothing of libc wrapping, spans or memory: no allocation, no system call, no state outside
 * `struct http1`. Safe in a signal handler. RFC 9112.
 */
#ifndef FORKSPAN_WIRE_HTTP1_H
#define FORKSPAN_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http1_event {
    HTTP1_NEED_MORE,   /* the buffer is used up */
    HTTP1_NOT_HTTP,    /* final: the stream is not HTTP/1; the parser costs nothing from now on */
    HTTP1_START,       /* first byte of a message */
    HTTP1_METHOD,      /* slice of the method (requests); may come in several pieces */
    HTTP1_TARGET,      /* slice of the request target */
    HTTP1_VERSION,     /* minor version known: http1.minor */
    HTTP1_STATUS,      /* status code known: http1.status (responses) */
    HTTP1_VALUE,       /* slice of the value of header http1.field (only of the fields of enum http1_field) */
    HTTP1_VALUE_END,   /* the value of http1.field is complete */
    HTTP1_HEAD_END,    /* the empty line behind the head */
    HTTP1_MESSAGE_END, /* last byte of the message, body included */
    HTTP1_UPGRADED,    /* what follows is another protocol (101, or 2xx to CONNECT): final */
};

enum http1_field {
    HTTP1_FIELD_OTHER,
    HTTP1_HOST,
    HTTP1_USER_AGENT,
    HTTP1_TRACEPARENT,
    HTTP1_TRACESTATE,
    HTTP1_FORWARDED,
    HTTP1_X_FORWARDED_FOR,
    HTTP1_X_FORWARDED_PROTO,
    HTTP1_X_FORWARDED_HOST,
    HTTP1_CONTENT_LENGTH,    /* framing: parsed inside, no events */
    HTTP1_TRANSFER_ENCODING, /* framing */
    HTTP1_CONNECTION,        /* framing */
    HTTP1_UPGRADE,           /* framing */
};

struct http1_slice {
    const uint8_t *p;
    size_t len;
};

struct http1; /* complete in this header below; written by the parser's owner */

/* A response parser must know, before it reaches the end of a head, what the request was. */
enum http1_request_kind { HTTP1_REQ_PLAIN, HTTP1_REQ_HEAD, HTTP1_REQ_CONNECT };

