/* SPDX-License-Identifier: Apache-2.0
 * tracestate.c - W3C Trace Context, tracestate header: may it be carried on?
 */
#include "span/context.h"

static bool key_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/' ||
           c == '@';
}

static bool member_valid(const uint8_t *s, size_t len)
{
    size_t key = 0;
    while (key < len && key_char(s[key]))
        key++;
    if (key == 0 || key > 256 || key == len || s[key] != '=' ||
        !((s[0] >= 'a' && s[0] <= 'z') || (s[0] >= '0' && s[0] <= '9')))
        return false;
    size_t value = len - key - 1;
    if (value == 0 || value > 256 || s[len - 1] == ' ')
        return false;
    for (size_t i = key + 1; i < len; i++)
        if (s[i] < 0x20 || s[i] > 0x7e || s[i] == ',' || s[i] == '=')
            return false;
    return true;
}

bool tracestate_valid(const uint8_t *s, size_t len)
{
    unsigned members = 0;
    for (size_t at = 0; at <= len;) {
        size_t end = at;
        while (end < len && s[end] != ',')
            end++;
        size_t a = at, b = end;
        while (a < b && (s[a] == ' ' || s[a] == '\t'))
            a++;
        while (b > a && (s[b - 1] == ' ' || s[b - 1] == '\t'))
            b--;
        if (b > a && (!member_valid(s + a, b - a) || ++members > 32))
            return false;
        at = end + 1;
    }
    return members > 0;
}
