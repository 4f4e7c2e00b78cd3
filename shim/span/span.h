/* SPDX-License-Identifier: Apache-2.0
 * span.h - spans made by code of the host: start, attributes, events, links, end. The public C API
 * (include/forkspan.h) is these functions under other names.
 *
 * Any thread, any signal handler (span_start() where it is told so), also on a span that another call is at:
 * then an end takes place when that is done, and what else was wanted is left out and counted. NULL for a
 * span and the handle of one that has ended are fine everywhere.
 */
#ifndef FORKSPAN_SPAN_SPAN_H
#define FORKSPAN_SPAN_SPAN_H

#include "span/context.h"

enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER, SPAN_CLIENT, SPAN_PRODUCER, SPAN_CONSUMER };
enum span_status { SPAN_STATUS_UNSET, SPAN_STATUS_OK, SPAN_STATUS_ERROR };

struct span; /* a handle: names a place in a pool, points nowhere */

struct span_attribute {
    const char *key;
    enum { SPAN_STRING, SPAN_INT, SPAN_DOUBLE, SPAN_BOOL } type;
    uint32_t string_len;
    union {
        const char *string;
        int64_t integer;
        double number;
        bool boolean;
    } value;
};

struct span_start {
    const char *name;
    enum span_kind kind;
    bool below_current;                /* its parent is the current one, below is none */
    const struct span_context *parent; /* NULL or not valid: a root */
    const char *tracestate;            /* the parent's */
    size_t tracestate_len;
    uint64_t unix_ns; /* 0: now */
    bool in_handler;  /* nothing but what is async-signal-safe is done */
};

/* Starts a span; asks the sampler. A span not sampled is a valid handle that records nothing. NULL when
 * disabled, or with no room (counted). */
struct span *span_start_with(const struct span_start *how);
struct span *span_start(const char *name, enum span_kind kind, const struct span_context *parent);

void span_rename(struct span *s, const char *name);
/* n of them. One with a key that is there takes its place (OpenTelemetry API, Set Attributes). */
void span_set(struct span *s, const struct span_attribute *a, size_t n);
void span_set_string(struct span *s, const char *key, const char *value, size_t len);
void span_set_int(struct span *s, const char *key, int64_t value);
void span_add_event(struct span *s, const char *name, uint64_t unix_ns, const struct span_attribute *a,
                    size_t n);
void span_add_link(struct span *s, const struct span_context *to, const char *tracestate,
                   size_t tracestate_len, const struct span_attribute *a, size_t n);
void span_set_status(struct span *s, enum span_status status, const char *description);
/* Its context and trace state (TRACESTATE_MAX bytes at most); false, and nothing, when it has ended. */
bool span_get_context(const struct span *s, struct span_context *out, char *tracestate, size_t *len);
/* Ends the span at unix_ns (0: now) and queues it; the handle is gone. In a child, a span of the parent's is
 * dropped. */
void span_end_at(struct span *s, uint64_t unix_ns);
void span_end(struct span *s);

#endif
