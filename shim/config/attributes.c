/* SPDX-License-Identifier: Apache-2.0
 * attributes.c - OTEL_RESOURCE_ATTRIBUTES (resource/sdk.md, specifying resource information via an
 * environment variable).
 */
#include "config/attributes.h"

#include <string.h>

static bool utf8(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)s[i];
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || i + n > len)
            return false;
        for (size_t k = 1; k < n; k++)
            if (((unsigned char)s[i + k] & 0xc0) != 0x80)
                return false;
        i += n;
    }
    return true;
}

static char *trim(char *s, size_t *len)
{
    for (; *len && (*s == ' ' || *s == '\t'); s++)
        --*len;
    while (*len && (s[*len - 1] == ' ' || s[*len - 1] == '\t'))
        --*len;
    return s;
}

/* One item, in place; false if it is malformed. A second '=' belongs to the value. */
static bool item(char *s, size_t len, struct config_attribute *out)
{
    char *equals = memchr(s, '=', len);
    if (!equals)
        return false;
    size_t key_len = (size_t)(equals - s), value_len = len - key_len - 1;
    char *key = trim(s, &key_len), *value = trim(equals + 1, &value_len);
    if (!percent_decode(key, &key_len) || !percent_decode(value, &value_len) || key_len == 0 ||
        !utf8(key, key_len) || !utf8(value, value_len) || memchr(key, 0, key_len) ||
        memchr(value, 0, value_len))
        return false;
    key[key_len] = '\0';
    value[value_len] = '\0';
    *out = (struct config_attribute){key, value};
    return true;
}

void config_attributes(struct parse *p, struct config *config)
{
    const char *text = parse_text(p, "OTEL_RESOURCE_ATTRIBUTES");
    if (!text)
        return;
    size_t n = 1, found = 0;
    for (const char *c = text; *c; c++)
        n += *c == ',';
    struct config_attribute *list = parse_alloc(p, n * sizeof *list);
    char *work = parse_copy(p, text, strlen(text) + 1);
    if (!list || !work)
        return;
    for (char *s = work, *next; s; s = next) {
        size_t whole = strcspn(s, ",");
        next = s[whole] ? s + whole + 1 : NULL;
        size_t len = whole;
        char *begin = trim(s, &len);
        if (len == 0)
            continue;
        struct config_attribute one;
        char *shown = parse_copy(p, begin, len);
        if (!item(begin, len, &one)) {
            parse_warn(p, "OTEL_RESOURCE_ATTRIBUTES is left out whole: '%.80s' is malformed",
                       shown ? shown : "");
            return;
        }
        size_t at = 0;
        while (at < found && strcmp(list[at].key, one.key) != 0)
            at++;
        list[at] = one; /* the last of equal keys wins */
        found += at == found;
    }
    config->resource = list;
    config->n_resource = found;
}
