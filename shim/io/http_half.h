/* SPDX-License-Identifier: Apache-2.0
 * http_half.h - the request half of http_span.c, for a head that was not written in HTTP/1.
 *
 * The caller holds the request half. In this order: begins; values, target and what else it writes into
 * c->current (NULL where the request gets no span) and c->method; hand_over at the end of the head; final
 * where no request follows. No allocation; safe in a signal handler.
 */
#ifndef FORKSPAN_IO_HTTP_HALF_H
#define FORKSPAN_IO_HTTP_HALF_H

#include "io/connection.h"

void http_half_begins(struct connection *c);
/* A piece of a header's value, and its end. c->current is not NULL. A value that comes again counts as
 * another line of that header. */
void http_half_value(struct connection *c, enum http1_field field, const struct http1_slice *s);
void http_half_value_end(struct connection *c, enum http1_field field);
/* c->current's target is complete. */
void http_half_target_end(struct connection *c);
/* The head is complete and ends at head_end (within the caller's buffer), or is answered before it is (NULL):
 * the request goes to the response half. */
void http_half_hand_over(struct connection *c, const uint8_t *head_end);
/* No request will come any more; a head that is being read is let go. */
void http_half_final(struct connection *c);

#endif
