/* SPDX-License-Identifier: Apache-2.0 */
#include "span/submit.h"
#include "arena/ring.h"
#include "process.h"

#include <string.h>

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t b = *(*p)++;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return true;
    }
    return false;
}

struct field {
    uint64_t number;
    const uint8_t *p; /* of a length-delimited one */
    size_t len;
    bool delimited;
};

/* The next field of a message; its end: *p == end before the call. */
static bool next_field(const uint8_t **p, const uint8_t *end, struct field *f)
{
    uint64_t key, n;
    if (!varint(p, end, &key) || key >> 3 == 0)
        return false;
    *f = (struct field){.number = key >> 3, .delimited = (key & 7) == 2};
    switch (key & 7) {
    case 0:
        return varint(p, end, &n);
    case 1:
    case 5:
        n = (key & 7) == 1 ? 8 : 4;
        break;
    case 2:
        if (!varint(p, end, &n))
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

/* Walks the fields of a message; `inside` says for one number how many spans are in it. */
static long walk(const uint8_t *p, size_t len, uint64_t number, long (*inside)(const uint8_t *, size_t))
{
    long spans = 0;
    struct field f;
    for (const uint8_t *end = p + len; p < end;) {
        if (!next_field(&p, end, &f))
            return -1;
        if (f.number != number)
            continue;
        long n = f.delimited ? inside(f.p, f.len) : -1;
        if (n < 0)
            return -1;
        spans += n;
    }
    return spans;
}

static long one_span(const uint8_t *p, size_t len)
{
    struct field f;
    for (const uint8_t *end = p + len; p < end;)
        if (!next_field(&p, end, &f))
            return -1;
    return 1;
}

static long in_scope_spans(const uint8_t *p, size_t len)
{
    return walk(p, len, 2, one_span);
}

static long in_resource_spans(const uint8_t *p, size_t len)
{
    return walk(p, len, 2, in_scope_spans);
}

static long only_resource_spans(const uint8_t *p, size_t len)
{
    struct field f;
    const uint8_t *q = p, *end = p + len;
    while (q < end)
        if (!next_field(&q, end, &f) || f.number != 1)
            return -1;
    return walk(p, len, 1, in_resource_spans);
}

long submit_spans(const uint8_t *p, size_t len)
{
    return only_resource_spans(p, len);
}

bool submit_request(const uint8_t *p, size_t len)
{
    if (len == 0 || len > SUBMIT_MAX)
        return false;
    long spans = submit_spans(p, len);
    if (spans <= 0 || !process_makes_spans(false))
        return false;
    struct ring_place place;
    if (!ring_reserve(process_ring(), (uint32_t)len, &place)) {
        process_count(COUNT_DROPPED, (uint64_t)spans);
        return false;
    }
    memcpy(place.p, p, len);
    ring_commit(&place, (uint32_t)len, RING_SCOPE_RAW);
    process_count(COUNT_STARTED, (uint64_t)spans);
    process_count(COUNT_QUEUED, (uint64_t)spans);
    process_committed();
    return true;
}
