/* SPDX-License-Identifier: Apache-2.0
 * answer_json.c - a receiver's answer in JSON: as much of a reader as the few members of it need.
 */
#include "exporter_internal.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32 };

struct json {
    const char *p, *end;
};

static void blanks(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r'))
        j->p++;
}

static bool eat(struct json *j, char c)
{
    blanks(j);
    if (j->p == j->end || *j->p != c)
        return false;
    j->p++;
    return true;
}

static bool code_unit(struct json *j, uint32_t *out)
{
    if (j->end - j->p < 4)
        return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = *j->p++;
        int d = c >= '0' && c <= '9'                     ? c - '0'
                : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                         : -1;
        if (d < 0)
            return false;
        *out = *out << 4 | (uint32_t)d;
    }
    return true;
}

/* A string; what does not fit is cut. `out` may be NULL. */
static bool string(struct json *j, char *out, size_t room)
{
    size_t n = 0;
    if (!eat(j, '"'))
        return false;
    while (j->p < j->end && *j->p != '"') {
        char c = *j->p++;
        if (c == '\\') {
            if (j->p == j->end)
                return false;
            c = *j->p++;
            uint32_t u;
            if (c == 'u') {
                if (!code_unit(j, &u))
                    return false;
                c = u < 0x80 ? (char)u : '?'; /* for one line of a log */
            } else if (strchr("nrtbf", c)) {
                c = ' ';
            }
        }
        if (out && n + 1 < room)
            out[n++] = c;
    }
    if (out)
        out[n] = '\0';
    return eat(j, '"');
}

/* Passes one value. */
static bool skip(struct json *j, int depth)
{
    blanks(j);
    if (j->p == j->end || depth > DEPTH_MAX)
        return false;
    char c = *j->p;
    if (c == '"')
        return string(j, NULL, 0);
    if (c == '{' || c == '[') {
        char close = c == '{' ? '}' : ']';
        j->p++;
        if (eat(j, close))
            return true;
        do {
            if ((c == '{' && (!string(j, NULL, 0) || !eat(j, ':'))) || !skip(j, depth + 1))
                return false;
        } while (eat(j, ','));
        return eat(j, close);
    }
    const char *from = j->p;
    while (j->p < j->end && !strchr(",]} \t\r\n", *j->p))
        j->p++;
    return j->p > from;
}

/* Goes to the value of a member of the object that begins here; false: it has none, or is no object. */
static bool member(struct json object, const char *key, struct json *value)
{
    char name[40];
    if (!eat(&object, '{') || eat(&object, '}'))
        return false;
    do {
        if (!string(&object, name, sizeof name) || !eat(&object, ':'))
            return false;
        if (strcmp(name, key) == 0) {
            *value = object;
            return true;
        }
        if (!skip(&object, 0))
            return false;
    } while (eat(&object, ','));
    return false;
}

/* A number, also one in a string, as int64 is written. */
static int64_t number(struct json j)
{
    char text[24];
    blanks(&j);
    if (j.p < j.end && *j.p == '"') {
        if (!string(&j, text, sizeof text))
            return 0;
    } else {
        size_t n = 0;
        while (j.p < j.end && n + 1 < sizeof text && !strchr(",]} \t\r\n", *j.p))
            text[n++] = *j.p++;
        text[n] = '\0';
    }
    return strtoll(text, NULL, 10);
}

static void message_of(struct json object, const char *key, char out[160])
{
    struct json value;
    char text[160] = "";
    if (member(object, key, &value))
        string(&value, text, sizeof text);
    answer_printable(out, text);
}

bool answer_read_json(const uint8_t *body, size_t len, struct answer *out)
{
    struct json all = {(const char *)body, (const char *)body + len}, partial, value, whole = all;
    memset(out, 0, sizeof *out);
    blanks(&whole);
    if (whole.p == whole.end || *whole.p != '{' || !skip(&whole, 0))
        return false;
    if (member(all, "partialSuccess", &partial)) {
        int64_t n = member(partial, "rejectedSpans", &value) ? number(value) : 0;
        out->rejected = n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
        message_of(partial, "errorMessage", out->message);
    }
    return true;
}

void answer_error_json(const uint8_t *body, size_t len, char out[160])
{
    message_of((struct json){(const char *)body, (const char *)body + len}, "message", out);
}
