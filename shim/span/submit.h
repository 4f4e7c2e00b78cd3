/* SPDX-License-Identifier: Apache-2.0
 * submit.h - spans that somebody else has encoded.
 */
#ifndef FORKSPAN_SPAN_SUBMIT_H
#define FORKSPAN_SPAN_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUBMIT_MAX (64u * 1024u)

/* Spans in an ExportTraceServiceRequest; -1 where it is not one as far as its outer three levels tell. What
 * passes is sent as it is: protobuf messages concatenate, and one that is broken would spoil its batch. */
long submit_spans(const uint8_t *p, size_t len);
/* Queues it. False: not one, too long or no room. Ordinary context. */
bool submit_request(const uint8_t *p, size_t len);

#endif
