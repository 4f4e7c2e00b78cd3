/* SPDX-License-Identifier: Apache-2.0 */
#include "span/current.h"
#include "arena/requests.h"
#include "span/span_internal.h"
#include "tls.h"

#include <string.h>

/* The innermost that is still what it was when it was attached: another thread may have ended it. */
static struct span *attached(void)
{
    while (tls.attached &&
           atomic_load_explicit(&tls.attached->serial, memory_order_relaxed) != tls.attached_serial) {
        struct span *gone = tls.attached;
        (void)gone;
        tls.attached = NULL; /* what was below it is not known any more */
    }
    return tls.attached;
}

void current_attach(struct span *s)
{
    struct span *below = attached();
    for (struct span *p = below; p; p = p->below)
        if (p == s)
            return;
    s->below = below;
    s->below_serial = tls.attached_serial;
    tls.attached_serial = atomic_load_explicit(&s->serial, memory_order_relaxed);
    tls.attached = s;
}

void current_detach(struct span *s)
{
    struct span *above = NULL;
    for (struct span *p = attached(); p; above = p, p = p->below) {
        if (above && atomic_load_explicit(&p->serial, memory_order_relaxed) != above->below_serial) {
            above->below = NULL;
            return;
        }
        if (p != s)
            continue;
        if (above) {
            above->below = s->below;
            above->below_serial = s->below_serial;
        } else {
            tls.attached = s->below;
            tls.attached_serial = s->below_serial;
        }
        return;
    }
}

static bool still_open(const struct open_request *o)
{
    uint32_t phase = atomic_load_explicit(&o->request->phase, memory_order_acquire);
    return (phase == REQUEST_OPEN || phase == REQUEST_UNRECORDED) &&
           memcmp(o->request->context.span_id, o->span_id, sizeof o->span_id) == 0;
}

static void forget_closed(void)
{
    uint8_t kept = 0;
    for (uint8_t i = 0; i < tls.open_requests; i++)
        if (still_open(&tls.open[i]))
            tls.open[kept++] = tls.open[i];
    tls.open_requests = kept;
}

void current_read(const struct request *r)
{
    if (tls.open_requests)
        forget_closed();
    if (tls.open_requests == OPEN_REQUESTS) {
        tls.requests_lost = true;
        return;
    }
    struct open_request *o = &tls.open[tls.open_requests];
    o->request = r;
    memcpy(o->trace_id, r->context.trace_id, sizeof o->trace_id);
    memcpy(o->span_id, r->context.span_id, sizeof o->span_id);
    o->flags = r->context.flags;
    tls.open_requests++;
}

bool current_get(struct current *out)
{
    memset(out, 0, sizeof *out);
    struct span *s = attached();
    if (s) {
        out->context = *span_get_context(s);
        out->tracestate = span_get_tracestate(s, &out->tracestate_len);
        return true;
    }
    if (tls.open_requests == 0 || tls.requests_lost)
        return false;
    forget_closed();
    if (tls.open_requests != 1)
        return false;
    const struct open_request *o = &tls.open[0];
    memcpy(out->context.trace_id, o->trace_id, sizeof o->trace_id);
    memcpy(out->context.span_id, o->span_id, sizeof o->span_id);
    out->context.flags = o->flags;
    out->context.valid = true;
    out->tracestate = o->request->tracestate;
    out->tracestate_len = o->request->tracestate_len;
    if (out->tracestate_len > sizeof o->request->tracestate)
        out->tracestate_len = 0;
    return true;
}
