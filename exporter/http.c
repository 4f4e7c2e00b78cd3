/* SPDX-License-Identifier: Apache-2.0
 * http.c - OTLP over HTTP, with a body in protobuf or JSON.
 */
#include "compress.h"
#include "deliver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct http {
    struct transport transport;
    struct curl_slist *headers;
    struct compress compress;
};

struct http *http_open(struct exporter *e)
{
    const struct exporter_config *c = e->config;
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    bool ok = transport_open(e, &h->transport, c->url, false) &&
              transport_header(&h->headers, c->protocol == EXPORTER_HTTP_JSON
                                                ? "Content-Type: application/json"
                                                : "Content-Type: application/x-protobuf") &&
              transport_header(&h->headers, "Expect:") &&
              (!c->gzip || transport_header(&h->headers, "Content-Encoding: gzip"));
    for (size_t i = 0; ok && i < c->n_headers; i++) {
        char *line = NULL;
        /* "name;" is how curl is told of an empty value */
        ok = asprintf(&line, "%s%s%s", c->headers[i].name, *c->headers[i].value ? ": " : ";",
                      c->headers[i].value) > 0 &&
             transport_header(&h->headers, line);
        free(line);
    }
    if (!ok) {
        http_close(h);
        return NULL;
    }
    return h;
}

void http_after_fork_child(struct http *h)
{
    transport_after_fork_child(&h->transport);
    compress_forget(&h->compress);
}

void http_close(struct http *h)
{
    transport_close(&h->transport);
    curl_slist_free_all(h->headers);
    compress_close(&h->compress);
    free(h);
}

static struct curl_slist *headers(void *ctx, uint64_t left_ms)
{
    (void)left_ms;
    return ((struct http *)ctx)->headers;
}

static void accept_answer(struct exporter *e, struct transport *t, bool json, uint32_t n_spans,
                          struct export_outcome *out)
{
    struct answer a;
    if (t->answer_len == 0)
        return;
    if (!(json ? answer_read_json(t->answer, t->answer_len, &a)
               : answer_read(t->answer, t->answer_len, &a))) {
        exporter_log(e, 3, "the receiver's answer can not be read; it was a success");
        return;
    }
    deliver_partial(e, &a, n_spans, out);
}

static void judge(struct exporter *e, void *ctx, uint32_t n_spans, struct export_outcome *out,
                  struct verdict *v)
{
    struct transport *t = &((struct http *)ctx)->transport;
    if (t->code != CURLE_OK)
        return; /* no answer: another try */
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
    bool json = type && strncasecmp(type, "application/json", 16) == 0;
    if (status >= 200 && status < 300) {
        v->what = DELIVERED;
        accept_answer(e, t, json, n_spans, out);
        return;
    }
    char message[160];
    if (json)
        answer_error_json(t->answer, t->answer_len, message);
    else
        answer_error(t->answer, t->answer_len, message);
    snprintf(v->why, sizeof v->why, "the receiver answered %ld%s%s", status, message[0] ? ": " : "", message);
    v->what = retry_status(status) ? RETRY : DROP;
    curl_off_t after = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after);
    v->pause_ms = retry_after_ms(after);
}

void http_send(struct exporter *e, const uint8_t *body, size_t len, uint32_t n_spans, uint64_t deadline_ns,
               struct export_outcome *out)
{
    struct http *h = e->http;
    if (e->config->gzip) {
        len = compress_gzip(e, &h->compress, 0, body, len);
        body = h->compress.out;
        if (len == 0) {
            exporter_no_memory(e, n_spans, out);
            return;
        }
    }
    if (len > REQUEST_MAX) {
        exporter_log(e, 0, "an export of %u spans is larger than 64 MiB: dropped", n_spans);
        return;
    }
    const struct protocol p = {.headers = headers, .judge = judge, .ctx = h};
    deliver(e, &h->transport, &p, body, len, n_spans, deadline_ns, out);
}
