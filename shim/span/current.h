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

/* The current context and its trace state (TRACESTATE_MAX bytes at most); false: none. Any thread, any
 * handler. */
bool current_get(struct span_context *out, char *tracestate, size_t *tracestate_len);
/* This thread's, until it is detached or ended; they nest. One that is attached, here or to another thread,
 * stays as it is. Not in a signal handler. */
void current_attach(struct span *s);
/* Also one that is not the innermost; not attached to this thread: nothing. */
void current_detach(struct span *s);
/* The calling thread has read the head of this request, which has its context. Before its phase is set. */
void current_read(const struct request *r);
/* A request of which nothing is known has been read (1), or answered (-1): while there are such in this
 * process, no other is taken for the only one. */
void current_unseen(int change);
/* A request was lost sight of: when it is over will not be known, and no request is taken for the only one in
 * this process from now on. */
void current_untold(void);

#endif
