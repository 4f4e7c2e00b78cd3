/* SPDX-License-Identifier: Apache-2.0
 * context.h - trace and span ids, and W3C Trace Context in and out.
 * No allocation, no system call (but getrandom once a process); safe in a signal handler.
 */
#ifndef FORKSPAN_SPAN_CONTEXT_H
#define FORKSPAN_SPAN_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACESTATE_MAX 512u

enum { TRACE_SAMPLED = 0x01, TRACE_RANDOM = 0x02 };

struct span_context {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t flags; /* W3C flags: 0x03 at most */
    bool valid;
    bool remote;
};

/* W3C traceparent (TC 20-http_request_header_format; all rows of otel-conformance.md 6.1, OWS trimmed).
 * On failure *out is zeroed and false returned. */
bool traceparent_parse(const uint8_t *s, size_t len, struct span_context *out);
/* True if s is a tracestate that may be carried on (6.2, strict as the W3C harness). */
bool tracestate_valid(const uint8_t *s, size_t len);
/* 55 bytes, no NUL. */
void traceparent_format(const struct span_context *ctx, char out[55]);

/* New random ids, never all zero, never the same in two processes of a tree, whatever way they forked: the
 * generator's key lies on the generation page (fork/generation.h). Any thread, any handler. */
void new_root_ids(uint8_t trace_id[16], uint8_t span_id[8]);
void new_span_id(uint8_t out[8]);

#endif
