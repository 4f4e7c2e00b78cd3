/* SPDX-License-Identifier: Apache-2.0
 * envelope.c - an ExportTraceServiceRequest around bytes that are spans already.
 */
#include "exporter_internal.h"
#include "otlp.pb-c.h"
#include "wire/proto.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 256 * 1024 }; /* copied between two rest points: far below 1 ms */

static uint8_t *put_head(uint8_t *p, uint8_t tag, size_t len)
{
    *p++ = tag;
    return proto_put_varint(p, len);
}

static size_t field_size(size_t len)
{
    return 1 + proto_varint_size(len) + len;
}

void exporter_copy(struct exporter *e, uint8_t *to, const uint8_t *from, size_t len)
{
    while (len) {
        size_t n = len < PIECE ? len : PIECE;
        memcpy(to, from, n);
        to += n, from += n, len -= n;
        if (len && e->host.rest_point)
            e->host.rest_point(e->host.ctx);
    }
}

static uint8_t *put_bytes(struct exporter *e, uint8_t *p, const uint8_t *from, size_t len)
{
    exporter_copy(e, p, from, len);
    return p + len;
}

static Otlp__InstrumentationScope scope_of(const struct exporter_scope_spans *s)
{
    Otlp__InstrumentationScope scope = OTLP__INSTRUMENTATION_SCOPE__INIT;
    scope.name = (char *)(s->scope_name ? s->scope_name : "");
    scope.version = (char *)(s->scope_version ? s->scope_version : "");
    return scope;
}

static size_t scope_spans_size(const struct exporter_scope_spans *s)
{
    Otlp__InstrumentationScope scope = scope_of(s);
    return field_size(otlp__instrumentation_scope__get_packed_size(&scope)) + s->spans_len;
}

size_t envelope_make(struct exporter *e, const struct exporter_batch *batch)
{
    const char *schema = e->config->schema_url ? e->config->schema_url : "";
    size_t inner = field_size(batch->resource_len) + (*schema ? field_size(strlen(schema)) : 0);
    for (size_t i = 0; i < batch->n_scopes; i++)
        inner += field_size(scope_spans_size(&batch->scopes[i]));
    bool own = batch->n_scopes > 0;
    size_t size = (own ? field_size(inner) : 0) + batch->raw_len;
    if (size > e->envelope_size) {
        uint8_t *p = realloc(e->envelope, size);
        if (!p)
            return 0;
        e->envelope = p;
        e->envelope_size = size;
    }
    uint8_t *p = e->envelope;
    if (own) {
        p = put_head(p, 0x0a, inner); /* resource_spans = 1 */
        p = put_head(p, 0x0a, batch->resource_len);
        p = put_bytes(e, p, batch->resource, batch->resource_len);
        for (size_t i = 0; i < batch->n_scopes; i++) {
            const struct exporter_scope_spans *s = &batch->scopes[i];
            Otlp__InstrumentationScope scope = scope_of(s);
            p = put_head(p, 0x12, scope_spans_size(s)); /* scope_spans = 2 */
            p = put_head(p, 0x0a, otlp__instrumentation_scope__get_packed_size(&scope));
            p += otlp__instrumentation_scope__pack(&scope, p);
            p = put_bytes(e, p, s->spans, s->spans_len);
        }
        if (*schema) {
            p = put_head(p, 0x1a, strlen(schema)); /* schema_url = 3 */
            p = put_bytes(e, p, (const uint8_t *)schema, strlen(schema));
        }
    }
    p = put_bytes(e, p, batch->raw, batch->raw_len);
    return (size_t)(p - e->envelope);
}
