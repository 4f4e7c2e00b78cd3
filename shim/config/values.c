/* SPDX-License-Identifier: Apache-2.0 */
#include "config/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void *parse_alloc(struct parse *p, size_t size)
{
    size = (size + 15) / 16 * 16;
    if ((size_t)(p->memory_end - p->memory) < size)
        return NULL;
    void *out = p->memory;
    p->memory += size;
    return out;
}

char *parse_copy(struct parse *p, const char *s, size_t len)
{
    char *out = parse_alloc(p, len + 1);
    if (out) {
        memcpy(out, s, len);
        out[len] = '\0';
    }
    return out;
}

void parse_warn(struct parse *p, const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    p->warn(line);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

const char *parse_text(struct parse *p, const char *name)
{
    size_t n = strlen(name);
    for (char **e = p->env; *e; e++) {
        if (strncmp(*e, name, n) != 0 || (*e)[n] != '=')
            continue;
        const char *s = *e + n + 1;
        while (blank(*s))
            s++;
        size_t len = strlen(s);
        while (len && blank(s[len - 1]))
            len--;
        return len ? parse_copy(p, s, len) : NULL;
    }
    return NULL;
}

bool parse_bool(struct parse *p, const char *name, bool otherwise)
{
    const char *s = parse_text(p, name);
    if (!s)
        return otherwise;
    if (strcasecmp(s, "true") == 0)
        return true;
    if (strcasecmp(s, "false") != 0)
        parse_warn(p, "%s=%.60s is neither true nor false: taken as false", name, s);
    return false;
}

uint32_t parse_integer(struct parse *p, const char *name, uint32_t least, uint32_t otherwise)
{
    const char *s = parse_text(p, name);
    if (!s)
        return otherwise;
    uint64_t value = 0;
    for (const char *c = s; *c; c++) {
        if (*c < '0' || *c > '9' || value > INT32_MAX) {
            value = UINT64_MAX;
            break;
        }
        value = value * 10 + (uint64_t)(*c - '0');
    }
    if (value > INT32_MAX || value < least) {
        parse_warn(p, "%s=%.60s is not a whole number from %u to 2147483647: the default is used", name, s,
                   least);
        return otherwise;
    }
    return (uint32_t)value;
}

bool parse_ratio(const char *s, double *out)
{
    double value = 0, unit = 1;
    unsigned digits = 0;
    for (; *s >= '0' && *s <= '9'; s++, digits++)
        value = value * 10 + (*s - '0');
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++, digits++) {
            unit /= 10;
            value += unit * (*s - '0');
        }
    if (digits && (*s == 'e' || *s == 'E')) {
        bool minus = s[1] == '-';
        s += 1 + (s[1] == '-' || s[1] == '+');
        if (*s < '0' || *s > '9')
            return false;
        unsigned exponent = 0;
        for (; *s >= '0' && *s <= '9'; s++)
            exponent = exponent < 400 ? exponent * 10 + (unsigned)(*s - '0') : exponent;
        while (exponent--)
            value = minus ? value / 10 : value * 10;
    }
    if (*s || !digits || !(value >= 0 && value <= 1.0))
        return false;
    *out = value;
    return true;
}

int parse_choice(struct parse *p, const char *name, const char *const *choices, int otherwise)
{
    const char *s = parse_text(p, name);
    if (!s)
        return otherwise;
    for (int i = 0; choices[i]; i++)
        if (strcasecmp(s, choices[i]) == 0)
            return i;
    parse_warn(p, "%s=%.60s is not known here: the default is used", name, s);
    return otherwise;
}

const char **parse_list(struct parse *p, const char *name)
{
    const char *s = parse_text(p, name);
    if (!s)
        return NULL;
    size_t n = 1;
    for (const char *c = s; *c; c++)
        n += *c == ',';
    const char **list = parse_alloc(p, (n + 1) * sizeof *list);
    if (!list)
        return NULL;
    size_t found = 0;
    for (;;) {
        while (blank(*s))
            s++;
        size_t whole = strcspn(s, ","), len = whole;
        while (len && blank(s[len - 1]))
            len--;
        if (len)
            list[found++] = parse_copy(p, s, len);
        if (!s[whole])
            break;
        s += whole + 1;
    }
    list[found] = NULL;
    return list;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(char *s, size_t *len)
{
    char *out = s;
    for (size_t i = 0; i < *len; i++) {
        if (s[i] != '%') {
            *out++ = s[i];
            continue;
        }
        int high = i + 2 < *len ? hex(s[i + 1]) : -1;
        int low = high >= 0 ? hex(s[i + 2]) : -1;
        if (low < 0)
            return false;
        *out++ = (char)(high << 4 | low);
        i += 2;
    }
    *len = (size_t)(out - s);
    return true;
}
