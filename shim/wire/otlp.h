/* SPDX-License-Identifier: Apache-2.0
 * otlp.h - is this an OTLP message? (opentelemetry-proto, trace.v1.)
 */
#ifndef FORKSPAN_WIRE_OTLP_H
#define FORKSPAN_WIRE_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Spans in an ExportTraceServiceRequest; -1 where it is not one down to its last attribute: each known field
 * of its own wire type, ids of their lengths, strings of valid UTF-8. A receiver refuses a whole batch for
 * one field. Fields that a later protocol may have are left alone. */
long otlp_spans(const uint8_t *p, size_t len);
/* The same of one Span, with the tag and the length it has in a ScopeSpans. */
bool otlp_span_record(const uint8_t *p, size_t len);

#endif
