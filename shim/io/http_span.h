/* SPDX-License-Identifier: Apache-2.0
 * http_span.h - from the bytes of a connection to HTTP server spans (semantic conventions 1.44, HTTP server).
 *
 * The caller holds the half that a function names. No allocation; safe in a signal handler.
 */
#ifndef FORKSPAN_IO_HTTP_SPAN_H
#define FORKSPAN_IO_HTTP_SPAN_H

#include "arena/requests.h"
#include "config/config.h"
#include "io/connection.h"
#include "io/http_record.h"

/* Request half: bytes read, where the application will find them. Of these bytes only the span id and the
 * flags of a traceparent are ever written (FORKSPAN_PROPAGATE, nest.h), and only where the whole head is in
 * this one buffer, was not looked at before, is followed by nobody else, and its span is recorded. */
void http_request_bytes(struct connection *c, uint8_t *p, size_t n);
/* Request half: bytes of it that nobody saw. */
void http_request_unseen(struct connection *c, size_t n);
/* Response half: bytes written. */
void http_response_bytes(struct connection *c, const uint8_t *p, size_t n);
/* Response half: bytes written that nobody saw. */
void http_response_unseen(struct connection *c, size_t n);
/* Response half: nothing more will be written. */
void http_response_shut(struct connection *c);
/* No half: a write of these bytes is about to happen; n <= 16 are looked at. */
void http_write_ahead(struct connection *c, const uint8_t *p, size_t n);
/* Both halves: the connection was closed; what is pending ends here. */
void http_connection_closed(struct connection *c);
/* Both halves: what is pending is let go without a span. */
void http_connection_forget(struct connection *c);

/* The first bytes read of a stream may be an HTTP/1 request. */
bool http_looks_like_request(const uint8_t *p, size_t n);

#endif
