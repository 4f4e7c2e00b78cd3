/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_LEAST = 4 /* characters: shorter ones are everywhere */ };

/* Blots out a secret wherever it stands in the line. */
static void hide(char *line, const char *secret)
{
    size_t len = strlen(secret);
    if (len < SECRET_LEAST)
        return;
    for (char *at; (at = strstr(line, secret));) {
        memset(at, '*', 3);
        memmove(at + 3, at + len, strlen(at + len) + 1);
    }
    /* the receiver's words end the line and may have been cut within it */
    size_t all = strlen(line);
    for (size_t n = len - 1 < all ? len - 1 : all; n >= SECRET_LEAST; n--)
        if (memcmp(line + all - n, secret, n) == 0) {
            memcpy(line + all - n, "***", 4);
            break;
        }
}

static void hide_userinfo(char *line, const char *url)
{
    char part[128];
    const char *from = url ? strstr(url, "://") : NULL;
    const char *end = from ? from + 3 + strcspn(from + 3, "/?#") : NULL;
    const char *at = from ? memchr(from + 3, '@', (size_t)(end - from - 3)) : NULL;
    if (!at)
        return;
    snprintf(part, sizeof part, "%.*s", (int)(at - from - 3), from + 3);
    hide(line, part);
    char *colon = strchr(part, ':');
    if (colon)
        hide(line, colon + 1);
}

void exporter_no_memory(struct exporter *e, uint32_t n_spans, struct export_outcome *out)
{
    exporter_log(e, 1, "no memory for an export of %u spans: it is tried again", n_spans);
    out->result = EXPORT_NO_MEMORY;
}

void exporter_log(struct exporter *e, int level, const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    /* A receiver may repeat what it was sent, and it is in the receiver's words that it would get out. */
    for (size_t i = 0; i < e->config->n_headers; i++) {
        const char *value = e->config->headers[i].value, *blank = strrchr(value, ' ');
        hide(line, value);
        if (blank) /* "Bearer x": x alone is as bad */
            hide(line, blank + 1);
    }
    hide_userinfo(line, e->config->url);
    hide_userinfo(line, e->config->proxy);
    if (e->host.log)
        e->host.log(e->host.ctx, level, line);
}

static void op_close(struct exporter *e)
{
    if (e->http)
        http_close(e->http);
    if (e->grpc)
        grpc_close(e->grpc);
    if (e->stream)
        stream_close(e->stream);
    free(e->envelope);
    free(e);
}

static struct exporter *op_open(const struct exporter_config *config, const struct exporter_host *host)
{
    struct exporter *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->config = config;
    e->host = *host;
    bool ok;
    if (config->kind == EXPORTER_OTLP && config->protocol == EXPORTER_GRPC) {
        ok = (e->grpc = grpc_open(e)) != NULL;
    } else if (config->kind == EXPORTER_OTLP) {
        ok = (e->http = http_open(e)) != NULL;
    } else {
        ok = (e->stream = stream_open(e)) != NULL;
    }
    if (!ok) {
        op_close(e);
        return NULL;
    }
    return e;
}

static void op_after_fork_child(struct exporter *e)
{
    if (e->http)
        http_after_fork_child(e->http);
    if (e->grpc)
        grpc_after_fork_child(e->grpc);
    /* it may have been growing while somebody forked: left behind */
    e->envelope = NULL;
    e->envelope_size = 0;
}

static void op_set_host(struct exporter *e, const struct exporter_host *host)
{
    e->host = *host;
}

static void op_send(struct exporter *e, const struct exporter_batch *batch, uint64_t deadline_ns,
                    struct export_outcome *out)
{
    *out = (struct export_outcome){.result = EXPORT_FAILED};
    e->kept = batch->kept;
    size_t len = envelope_make(e, batch);
    if (len == 0) {
        exporter_no_memory(e, batch->n_spans, out);
        return;
    }
    if (len > REQUEST_MAX) {
        exporter_log(e, 0, "an export of %u spans is larger than 64 MiB: dropped", batch->n_spans);
        return;
    }
    if (e->grpc) {
        grpc_send(e, e->envelope, len, batch->n_spans, deadline_ns, out);
        return;
    }
    if (e->http && e->config->protocol == EXPORTER_HTTP_JSON) {
        size_t json_len;
        char *json = json_traces(e, e->envelope, len, &json_len);
        if (json)
            http_send(e, (const uint8_t *)json, json_len, batch->n_spans, deadline_ns, out);
        else
            exporter_log(e, 0, "an export of %u spans can not be put into JSON: dropped", batch->n_spans);
        free(json);
        return;
    }
    if (e->http) {
        http_send(e, e->envelope, len, batch->n_spans, deadline_ns, out);
        return;
    }
    out->attempts = 1;
    out->any_byte_sent = true;
    out->result = EXPORT_OK;
    out->rejected = e->config->kind == EXPORTER_CONSOLE ? console_show(e, e->envelope, len)
                                                        : json_lines(e, e->envelope, len, batch->n_spans);
}

__attribute__((visibility("default"))) extern const struct exporter_ops forkspan_exporter_ops;
const struct exporter_ops forkspan_exporter_ops = {
    .abi = EXPORTER_ABI,
    .version = FORKSPAN_VERSION,
    .open = op_open,
    .after_fork_child = op_after_fork_child,
    .set_host = op_set_host,
    .send = op_send,
    .close = op_close,
};
