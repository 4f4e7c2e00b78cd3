/* SPDX-License-Identifier: Apache-2.0
 * proto.h - protobuf's wire form: reading it a field at a time, where nothing is trusted and nothing is read
 * twice, and writing its numbers.
 */
#ifndef FORKSPAN_WIRE_PROTO_H
#define FORKSPAN_WIRE_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proto_wire { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
    uint32_t number;
    enum proto_wire wire;
    const uint8_t *p; /* its bytes; of a varint, none */
    size_t len;
};

/* One byte is what most keys and lengths have. */
static inline bool proto_varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    if (__builtin_expect(*p < end && **p < 0x80, 1)) {
        *out = *(*p)++;
        return true;
    }
    *out = 0;
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t b = *(*p)++;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return true;
    }
    return false;
}

/* How many bytes it takes. */
static inline size_t proto_varint_size(uint64_t v)
{
    if (v < 0x80)
        return 1;
    return ((size_t)(63 - __builtin_clzll(v | 1)) * 9 + 73) / 64;
}

/* Writes it to p, where there is room for it (10 bytes at most); returns its end. */
static inline uint8_t *proto_put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

/* The field at *p, which moves behind it; false where there is none. Groups are none (proto3 has none). */
static inline bool proto_next(const uint8_t **p, const uint8_t *end, struct proto_field *f)
{
    uint64_t key, n = 0;
    if (!proto_varint(p, end, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return false;
    *f = (struct proto_field){.number = (uint32_t)(key >> 3), .wire = (enum proto_wire)(key & 7)};
    switch (key & 7) {
    case PROTO_VARINT:
        return proto_varint(p, end, &n);
    case PROTO_FIXED64:
        n = 8;
        break;
    case PROTO_FIXED32:
        n = 4;
        break;
    case PROTO_BYTES:
        if (!proto_varint(p, end, &n))
            return false;
        break;
    default:
        return false;
    }
    if (n > (uint64_t)(end - *p))
        return false;
    f->p = *p;
    f->len = (size_t)n;
    *p += n;
    return true;
}

#endif
