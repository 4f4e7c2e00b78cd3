/* SPDX-License-Identifier: Apache-2.0
 * span_internal.h - what a span under way is; for the files of span.h only.
 */
#ifndef FORKSPAN_SPAN_SPAN_INTERNAL_H
#define FORKSPAN_SPAN_SPAN_INTERNAL_H

#include "span/encode.h"
#include "span/span.h"

#include <stdatomic.h>

enum {
    SPAN_POOL = 1024,  /* at once, in one process */
    SPAN_BYTES = 6144, /* attributes, events and links, encoded */
    SPAN_NAME = 256,
};

struct span {
    uint64_t generation; /* a child's end of its parent's span is dropped */
    _Atomic uint32_t next;
    _Atomic uint32_t serial; /* counts its uses: who remembers it knows whether it is still the same */
    struct span *below;      /* what was attached to the thread before it */
    uint32_t below_serial;
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

/* Bytes of the first `limit` characters. */
size_t span_limited(const char *s, size_t len, uint32_t limit);
/* A C string into room bytes with a NUL; whole characters only. */
size_t span_copy_name(char *to, size_t room, const char *from);
/* One attribute where w stands, with value lengths limited. */
void span_write_attribute(struct wire *w, const struct span_attribute *a);

#endif
