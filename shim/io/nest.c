/* SPDX-License-Identifier: Apache-2.0 */
#include "io/nest.h"

#include <string.h>

#define TRACEPARENT 55u
#define SPAN_ID_AT 36u
#define FLAGS_AT 53u

/* A name with nothing in it that a server could strip, or take for an end. */
static bool name_is_plain(const uint8_t *line, const uint8_t *end)
{
    const uint8_t *p = line;
    while (p<end && * p> ' ' && *p < 0x7f && *p != ':')
        p++;
    return p > line && p < end && *p == ':';
}

static bool head_is_plain(const uint8_t *head, size_t n)
{
    if (memchr(head, 0, n))
        return false;
    for (bool first = true;; first = false) {
        const uint8_t *cr = memchr(head, '\r', n);
        if (!cr || (size_t)(cr - head) + 1 >= n || cr[1] != '\n' ||
            memchr(head, '\n', (size_t)(cr - head)) != NULL)
            return false;
        if (cr == head)
            return !first && n == 2; /* the empty line, and nothing behind it */
        if (!first && !name_is_plain(head, cr))
            return false;
        n -= (size_t)(cr - head) + 2;
        head = cr + 2;
    }
}

static void hex(uint8_t *to, const uint8_t *from, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *to++ = (uint8_t)digits[from[i] >> 4];
        *to++ = (uint8_t)digits[from[i] & 15];
    }
}

bool nest_replace(const uint8_t *head, size_t n, uint8_t *value, const struct span_context *own)
{
    if (value < head || value > head + n || (size_t)(head + n - value) < TRACEPARENT + 4)
        return false;
    return head_is_plain(head, n) && nest_write(value, own);
}

bool nest_write(uint8_t *value, const struct span_context *own)
{
    if (value[0] != '0' || value[1] != '0')
        return false; /* of a later version only the reading is defined, not the writing */
    hex(value + SPAN_ID_AT, own->span_id, sizeof own->span_id);
    hex(value + FLAGS_AT, &own->flags, 1);
    return true;
}
