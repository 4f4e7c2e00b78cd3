/* SPDX-License-Identifier: Apache-2.0
 * http1.h - an incremental HTTP/1.x message parser: bytes in, events out.
 *
 * Knows nothing of libc wrapping, spans or memory: no allocation, no system call, no state outside
 * `struct http1`. Safe in a signal handler. RFC 9112.
 *
 * Feed it like this; a stream may be cut anywhere:
 *
 *     while ((e = http1_next(&p, &in, &out)) != HTTP1_NEED_MORE && e != HTTP1_NOT_HTTP) ...
 *
 * Events of a message, in order: START; requests METHOD+ TARGET+ VERSION (VALUE* VALUE_END)*, responses
 * VERSION STATUS; HEAD_END; then MESSAGE_END or UPGRADED. An interim response (1xx but 101) has no
 * MESSAGE_END: its HEAD_END (http1.status < 200) is followed by the START of the next. A response whose body
 * lasts until the connection closes has no MESSAGE_END either: see http1_ends_at_close().
 */
#ifndef FORKSPAN_WIRE_HTTP1_H
#define FORKSPAN_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http1_event {
    HTTP1_NEED_MORE, /* the buffer is used up */
    HTTP1_NOT_HTTP,  /* final: the stream is not HTTP/1; the parser costs nothing from now on */
    HTTP1_START,     /* first byte of a message (not yet taken from the buffer) */
    HTTP1_METHOD,    /* slice of the method (requests); may come in several pieces */
    HTTP1_TARGET,    /* slice of the request target */
    HTTP1_VERSION,   /* minor version known: http1.minor */
    HTTP1_STATUS,    /* status code known: http1.status (responses) */
    HTTP1_VALUE, /* requests: slice of the value of header http1.field (of the fields of enum http1_field) */
    HTTP1_VALUE_END,   /* the value of http1.field is complete; blanks at its end are part of the slices */
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

/* A response parser must know, before it reaches the end of a head, what the request was. */
enum http1_request_kind { HTTP1_REQ_PLAIN, HTTP1_REQ_HEAD, HTTP1_REQ_CONNECT };

#define HTTP1_NAME_ROOM 20 /* longer than the longest name we know; a longer one is no name of ours */

struct http1 {
    uint64_t left;   /* bytes of body, or of the chunk, still to come */
    uint64_t length; /* Content-Length */
    uint64_t number; /* the one being read */
    uint16_t status; /* of the response whose head is being, or was last, read */
    uint8_t minor;
    uint8_t field; /* enum http1_field */
    uint8_t state; /* private from here on */
    uint8_t kind;
    uint8_t flags;
    uint8_t count; /* bytes matched of whatever is matched now */
    uint8_t coding;
    uint8_t name_len;
    uint8_t odd;
    uint8_t name[HTTP1_NAME_ROOM];
};

void http1_init_request(struct http1 *p);
void http1_init_response(struct http1 *p);
/* At START of a response, at the latest before its HEAD_END: what it answers. It holds for the interim
 * responses before it, too, and is HTTP1_REQ_PLAIN again after MESSAGE_END. */
void http1_set_request_kind(struct http1 *p, enum http1_request_kind kind);

/* Takes bytes from `in` and returns the next event; `out` is the slice of METHOD, TARGET and VALUE (into
 * `in`'s bytes, or constant), else empty. NEED_MORE leaves `in` empty. Time: the length of the head, and O(1)
 * a buffer of body. */
enum http1_event http1_next(struct http1 *p, struct http1_slice *in, struct http1_slice *out);

/* `n` bytes of body went by unseen (sendfile). Then call http1_next with an empty buffer for the events of
 * it. Where they do not fit into the body the stream is lost, and ends in NOT_HTTP. */
void http1_skip_body(struct http1 *p, uint64_t n);

/* Between two messages: nothing of the next one has been seen. */
bool http1_idle(const struct http1 *p);
/* In a body that the end of the connection ends. */
bool http1_ends_at_close(const struct http1 *p);
/* Another reader of the same bytes could see the messages begin elsewhere: a length beside a coding, two
 * lengths, a coding that is not chunked, lines that end in LF alone or are folded or have no proper name, an
 * upgrade asked for. Of requests: told of all messages before the one at hand; stays. */
bool http1_odd(const struct http1 *p);
/* Says the same for a reason that the caller knows. */
void http1_doubt(struct http1 *p);
/* NOT_HTTP or UPGRADED was returned. */
bool http1_final(const struct http1 *p);

#endif
