/* SPDX-License-Identifier: Apache-2.0
 * api.c - the public C API (include/forkspan.h, which holds the contracts): its names and types, and nothing
 * of its own.
 */
#define FORKSPAN_BUILDING
#include "forkspan.h"
#include "process.h"
#include "span/current.h"
#include "span/span.h"
#include "span/submit.h"

#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

_Static_assert(TRACESTATE_MAX == sizeof((struct forkspan_context *)0)->tracestate, "trace states fit");
_Static_assert(sizeof(struct forkspan_attribute) == sizeof(struct span_attribute) &&
                   offsetof(struct forkspan_attribute, value) == offsetof(struct span_attribute, value) &&
                   (int)FORKSPAN_TYPE_BOOL == (int)SPAN_BOOL &&
                   (int)FORKSPAN_CONSUMER == (int)SPAN_CONSUMER &&
                   (int)FORKSPAN_ERROR == (int)SPAN_STATUS_ERROR,
               "the public types are the inner ones");

static struct span *inner(const struct forkspan_span *s)
{
    return (struct span *)(uintptr_t)s;
}

static const struct span_attribute *inner_attributes(const struct forkspan_attribute *a)
{
    return (const struct span_attribute *)a;
}

static void nothing(struct forkspan_context *out)
{
    if (out)
        memset(out, 0, sizeof *out);
}

static bool inner_context(const struct forkspan_context *c, struct span_context *out)
{
    static const uint8_t zero[16];
    *out = (struct span_context){.flags = c->flags & (TRACE_SAMPLED | TRACE_RANDOM), .remote = c->remote};
    memcpy(out->trace_id, c->trace_id, sizeof out->trace_id);
    memcpy(out->span_id, c->span_id, sizeof out->span_id);
    out->valid = memcmp(c->trace_id, zero, 16) != 0 && memcmp(c->span_id, zero, 8) != 0;
    return out->valid;
}

/* Its trace state is there already. */
static void outer_context(const struct span_context *c, size_t tracestate_len, struct forkspan_context *out)
{
    memcpy(out->trace_id, c->trace_id, sizeof out->trace_id);
    memcpy(out->span_id, c->span_id, sizeof out->span_id);
    out->flags = c->flags;
    out->remote = c->remote;
    out->tracestate_len = (uint16_t)tracestate_len;
}

static bool api_enabled(void)
{
    return process_makes_spans(false);
}

static struct forkspan_span *api_start(const char *name, unsigned kind, const struct forkspan_context *parent,
                                       uint64_t start_unix_ns)
{
    struct span_context given;
    struct span_start how = {
        .name = name ? name : "",
        .kind = (enum span_kind)(kind & 0xff),
        .unix_ns = start_unix_ns,
        .in_handler = (kind & FORKSPAN_IN_HANDLER) != 0,
        .below_current = !parent,
    };
    if (how.kind < SPAN_INTERNAL || how.kind > SPAN_CONSUMER)
        how.kind = SPAN_INTERNAL;
    if (parent && parent != FORKSPAN_ROOT && inner_context(parent, &given)) {
        how.parent = &given;
        how.tracestate = parent->tracestate;
        how.tracestate_len = parent->tracestate_len;
    }
    return (struct forkspan_span *)span_start_with(&how);
}

static void api_rename(struct forkspan_span *s, const char *name)
{
    span_rename(inner(s), name ? name : "");
}

static void api_set(struct forkspan_span *s, const struct forkspan_attribute *a, size_t n)
{
    span_set(inner(s), inner_attributes(a), n);
}

static void api_event(struct forkspan_span *s, const char *name, uint64_t unix_ns,
                      const struct forkspan_attribute *a, size_t n)
{
    span_add_event(inner(s), name ? name : "", unix_ns, inner_attributes(a), n);
}

static void api_link(struct forkspan_span *s, const struct forkspan_context *to,
                     const struct forkspan_attribute *a, size_t n)
{
    struct span_context c;
    if (!to || to == FORKSPAN_ROOT)
        return;
    inner_context(to, &c);
    span_add_link(inner(s), &c, to->tracestate,
                  to->tracestate_len <= sizeof to->tracestate ? to->tracestate_len : 0, inner_attributes(a),
                  n);
}

static void api_status(struct forkspan_span *s, enum forkspan_status status, const char *description)
{
    if (status == FORKSPAN_OK || status == FORKSPAN_ERROR)
        span_set_status(inner(s), (enum span_status)status, description);
}

static void api_end(struct forkspan_span *s, uint64_t end_unix_ns)
{
    span_end_at(inner(s), end_unix_ns);
}

static bool api_context(const struct forkspan_span *s, struct forkspan_context *out)
{
    struct span_context context;
    size_t len;
    nothing(out);
    if (!out || !span_get_context(inner(s), &context, out->tracestate, &len))
        return false;
    outer_context(&context, len, out);
    return true;
}

static bool api_current(struct forkspan_context *out)
{
    struct span_context context;
    size_t len;
    nothing(out);
    if (!out || !current_get(&context, out->tracestate, &len))
        return false;
    outer_context(&context, len, out);
    return true;
}

static void api_attach(struct forkspan_span *s)
{
    if (s)
        current_attach(inner(s));
}

static void api_detach(struct forkspan_span *s)
{
    if (s)
        current_detach(inner(s));
}

static bool api_inject(const struct forkspan_context *c, char traceparent[56])
{
    struct span_context context;
    traceparent[0] = '\0';
    if (!c || c == FORKSPAN_ROOT || !inner_context(c, &context))
        return false;
    traceparent_format(&context, traceparent);
    traceparent[55] = '\0';
    return true;
}

static bool api_extract(const char *traceparent, const char *tracestate, struct forkspan_context *out)
{
    struct span_context context;
    nothing(out);
    if (!out || !traceparent ||
        !traceparent_parse((const uint8_t *)traceparent, strlen(traceparent), &context))
        return false;
    size_t len = tracestate ? strlen(tracestate) : 0;
    if (len > sizeof out->tracestate || !tracestate_valid((const uint8_t *)tracestate, len))
        len = 0;
    if (len)
        memcpy(out->tracestate, tracestate, len);
    outer_context(&context, len, out);
    return true;
}

static bool api_submit(const void *request, size_t len)
{
    return submit_request(request, len);
}

EXPORT extern const struct forkspan_api forkspan_api_1;
const struct forkspan_api forkspan_api_1 = {
    .size = sizeof(struct forkspan_api),
    .enabled = api_enabled,
    .start = api_start,
    .rename = api_rename,
    .set = api_set,
    .event = api_event,
    .link = api_link,
    .status = api_status,
    .end = api_end,
    .context = api_context,
    .current = api_current,
    .attach = api_attach,
    .detach = api_detach,
    .inject = api_inject,
    .extract = api_extract,
    .submit = api_submit,
    .flush = process_flush,
};
