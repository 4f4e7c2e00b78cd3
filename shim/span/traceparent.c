/* SPDX-License-Identifier: Apache-2.0
 * traceparent.c - W3C Trace Context, traceparent header.
 */
#include "span/context.h"

#include <string.h>

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* upper case is not in the grammar */
}

static bool hex_bytes(const uint8_t *s, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex(s[2 * i]), low = hex(s[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n--)
        if (p[n])
            return false;
    return true;
}

bool traceparent_parse(const uint8_t *s, size_t len, struct span_context *out)
{
    memset(out, 0, sizeof *out);
    for (; len && (*s == ' ' || *s == '\t'); s++)
        len--;
    while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        len--;
    struct span_context c = {.valid = true, .remote = true};
    uint8_t version, flags;
    if (len < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || !hex_bytes(s, &version, 1) ||
        !hex_bytes(s + 3, c.trace_id, 16) || !hex_bytes(s + 36, c.span_id, 8) ||
        !hex_bytes(s + 53, &flags, 1))
        return false;
    if (version == 0xff || (version == 0 && len != 55) || (len > 55 && s[55] != '-'))
        return false;
    if (all_zero(c.trace_id, 16) || all_zero(c.span_id, 8))
        return false;
    c.flags = flags & (TRACE_SAMPLED | TRACE_RANDOM);
    *out = c;
    return true;
}

void traceparent_format(const struct span_context *ctx, char out[55])
{
    static const char digits[] = "0123456789abcdef";
    char *p = out;
    *p++ = '0', *p++ = '0', *p++ = '-';
    for (int i = 0; i < 16; i++)
        *p++ = digits[ctx->trace_id[i] >> 4], *p++ = digits[ctx->trace_id[i] & 15];
    *p++ = '-';
    for (int i = 0; i < 8; i++)
        *p++ = digits[ctx->span_id[i] >> 4], *p++ = digits[ctx->span_id[i] & 15];
    *p++ = '-', *p++ = '0', *p++ = digits[ctx->flags & 3];
}
