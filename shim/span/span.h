/* SPDX-License-Identifier: Apache-2.0
 * span.h - spans made by code of the host: start, attributes, end. The public C API stands on these.
 */
#ifndef FORKSPAN_SPAN_SPAN_H
#define FORKSPAN_SPAN_SPAN_H

#include "span/context.h"

enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER, SPAN_CLIENT, SPAN_PRODUCER, SPAN_CONSUMER };
enum span_status { SPAN_STATUS_UNSET, SPAN_STATUS_OK, SPAN_STATUS_ERROR };

struct span; /* from a lock-free pool in private memory; at most SPAN_POOL at once */

/* Starts a span; parent NULL or invalid: a root. Asks the sampler; a span not sampled is a valid handle that
 * records nothing. NULL when disabled or the pool is empty (counted). Any thread. */
struct span *span_start(const char *name, enum span_kind kind, const struct span_context *parent);
void span_set_string(struct span *s, const char *key, const char *value, size_t len);
void span_set_int(struct span *s, const char *key, int64_t value);
void span_set_double(struct span *s, const char *key, double value);
void span_set_bool(struct span *s, const char *key, bool value);
void span_set_status(struct span *s, enum span_status status, const char *description);
const struct span_context *span_get_context(const struct span *s);
/* Ends the span and queues it; the handle is gone. In a child, a span of the parent's is dropped. NULL is
 * fine. */
void span_end(struct span *s);

#endif
