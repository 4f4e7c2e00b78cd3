/* SPDX-License-Identifier: Apache-2.0 */
#include "config/otlp.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { NAME_MAX_LEN = 64 };

/* The name of OTEL_EXPORTER_OTLP_TRACES_x if that is set, else of OTEL_EXPORTER_OTLP_x: the special one wins
 * whole. */
static const char *variable(struct parse *p, const char *x, char name[NAME_MAX_LEN])
{
    snprintf(name, NAME_MAX_LEN, "OTEL_EXPORTER_OTLP_TRACES_%s", x);
    if (!parse_text(p, name))
        snprintf(name, NAME_MAX_LEN, "OTEL_EXPORTER_OTLP_%s", x);
    return name;
}

static bool url_good(const char *s)
{
    size_t scheme = strncasecmp(s, "http://", 7) == 0 ? 7 : strncasecmp(s, "https://", 8) == 0 ? 8 : 0;
    if (!scheme || !s[scheme] || strchr("/?#:", s[scheme]))
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == 0x7f)
            return false;
    return true;
}

static const char *joined(struct parse *p, const char *a, const char *b)
{
    size_t size = strlen(a) + strlen(b) + 1;
    char *out = parse_alloc(p, size);
    if (out)
        snprintf(out, size, "%s%s", a, b);
    return out;
}

static const char *grpc_url(struct parse *p)
{
    char name[NAME_MAX_LEN], insecure[NAME_MAX_LEN];
    const char *text = parse_text(p, variable(p, "ENDPOINT", name));
    if (!text)
        return "http://localhost:4317";
    if (url_good(text)) {
        const char *host = strstr(text, "://") + 3, *path = strchr(host, '/');
        if (path && path[1])
            parse_warn(p, "%s: the path is left out, gRPC has its own", name);
        return path ? parse_copy(p, text, (size_t)(path - text)) : text;
    }
    if (!strstr(text, "://") && !strchr(text, ' '))
        return joined(p, parse_bool(p, variable(p, "INSECURE", insecure), false) ? "http://" : "https://",
                      text);
    parse_warn(p, "%s is not a URL with http or https: the default is used", name);
    return "http://localhost:4317";
}

static const char *http_url(struct parse *p)
{
    static const char otherwise[] = "http://localhost:4318/v1/traces";
    const char *text = parse_text(p, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    if (text) {
        if (url_good(text)) {
            const char *host = strstr(text, "://") + 3;
            return strchr(host, '/') ? text : joined(p, text, "/"); /* used as it is */
        }
        parse_warn(p,
                   "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not a URL with http or https: the default is used");
        return otherwise;
    }
    text = parse_text(p, "OTEL_EXPORTER_OTLP_ENDPOINT");
    if (!text)
        return otherwise;
    if (!url_good(text)) {
        parse_warn(p, "OTEL_EXPORTER_OTLP_ENDPOINT is not a URL with http or https: the default is used");
        return otherwise;
    }
    return joined(p, text, text[strlen(text) - 1] == '/' ? "v1/traces" : "/v1/traces");
}

static bool token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s[i]))
            return false;
    return len > 0;
}

static void headers(struct parse *p, struct exporter_config *e)
{
    char name[NAME_MAX_LEN];
    const char *text = parse_text(p, variable(p, "HEADERS", name));
    if (!text)
        return;
    size_t n = 1, found = 0;
    for (const char *c = text; *c; c++)
        n += *c == ',';
    struct exporter_header *list = parse_alloc(p, n * sizeof *list);
    for (unsigned number = 1; list; number++) {
        size_t whole = strcspn(text, ","), len = whole;
        const char *s = text;
        for (; len && (*s == ' ' || *s == '\t'); s++)
            len--;
        while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
            len--;
        if (len) {
            const char *equals = memchr(s, '=', len);
            size_t key_len = equals ? (size_t)(equals - s) : 0;
            while (key_len && (s[key_len - 1] == ' ' || s[key_len - 1] == '\t'))
                key_len--;
            size_t value_len = equals ? len - (size_t)(equals - s) - 1 : 0;
            const char *v = equals ? equals + 1 : s;
            for (; value_len && (*v == ' ' || *v == '\t'); v++)
                value_len--;
            char *value = parse_copy(p, v, value_len), *key = parse_copy(p, s, key_len);
            if (!value || !key)
                return;
            bool good = token(key, key_len) && percent_decode(value, &value_len);
            value[good ? value_len : 0] = '\0';
            for (size_t i = 0; good && i < value_len; i++)
                good = value[i] != '\r' && value[i] != '\n' && value[i] != '\0';
            if (good)
                list[found++] = (struct exporter_header){key, value};
            else /* never the value: it may be a credential */
                parse_warn(p, "%s: item %u is malformed and left out", name, number);
        }
        if (!text[whole])
            break;
        text += whole + 1;
    }
    e->headers = list;
    e->n_headers = found;
}

void config_otlp(struct parse *p, struct exporter_config *e)
{
    static const char *const protocols[] = {"http/protobuf", "http/json", "grpc", NULL};
    static const char *const compressions[] = {"none", "gzip", NULL};
    char name[NAME_MAX_LEN];
    e->protocol = (enum exporter_protocol)parse_choice(p, variable(p, "PROTOCOL", name), protocols,
                                                       EXPORTER_HTTP_PROTOBUF);
    e->url = e->protocol == EXPORTER_GRPC ? grpc_url(p) : http_url(p);
    headers(p, e);
    e->gzip = parse_choice(p, variable(p, "COMPRESSION", name), compressions, 0) == 1;
    e->timeout_ms = parse_integer(p, variable(p, "TIMEOUT", name), 0, 10000);
    e->certificate = parse_text(p, variable(p, "CERTIFICATE", name));
    e->client_key = parse_text(p, variable(p, "CLIENT_KEY", name));
    e->client_certificate = parse_text(p, variable(p, "CLIENT_CERTIFICATE", name));
    if (!e->client_key != !e->client_certificate)
        parse_warn(p, "OTEL_EXPORTER_OTLP_CLIENT_KEY and _CLIENT_CERTIFICATE go together: only one is set");
}
