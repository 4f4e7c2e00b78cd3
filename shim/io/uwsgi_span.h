/* SPDX-License-Identifier: Apache-2.0
 * uwsgi_span.h - requests that a front server passes on in the uwsgi protocol. What a span has is what an
 * HTTP request's has (http_span.h); the answer is HTTP/1.
 */
#ifndef FORKSPAN_IO_UWSGI_SPAN_H
#define FORKSPAN_IO_UWSGI_SPAN_H

#include "io/connection.h"

/* Request half: bytes read, where the application will find them; as http_request_bytes(). */
void uwsgi_request_bytes(struct connection *c, uint8_t *p, size_t n);

#endif
