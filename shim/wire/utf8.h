/* SPDX-License-Identifier: Apache-2.0
 * utf8.h - what is valid UTF-8 (RFC 3629).
 */
#ifndef FORKSPAN_WIRE_UTF8_H
#define FORKSPAN_WIRE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How long the valid sequence at s is, 0 if there is none. s < end. */
static inline size_t utf8_sequence(const uint8_t *s, const uint8_t *end)
{
    uint8_t c = *s;
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || (size_t)(end - s) < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Most texts here are short: two words that overlap take the place of a loop over the last bytes. */
static inline __attribute__((always_inline)) bool utf8_ascii(const uint8_t *s, size_t len)
{
    uint64_t bits = 0, word;
    if (len >= 8) {
        const uint8_t *last = s + len - 8;
        memcpy(&bits, last, 8);
        for (; s < last; s += 8) {
            memcpy(&word, s, 8);
            bits |= word;
        }
    } else if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, s, 4), memcpy(&last, s + len - 4, 4);
        bits = first | last;
    } else if (len) {
        bits = (uint64_t)(s[0] | s[len / 2] | s[len - 1]);
    }
    return (bits & UINT64_C(0x8080808080808080)) == 0;
}

static inline bool utf8_valid_by_sequences(const uint8_t *s, size_t len)
{
    for (const uint8_t *end = s + len; s < end;) {
        size_t n = utf8_sequence(s, end);
        if (n == 0)
            return false;
        s += n;
    }
    return true;
}

static inline __attribute__((always_inline)) bool utf8_valid(const uint8_t *s, size_t len)
{
    return utf8_ascii(s, len) || utf8_valid_by_sequences(s, len);
}

/* The bytes of the first `limit` characters. Whatever is no continuation byte begins one: the encoder judges
 * the rest. */
static inline size_t utf8_limited(const char *s, size_t len, uint32_t limit)
{
    if (len <= limit)
        return len;
    size_t i = 0;
    for (uint32_t n = 0; i < len; i++)
        if (((uint8_t)s[i] & 0xc0) != 0x80 && n++ == limit)
            break;
    return i;
}

#endif
