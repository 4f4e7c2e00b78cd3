/* SPDX-License-Identifier: Apache-2.0
 * submit.h - spans that somebody else has encoded.
 */
#ifndef FORKSPAN_SPAN_SUBMIT_H
#define FORKSPAN_SPAN_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUBMIT_MAX (64u * 1024u)

/* Queues an ExportTraceServiceRequest, to be sent as it is: protobuf messages concatenate. False: not one
 * (wire/otlp.h), too long, or no room (counted). Ordinary context. */
bool submit_request(const uint8_t *p, size_t len);

#endif
