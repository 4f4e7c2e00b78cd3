/* SPDX-License-Identifier: Apache-2.0
 * span_internal.h - what a span under way is; for the files of span.h only.
 */
#ifndef FORKSPAN_SPAN_SPAN_INTERNAL_H
#define FORKSPAN_SPAN_SPAN_INTERNAL_H

#include "span/encode.h"
#include "span/span.h"

#include <stdatomic.h>

enum {
    SPAN_POOL_BITS = 10,
    SPAN_POOL = 1 << SPAN_POOL_BITS, /* at once, in one process */
    SPAN_BYTES = 6144,               /* attributes, events and links, encoded */
    SPAN_NAME = 256,
};

struct thread_state;

/* What may be left out because another call on the same span was under way. */
enum span_missed { MISSED_ATTRIBUTES, MISSED_EVENTS, MISSED_LINKS, MISSED };

struct span_body {
    _Atomic uint64_t use; /* number of the handle << 2 | state: pool.c */
    _Atomic uint64_t end_wanted_ns;
    _Atomic uint32_t next;
    _Atomic uint32_t missed[MISSED];
    uint64_t generation; /* a child's end of its parent's span is dropped */
    /* attached: current.c */
    struct span *below;
    const struct thread_state *attached_to;
    uint64_t attached_generation;
    bool recorded, ended_by_clock;
    uint32_t attributes, dropped, events, links;
    uint64_t keys; /* one bit a key that may be there: most sets need no search */
    uint64_t start_mono;
    struct span_head head;
    uint16_t tracestate_len;
    struct wire wire; /* attributes, events and links as they come */
    char name[SPAN_NAME], message[SPAN_NAME];
    char tracestate[TRACESTATE_MAX];
    uint8_t bytes[SPAN_BYTES];
};

/* A handle is not an address: it names a place of the pool and how many spans have had that place before, so
 * that one that was ended is known for what it is. All: any thread, any handler.
 *
 * A free place, entered, and its handle, until pool_open; NULL: none is left. */
struct span_body *pool_take(struct span **handle);
/* Leaves it for the first time: nobody has its handle yet. */
void pool_open(struct span_body *b);
/* The body, to change it, until pool_leave; NULL when the span has ended or another call is at it. */
struct span_body *pool_enter(const struct span *handle);
void pool_leave(struct span_body *b);
/* The body, to read what stays the same from start to end; NULL when the span has ended. Another thread may
 * end it meanwhile: who has copied asks again. */
struct span_body *pool_look(const struct span *handle);
/* Ends it at unix_ns, now or, when a call is at it, as soon as that leaves. */
void pool_end(const struct span *handle, uint64_t unix_ns);
/* In span.c: what an end does, on an entered body. */
void span_finish(struct span_body *b, uint64_t unix_ns);

/* A C string into room bytes with a NUL; whole characters only. */
size_t span_copy_name(char *to, size_t room, const char *from);
/* The Unix time of now for this span: never before its start, unless that was told. */
uint64_t span_now(const struct span_body *b);
/* One call on a span was left out because another was under way. */
void span_miss(const struct span *handle, enum span_missed what);

#endif
