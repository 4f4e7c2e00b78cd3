/* SPDX-License-Identifier: Apache-2.0
 * encode.h - a Span in protobuf wire form, written by hand straight into the ring (opentelemetry.proto
 * trace.v1). Header-only writers; the reference they are tested against is protobuf-c.
 *
 * Strings are written as valid UTF-8: bad sequences become U+FFFD (three bytes each), which the *_room
 * functions allow for. Nothing here allocates.
 */
#ifndef FORKSPAN_SPAN_ENCODE_H
#define FORKSPAN_SPAN_ENCODE_H

#include "span/context.h"

struct wire {
    uint8_t *p;
    uint8_t *end; /* writes beyond set `over` and write nothing */
    bool over;
    uint8_t key_tag; /* of wire_key_*: 0 is attributes = 9 of a Span */
};

/* Fields of a message, each with its tag. */
void wire_string(struct wire *w, uint8_t tag, const uint8_t *s, size_t len);
void wire_bytes(struct wire *w, uint8_t tag, const uint8_t *p, size_t len);
void wire_uint(struct wire *w, uint8_t tag, uint64_t v);
void wire_fixed64(struct wire *w, uint8_t tag, uint64_t v);
void wire_fixed32(struct wire *w, uint8_t tag, uint32_t v);
/* A nested message of up to 2 MiB: its fields are written between the two. */
uint8_t *wire_open(struct wire *w, uint8_t tag);
void wire_close(struct wire *w, uint8_t *start);

/* A KeyValue. */
#define WIRE_KEY(literal) (literal), sizeof(literal) - 1
void wire_key_string(struct wire *w, const char *key, size_t key_len, const uint8_t *value, size_t len);
void wire_key_int(struct wire *w, const char *key, size_t key_len, int64_t value);
void wire_key_double(struct wire *w, const char *key, size_t key_len, double value);
void wire_key_bool(struct wire *w, const char *key, size_t key_len, bool value);
/* An upper bound of the bytes of one string attribute. */
static inline size_t wire_key_string_room(size_t key_len, size_t len)
{
    return key_len + 3 * len + 32;
}

/* The fixed part of a span. */
struct span_head {
    struct span_context ctx;
    uint8_t parent_span_id[8];
    bool has_parent, parent_remote;
    uint8_t kind;
    uint8_t status;
    uint64_t start_ns, end_ns; /* Unix time */
    const char *name;
    size_t name_len;
    const uint8_t *tracestate;
    size_t tracestate_len;
    const char *status_message; /* or NULL */
    uint32_t dropped_attributes, dropped_events, dropped_links;
};

/* Opens field 2 of ScopeSpans with room for its length, writes everything of `h`; then the caller adds
 * attributes (field 9, by wire_key_*), then span_close() sets the length. Returns the start of the record. */
uint8_t *span_open(struct wire *w, const struct span_head *h);
/* Returns the record's length (and moves it so that the length prefix is minimal-or-padded varint). */
size_t span_close(struct wire *w, uint8_t *start);
/* Upper bound for span_open + span_close without attributes. */
size_t span_room(const struct span_head *h);

#endif
