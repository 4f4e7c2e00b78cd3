/* SPDX-License-Identifier: Apache-2.0
 * grpc.c - OTLP over gRPC: one unary call a POST of HTTP/2 (grpc, PROTOCOL-HTTP2.md).
 */
#include "compress.h"
#include "deliver.h"
#include "grpc_status.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FRAME_HEAD = 5 /* a flag and the message's length */ };

struct grpc {
    struct transport transport;
    char *url;
    struct curl_slist *metadata; /* what is the same in every call */
    struct curl_slist *headers;  /* of this call */
    struct compress compress;
    uint8_t *frame;
    size_t frame_room;
    struct grpc_status status; /* of this call, from its trailers or its head */
};

static void on_header(void *ctx, const char *line, size_t len)
{
    grpc_status_line(&((struct grpc *)ctx)->status, line, len);
}

/* -- metadata -- */

/* A name in lower case; the value of a "-bin" one in base64. */
static bool append_metadata(struct curl_slist **list, const struct exporter_header *h)
{
    size_t name_len = strlen(h->name), value_len = strlen(h->value);
    char *line = malloc(name_len + 3 + value_len / 3 * 4 + 8 + value_len);
    if (!line)
        return false;
    for (size_t i = 0; i < name_len; i++)
        line[i] = (char)tolower((unsigned char)h->name[i]);
    if (value_len == 0)
        strcpy(line + name_len, ";");
    else if (name_len > 4 && strncmp(line + name_len - 4, "-bin", 4) == 0)
        base64_encode((const uint8_t *)h->value, value_len, stpcpy(line + name_len, ": "));
    else
        strcpy(stpcpy(line + name_len, ": "), h->value);
    bool ok = transport_header(list, line);
    free(line);
    return ok;
}

struct grpc *grpc_open(struct exporter *e)
{
    const struct exporter_config *c = e->config;
    struct grpc *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    static const char *const fixed[] = {"content-type: application/grpc", "te: trailers",
                                        "expect:", "accept:"};
    bool ok =
        asprintf(&g->url, "%s/opentelemetry.proto.collector.trace.v1.TraceService/Export", c->url) > 0 &&
        transport_open(e, &g->transport, g->url, true);
    for (size_t i = 0; ok && i < sizeof fixed / sizeof *fixed; i++)
        ok = transport_header(&g->metadata, fixed[i]);
    ok = ok && (!c->gzip || transport_header(&g->metadata, "grpc-encoding: gzip"));
    for (size_t i = 0; ok && i < c->n_headers; i++)
        ok = append_metadata(&g->metadata, &c->headers[i]);
    if (!ok) {
        grpc_close(g);
        return NULL;
    }
    g->transport.on_header = on_header;
    g->transport.on_header_ctx = g;
    return g;
}

void grpc_after_fork_child(struct grpc *g)
{
    transport_after_fork_child(&g->transport);
    compress_forget(&g->compress);
    g->headers = NULL;
    g->frame = NULL;
    g->frame_room = 0;
}

void grpc_close(struct grpc *g)
{
    transport_close(&g->transport);
    curl_slist_free_all(g->metadata);
    curl_slist_free_all(g->headers);
    compress_close(&g->compress);
    free(g->frame);
    free(g->url);
    free(g);
}

/* -- one call -- */

static struct curl_slist *headers(void *ctx, uint64_t left_ms)
{
    struct grpc *g = ctx;
    memset(&g->status, 0, sizeof g->status);
    curl_slist_free_all(g->headers);
    g->headers = NULL;
    for (struct curl_slist *m = g->metadata; m; m = m->next)
        transport_header(&g->headers, m->data);
    if (left_ms) {
        char line[40];
        grpc_timeout(left_ms, line);
        transport_header(&g->headers, line);
    }
    return g->headers;
}

static void judge(struct exporter *e, void *ctx, uint32_t n_spans, struct export_outcome *out,
                  struct verdict *v)
{
    struct grpc *g = ctx;
    struct transport *t = &g->transport;
    struct grpc_status *s = &g->status;
    long http = 0, version = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http);
    curl_easy_getinfo(t->easy, CURLINFO_HTTP_VERSION, &version);
    if (t->code != CURLE_OK && !s->present)
        return; /* no answer: another try */
    if (version != CURL_HTTP_VERSION_2_0) {
        v->what = DROP;
        snprintf(v->why, sizeof v->why, "the receiver does not speak HTTP/2, which gRPC needs");
        return;
    }
    int code = s->present ? s->code : grpc_code_of_http(http);
    if (code == GRPC_OK) {
        v->what = DELIVERED;
        struct answer a;
        size_t len = t->answer_len;
        if (len <= FRAME_HEAD)
            return;
        if (t->answer[0] != 0 || !answer_read(t->answer + FRAME_HEAD, len - FRAME_HEAD, &a))
            exporter_log(e, 3, "the receiver's answer can not be read; it was a success");
        else
            deliver_partial(e, &a, n_spans, out);
        return;
    }
    v->what = grpc_retryable(code, s->retry_info) ? RETRY : DROP;
    v->pause_ms = s->retry_info ? s->retry_delay_ms : 0;
    if (s->present)
        snprintf(v->why, sizeof v->why, "the receiver answered gRPC status %s%s%s", grpc_code_name(code),
                 s->message[0] ? ": " : "", s->message);
    else
        snprintf(v->why, sizeof v->why, "the receiver answered HTTP %ld without a gRPC status", http);
}

void grpc_send(struct exporter *e, const uint8_t *body, size_t len, uint32_t n_spans, uint64_t deadline_ns,
               struct export_outcome *out)
{
    struct grpc *g = e->grpc;
    uint8_t *frame;
    if (e->config->gzip) {
        len = compress_gzip(e, &g->compress, FRAME_HEAD, body, len);
        frame = g->compress.out;
    } else {
        if (FRAME_HEAD + len > g->frame_room) {
            uint8_t *more = realloc(g->frame, FRAME_HEAD + len);
            if (!more)
                len = 0;
            else
                g->frame = more, g->frame_room = FRAME_HEAD + len;
        }
        frame = g->frame;
        if (len)
            exporter_copy(e, frame + FRAME_HEAD, body, len);
    }
    if (len == 0) {
        exporter_no_memory(e, n_spans, out);
        return;
    }
    if (len > REQUEST_MAX) {
        exporter_log(e, 0, "an export of %u spans is larger than 64 MiB: dropped", n_spans);
        return;
    }
    frame[0] = e->config->gzip;
    for (int i = 0; i < 4; i++)
        frame[1 + i] = (uint8_t)(len >> (24 - 8 * i));
    const struct protocol p = {.headers = headers, .judge = judge, .ctx = g};
    deliver(e, &g->transport, &p, frame, FRAME_HEAD + len, n_spans, deadline_ns, out);
}
