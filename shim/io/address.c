/* SPDX-License-Identifier: Apache-2.0 */
#include "io/address.h"
#include "decimal.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

static size_t format_v4(const uint8_t *b, char *out)
{
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        if (i)
            out[n++] = '.';
        n += decimal(out + n, b[i]);
    }
    return n;
}

static size_t format_group(char *out, unsigned v)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (int shift = 12; shift >= 0; shift -= 4)
        if (v >> shift || shift == 0)
            out[n++] = digits[v >> shift & 15];
    return n;
}

size_t address_format(int family, const uint8_t *b, char out[ADDRESS_TEXT])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (family == AF_INET)
        return format_v4(b, out);
    if (family != AF_INET6)
        return 0;
    if (memcmp(b, mapped, sizeof mapped) == 0)
        return format_v4(b + 12, out);
    unsigned group[8];
    for (int i = 0; i < 8; i++)
        group[i] = (unsigned)b[2 * i] << 8 | b[2 * i + 1];
    /* the longest run of at least two zero groups, the first of equals */
    int at = -1, best = 1;
    for (int i = 0; i < 8;) {
        int run = 0;
        while (i + run < 8 && group[i + run] == 0)
            run++;
        if (run > best) {
            best = run;
            at = i;
        }
        i += run ? run : 1;
    }
    size_t n = 0;
    for (int i = 0; i < 8;) {
        if (i == at) {
            out[n++] = ':';
            out[n++] = ':';
            i += best;
            continue;
        }
        if (i && out[n - 1] != ':')
            out[n++] = ':';
        n += format_group(out + n, group[i++]);
    }
    return n;
}

static struct text trim(struct text t)
{
    while (t.len && (*t.p == ' ' || *t.p == '\t')) {
        t.p++;
        t.len--;
    }
    while (t.len && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
        t.len--;
    return t;
}

static int32_t port_of(struct text t)
{
    int32_t v = 0;
    if (t.len == 0 || t.len > 5)
        return -1;
    for (size_t i = 0; i < t.len; i++) {
        if (t.p[i] < '0' || t.p[i] > '9')
            return -1;
        v = v * 10 + (t.p[i] - '0');
    }
    return v > 65535 ? -1 : v;
}

bool address_split(struct text in, struct text *host, int32_t *port)
{
    in = trim(in);
    *host = in;
    *port = -1;
    if (in.len && in.p[0] == '[') {
        const char *close = memchr(in.p, ']', in.len);
        if (!close)
            return false;
        *host = (struct text){in.p + 1, (size_t)(close - in.p) - 1};
        size_t rest = in.len - (size_t)(close - in.p) - 1;
        if (rest > 1 && close[1] == ':')
            *port = port_of((struct text){close + 2, rest - 1});
        return host->len != 0;
    }
    const char *colon = memchr(in.p, ':', in.len);
    /* two colons without brackets: an IPv6 address as it is */
    if (colon && !memchr(colon + 1, ':', in.len - (size_t)(colon + 1 - in.p))) {
        host->len = (size_t)(colon - in.p);
        *port = port_of((struct text){colon + 1, in.len - host->len - 1});
    }
    return host->len != 0;
}

bool forwarded_find(struct text h, const char *name, struct text *value)
{
    size_t name_len = strlen(name);
    size_t i = 0;
    while (i < h.len) {
        while (i < h.len && (h.p[i] == ' ' || h.p[i] == '\t' || h.p[i] == ';' || h.p[i] == ','))
            i++;
        size_t key = i;
        while (i < h.len && h.p[i] != '=' && h.p[i] != ';' && h.p[i] != ',')
            i++;
        if (i == h.len || h.p[i] != '=')
            continue;
        bool ours = i - key == name_len && strncasecmp(h.p + key, name, name_len) == 0;
        i++;
        size_t begin = i, end;
        if (i < h.len && h.p[i] == '"') {
            begin = ++i;
            while (i < h.len && h.p[i] != '"') {
                if (h.p[i] == '\\') {
                    ours = false; /* no address and no host name needs an escape */
                    i++;
                }
                i++;
            }
            if (i >= h.len)
                return false; /* cut off within quotes */
            end = i++;
        } else {
            while (i < h.len && h.p[i] != ';' && h.p[i] != ',')
                i++;
            end = i;
        }
        if (ours) {
            *value = trim((struct text){h.p + begin, end - begin});
            return value->len != 0;
        }
    }
    return false;
}

struct text list_first(struct text list)
{
    const char *comma = list.len ? memchr(list.p, ',', list.len) : NULL;
    if (comma)
        list.len = (size_t)(comma - list.p);
    return trim(list);
}

bool address_of_node(struct text node, struct text *address)
{
    int32_t port;
    if (!address_split(node, address, &port))
        return false;
    if (address->p[0] == '_' || (address->len == 7 && strncasecmp(address->p, "unknown", 7) == 0))
        return false;
    return true;
}
