/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void exporter_log(struct exporter *e, int level, const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (e->host.log)
        e->host.log(e->host.ctx, level, line);
}

static void op_close(struct exporter *e)
{
    if (e->http)
        http_close(e->http);
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
        exporter_log(
            e, 0,
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported yet: no span is exported; use http/protobuf");
        ok = false;
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
}

static void op_set_host(struct exporter *e, const struct exporter_host *host)
{
    e->host = *host;
}

static void op_send(struct exporter *e, const struct exporter_batch *batch, uint64_t deadline_ns,
                    struct export_outcome *out)
{
    *out = (struct export_outcome){.result = EXPORT_FAILED};
    size_t len = envelope_make(e, batch);
    if (len == 0) {
        exporter_log(e, 0, "no memory for an export of %u spans", batch->n_spans);
        return;
    }
    if (e->http) {
        if (e->config->protocol == EXPORTER_HTTP_JSON) {
            size_t json_len;
            char *json = json_traces(e->envelope, len, &json_len);
            if (json)
                http_send(e, (const uint8_t *)json, json_len, batch->n_spans, deadline_ns, out);
            free(json);
        } else {
            http_send(e, e->envelope, len, batch->n_spans, deadline_ns, out);
        }
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
