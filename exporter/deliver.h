/* SPDX-License-Identifier: Apache-2.0
 * deliver.h - one export with its retries, whatever the protocol.
 */
#ifndef FORKSPAN_EXPORTER_DELIVER_H
#define FORKSPAN_EXPORTER_DELIVER_H

#include "transport.h"

struct verdict {
    enum { DELIVERED, RETRY, DROP } what;
    uint64_t pause_ms; /* RETRY: the receiver wants at least that; 0: said nothing */
    char why[256];     /* RETRY, DROP */
};

/* What a protocol adds to a POST. */
struct protocol {
    /* The headers of a try that has `left_ms` (0: no limit). They are freed by it at the next one. */
    struct curl_slist *(*headers)(void *ctx, uint64_t left_ms);
    /* The answer is there, or t->code says why not (then only where transport_permanent() does not hold). */
    void (*judge)(struct exporter *e, void *ctx, uint32_t n_spans, struct export_outcome *out,
                  struct verdict *v);
    void *ctx;
};

void deliver(struct exporter *e, struct transport *t, const struct protocol *p, const uint8_t *body,
             size_t len, uint32_t n_spans, uint64_t deadline_ns, struct export_outcome *out);
/* The receiver counted its own losses, or has something to say. */
void deliver_partial(struct exporter *e, const struct answer *a, uint32_t n_spans,
                     struct export_outcome *out);

#endif
