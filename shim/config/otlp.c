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

/* A socket in the file system, in gRPC's spelling: unix:path, unix:///absolute/path, unix-abstract:name. */
static const char *unix_path(struct parse *p, const char *text)
{
    if (strncmp(text, "unix-abstract:", 14) == 0 && text[14])
        return joined(p, "@", text + 14);
    if (strncmp(text, "unix:///", 8) == 0 && text[8])
        return text + 7;
    if (strncmp(text, "unix:", 5) == 0 && text[5] && strncmp(text + 5, "//", 2) != 0)
        return text + 5;
    return NULL;
}

static const char *grpc_url(struct parse *p, struct exporter_config *e)
{
    static const char otherwise[] = "http://localhost:4317";
    char name[NAME_MAX_LEN], insecure[NAME_MAX_LEN];
    const char *text = parse_text(p, variable(p, "ENDPOINT", name));
    if (!text)
        return otherwise;
    if ((e->unix_path = unix_path(p, text)))
        return "http://localhost";
    bool bare = !strstr(text, "://");
    if (bare)
        text =
            joined(p, parse_bool(p, variable(p, "INSECURE", insecure), false) ? "http://" : "https://", text);
    if (!text || !url_good(text)) {
        parse_warn(p, "%s is not a URL with http or https: the default is used", name);
        return otherwise;
    }
    const char *host = strstr(text, "://") + 3, *end = host + strcspn(host, "/?#");
    if (*end && strcmp(end, "/") != 0)
        parse_warn(p, "%s: the path is left out, gRPC has its own", name);
    return parse_copy(p, text, (size_t)(end - text));
}

static const char *http_url(struct parse *p, struct exporter_config *e)
{
    static const char otherwise[] = "http://localhost:4318/v1/traces";
    static const char special[] = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                      base[] = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const char *text = parse_text(p, special), *name = text ? special : base;
    if (!text && !(text = parse_text(p, base)))
        return otherwise;
    if ((e->unix_path = unix_path(p, text)))
        return "http://localhost/v1/traces";
    if (!url_good(text)) {
        parse_warn(p, "%s is not a URL with http or https: the default is used", name);
        return otherwise;
    }
    const char *host = strstr(text, "://") + 3;
    if (name == special) /* used as it is */
        return host[strcspn(host, "/?#")] == '/' ? text : joined(p, text, "/");
    /* a base has a path only: a query would end up in the middle */
    const char *plain = parse_copy(p, text, strcspn(text, "?#"));
    return plain ? joined(p, plain, plain[strlen(plain) - 1] == '/' ? "v1/traces" : "/v1/traces") : otherwise;
}

/* Credentials may be in it: it is never shown. */
static const char *proxy(struct parse *p)
{
    const char *text = parse_text(p, "FORKSPAN_PROXY");
    if (!text || (url_good(text) && strncasecmp(text, "http:", 5) == 0))
        return text;
    parse_warn(p, "FORKSPAN_PROXY is not a URL with http: no proxy is used");
    return NULL;
}

/* Headers that say how a request is built: another value would spoil every export. */
static bool reserved(const char *key)
{
    static const char *const names[] = {
        "content-type", "content-encoding", "content-length", "transfer-encoding", "connection", "expect",
        "te",           "accept-encoding"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(key, names[i]) == 0)
            return true;
    return strncasecmp(key, "grpc-", 5) == 0;
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
            if (good && reserved(key)) {
                parse_warn(p, "%s: %.60s is not for the user to set and left out", name, key);
            } else if (good) {
                size_t at = 0;
                while (at < found && strcasecmp(list[at].name, key) != 0)
                    at++;
                list[at] = (struct exporter_header){key, value}; /* the last of equal names wins */
                found += at == found;
            } else /* never the value: it may be a credential */
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
    e->url = e->protocol == EXPORTER_GRPC ? grpc_url(p, e) : http_url(p, e);
    e->proxy = proxy(p);
    headers(p, e);
    e->gzip = parse_choice(p, variable(p, "COMPRESSION", name), compressions, 0) == 1;
    e->timeout_ms = parse_integer(p, variable(p, "TIMEOUT", name), 0, 10000);
    e->certificate = parse_text(p, variable(p, "CERTIFICATE", name));
    e->client_key = parse_text(p, variable(p, "CLIENT_KEY", name));
    e->client_certificate = parse_text(p, variable(p, "CLIENT_CERTIFICATE", name));
    if (!e->client_key != !e->client_certificate)
        parse_warn(p, "OTEL_EXPORTER_OTLP_CLIENT_KEY and _CLIENT_CERTIFICATE go together: only one is set");
}
