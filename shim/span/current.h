/* SPDX-License-Identifier: Apache-2.0
 * current.h - what a span started without a parent is a child of: the span attached to the thread, else the
 * request the thread is serving.
 *
 * The second only while exactly one request whose head this thread has read is open. On an event loop with
 * two there is no telling which one a piece of work is for, and no parent is better than a wrong one.
 */
#ifndef FORKSPAN_SPAN_CURRENT_H
#define FORKSPAN_SPAN_CURRENT_H

#include "span/context.h"

struct request;
struct span;

struct current {
    struct span_context context;
    const char *tracestate; /* of a request: in shared memory */
    size_t tracestate_len;
};

/* False: none. Any thread, any handler. */
bool current_get(struct current *out);
/* This thread's, until it is detached or ended; they nest. Not in a signal handler. */
void current_attach(struct span *s);
/* Also one that is not the innermost; not attached to this thread: nothing. */
void current_detach(struct span *s);
/* The calling thread has read the head of this request, which has its context. */
void current_read(const struct request *r);

#endif
