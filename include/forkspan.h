/* SPDX-License-Identifier: Apache-2.0
 * forkspan.h - spans of a program's own, for programs that may run under forkspan.
 *
 * Nothing is linked: the functions below look for libforkspan.so in the process at its start. Where it is not
 * preloaded they do nothing, and forkspan_enabled() says false.
 *
 *     struct forkspan_span *s = forkspan_start("GET user", FORKSPAN_CLIENT, NULL);
 *     forkspan_set_string(s, "db.system.name", "postgresql");
 *     ...
 *     forkspan_end(s);
 *
 * Threads: every function may be called from any thread. A span may be ended by another thread than the one
 * that started it. Of two calls at once on one span the second is left out (and counted, where it would have
 * added something); an end is never left out.
 * Signal handlers: functions marked [handler] may be called in one, also in one that interrupted any of these
 * functions; forkspan_start() with FORKSPAN_IN_HANDLER only. On a span that the interrupted function is at,
 * the rule of two calls at once holds.
 * fork, by whatever call: a span belongs to the process that started it. In a child it still serves as a
 * parent; its end there sends nothing. Spans that a child starts are its own.
 * Errors: there are none to handle. Where a span can not be made (not enabled, over 1,024 at once) NULL is
 * returned, which every function takes, as it takes a span that has ended. What has no room is left out and
 * counted in the span's dropped_*_count.
 * Strings are UTF-8, with a NUL; bytes that are not become U+FFFD, but an attribute whose key has such bytes
 * is left out and counted. They are copied: the caller keeps its own.
 *
 * Where the C library is older than glibc 2.34, link with -ldl (pkg-config forkspan does).
 */
#ifndef FORKSPAN_H
#define FORKSPAN_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct forkspan_span;

/* A span's identity as it travels between processes (W3C Trace Context). A trace id of zeroes: no context. */
struct forkspan_context {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t flags;  /* W3C trace flags: 0x01 sampled, 0x02 random */
    uint8_t remote; /* it came from another process */
    uint16_t tracestate_len;
    char tracestate[512]; /* no NUL */
};

/* SpanKind of opentelemetry/proto/trace/v1. */
enum forkspan_kind {
    FORKSPAN_INTERNAL = 1,
    FORKSPAN_SERVER = 2,
    FORKSPAN_CLIENT = 3,
    FORKSPAN_PRODUCER = 4,
    FORKSPAN_CONSUMER = 5,
    FORKSPAN_IN_HANDLER = 0x100, /* or-ed to a kind: the call is in a signal handler */
};

enum forkspan_status { FORKSPAN_UNSET, FORKSPAN_OK, FORKSPAN_ERROR };

enum forkspan_type { FORKSPAN_TYPE_STRING, FORKSPAN_TYPE_INT, FORKSPAN_TYPE_DOUBLE, FORKSPAN_TYPE_BOOL };

struct forkspan_attribute {
    const char *key;
    enum forkspan_type type;
    uint32_t string_len;
    union {
        const char *string;
        int64_t integer;
        double number;
        bool boolean;
    } value;
};

/* As the parent of forkspan_start(): none, a new trace. */
#define FORKSPAN_ROOT ((const struct forkspan_context *)(uintptr_t)1)

/* What the library offers; exported as forkspan_api_1. Members are added at its end, never changed: one that
 * came later than the first release is there if `size` says so. */
struct forkspan_api {
    size_t size;
    bool (*enabled)(void);
    struct forkspan_span *(*start)(const char *name, unsigned kind, const struct forkspan_context *parent,
                                   uint64_t start_unix_ns);
    void (*rename)(struct forkspan_span *, const char *name);
    void (*set)(struct forkspan_span *, const struct forkspan_attribute *, size_t n);
    void (*event)(struct forkspan_span *, const char *name, uint64_t unix_ns,
                  const struct forkspan_attribute *, size_t n);
    void (*link)(struct forkspan_span *, const struct forkspan_context *, const struct forkspan_attribute *,
                 size_t n);
    void (*status)(struct forkspan_span *, enum forkspan_status, const char *description);
    void (*end)(struct forkspan_span *, uint64_t end_unix_ns);
    bool (*context)(const struct forkspan_span *, struct forkspan_context *out);
    bool (*current)(struct forkspan_context *out);
    void (*attach)(struct forkspan_span *);
    void (*detach)(struct forkspan_span *);
    bool (*inject)(const struct forkspan_context *, char traceparent[56]);
    bool (*extract)(const char *traceparent, const char *tracestate, struct forkspan_context *out);
    bool (*submit)(const void *request, size_t len);
    bool (*flush)(uint32_t timeout_ms);
};

#ifndef FORKSPAN_BUILDING

/* One of these in an executable or a library, however many of its files include this header. */
__attribute__((weak, visibility("hidden"))) const struct forkspan_api *forkspan_api_found = NULL;

/* Before the program's own constructors. NULL is RTLD_DEFAULT, which strict C does not show. */
__attribute__((constructor(101), unused)) static void forkspan_find(void)
{
    if (!forkspan_api_found)
        forkspan_api_found = (const struct forkspan_api *)dlsym(NULL, "forkspan_api_1");
}

/* The library is there, has not been disabled and can export: spans are worth their attributes. Not in a
 * signal handler; makes what handlers need. */
static inline bool forkspan_enabled(void)
{
    return forkspan_api_found && forkspan_api_found->enabled();
}

/* Starts a span now, with the sampler's decision made. `parent` NULL: the span attached to this thread, else
 * the HTTP request that this thread is serving, if exactly one that it has read is open; else, and with
 * FORKSPAN_ROOT, none. A span the sampler left out is a handle with a context, which its children need.
 * [handler] with FORKSPAN_IN_HANDLER, after forkspan_enabled() in this process. */
static inline struct forkspan_span *forkspan_start(const char *name, unsigned kind,
                                                   const struct forkspan_context *parent)
{
    return forkspan_api_found ? forkspan_api_found->start(name, kind, parent, 0) : NULL;
}

/* As forkspan_start, of something that began at `start_unix_ns` (nanoseconds since 1970). */
static inline struct forkspan_span *forkspan_start_at(const char *name, unsigned kind,
                                                      const struct forkspan_context *parent,
                                                      uint64_t start_unix_ns)
{
    return forkspan_api_found ? forkspan_api_found->start(name, kind, parent, start_unix_ns) : NULL;
}

/* Gives it another name: 255 bytes of it are kept, as of the first one. [handler] */
static inline void forkspan_rename(struct forkspan_span *s, const char *name)
{
    if (s)
        forkspan_api_found->rename(s, name);
}

/* Sets attributes; one with a key that is there already takes its place. An empty string is a value, NULL is
 * none: such an attribute is left out. The limits are those of
 * OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT and OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT, and some 6 KiB for all that a
 * span holds. [handler] */
static inline void forkspan_set(struct forkspan_span *s, const struct forkspan_attribute *a, size_t n)
{
    if (s)
        forkspan_api_found->set(s, a, n);
}

/* Attributes for forkspan_set, forkspan_event and forkspan_link; forkspan_string_n: of `len` bytes, which may
 * hold NULs. [handler] */
static inline struct forkspan_attribute forkspan_string_n(const char *key, const char *value, size_t len)
{
    struct forkspan_attribute a;
    a.key = key;
    a.type = FORKSPAN_TYPE_STRING;
    a.string_len = len > UINT32_MAX ? UINT32_MAX : (uint32_t)len;
    a.value.string = value;
    return a;
}
static inline struct forkspan_attribute forkspan_string(const char *key, const char *value)
{
    return forkspan_string_n(key, value, value ? strlen(value) : 1);
}
static inline struct forkspan_attribute forkspan_int(const char *key, int64_t value)
{
    struct forkspan_attribute a;
    a.key = key;
    a.type = FORKSPAN_TYPE_INT;
    a.string_len = 0;
    a.value.integer = value;
    return a;
}
static inline struct forkspan_attribute forkspan_double(const char *key, double value)
{
    struct forkspan_attribute a;
    a.key = key;
    a.type = FORKSPAN_TYPE_DOUBLE;
    a.string_len = 0;
    a.value.number = value;
    return a;
}
static inline struct forkspan_attribute forkspan_bool(const char *key, bool value)
{
    struct forkspan_attribute a;
    a.key = key;
    a.type = FORKSPAN_TYPE_BOOL;
    a.string_len = 0;
    a.value.boolean = value;
    return a;
}

/* forkspan_set of one attribute. [handler] */
static inline void forkspan_set_string(struct forkspan_span *s, const char *key, const char *value)
{
    struct forkspan_attribute a;
    if (s) {
        a = forkspan_string(key, value);
        forkspan_api_found->set(s, &a, 1);
    }
}
static inline void forkspan_set_int(struct forkspan_span *s, const char *key, int64_t value)
{
    struct forkspan_attribute a;
    if (s) {
        a = forkspan_int(key, value);
        forkspan_api_found->set(s, &a, 1);
    }
}
static inline void forkspan_set_double(struct forkspan_span *s, const char *key, double value)
{
    struct forkspan_attribute a;
    if (s) {
        a = forkspan_double(key, value);
        forkspan_api_found->set(s, &a, 1);
    }
}
static inline void forkspan_set_bool(struct forkspan_span *s, const char *key, bool value)
{
    struct forkspan_attribute a;
    if (s) {
        a = forkspan_bool(key, value);
        forkspan_api_found->set(s, &a, 1);
    }
}

/* Adds an event, of now or of `unix_ns` (nanoseconds since 1970; 0: now), with n attributes. The limits are
 * those of OTEL_SPAN_EVENT_COUNT_LIMIT and OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT. [handler] */
static inline void forkspan_event(struct forkspan_span *s, const char *name, uint64_t unix_ns,
                                  const struct forkspan_attribute *a, size_t n)
{
    if (s)
        forkspan_api_found->event(s, name, unix_ns, a, n);
}

/* Links it to another span. The limits are those of OTEL_SPAN_LINK_COUNT_LIMIT and
 * OTEL_LINK_ATTRIBUTE_COUNT_LIMIT. [handler] */
static inline void forkspan_link(struct forkspan_span *s, const struct forkspan_context *to,
                                 const struct forkspan_attribute *a, size_t n)
{
    if (s)
        forkspan_api_found->link(s, to, a, n);
}

/* Sets the status. FORKSPAN_OK is final, FORKSPAN_ERROR may follow another error, FORKSPAN_UNSET is ignored;
 * a description (or NULL) goes with FORKSPAN_ERROR only, 255 bytes of it. [handler] */
static inline void forkspan_set_status(struct forkspan_span *s, enum forkspan_status status,
                                       const char *description)
{
    if (s)
        forkspan_api_found->status(s, status, description);
}

/* Ends the span and queues it for export. Detaches it first, if it is attached to the calling thread. Every
 * later call on it does nothing. [handler] */
static inline void forkspan_end(struct forkspan_span *s)
{
    if (s)
        forkspan_api_found->end(s, 0);
}

/* As forkspan_end, at `end_unix_ns`; an end before the start becomes the start. [handler] */
static inline void forkspan_end_at(struct forkspan_span *s, uint64_t end_unix_ns)
{
    if (s)
        forkspan_api_found->end(s, end_unix_ns);
}

/* The span's context; false, and *out of zeroes, for NULL. [handler] */
static inline bool forkspan_context_of(const struct forkspan_span *s, struct forkspan_context *out)
{
    if (s)
        return forkspan_api_found->context(s, out);
    if (out)
        memset(out, 0, sizeof *out);
    return false;
}

/* What forkspan_start() with parent NULL would take; only while this process has not lost sight of a request
 * (two threads read one connection at once, over 16 unanswered on one). False, and *out of zeroes, for
 * nothing. [handler] */
static inline bool forkspan_current(struct forkspan_context *out)
{
    if (forkspan_api_found)
        return forkspan_api_found->current(out);
    if (out)
        memset(out, 0, sizeof *out);
    return false;
}

/* Makes it the calling thread's current span until it is detached or ended; attached spans nest. One that is
 * attached already, to this thread or another, stays as it is. Not in a signal handler. */
static inline void forkspan_attach(struct forkspan_span *s)
{
    if (s)
        forkspan_api_found->attach(s);
}
static inline void forkspan_detach(struct forkspan_span *s)
{
    if (s)
        forkspan_api_found->detach(s);
}

/* The W3C traceparent header's value, with a NUL; its tracestate is in the context. False, and an empty
 * string, for no context. [handler] */
static inline bool forkspan_inject(const struct forkspan_context *c, char traceparent[56])
{
    traceparent[0] = '\0';
    return forkspan_api_found && forkspan_api_found->inject(c, traceparent);
}

/* From headers that came in; tracestate may be NULL. False, and *out of zeroes, where traceparent is not
 * valid; a bad tracestate alone is left out (W3C Trace Context, 3.2 and 3.3). [handler] */
static inline bool forkspan_extract(const char *traceparent, const char *tracestate,
                                    struct forkspan_context *out)
{
    if (out)
        memset(out, 0, sizeof *out);
    return forkspan_api_found && forkspan_api_found->extract(traceparent, tracestate, out);
}

/* Queues spans that somebody else has encoded: an ExportTraceServiceRequest
 * (opentelemetry/proto/collector/trace/v1) of at most 64 KiB with at least one span. It is sent with its own
 * resources and scopes, unchanged; while tracing is turned off (forkspan status --set) it is left out. False
 * where it is not one down to its last attribute, or there is no room (its spans are counted as dropped). Not
 * in a signal handler. */
static inline bool forkspan_submit(const void *request, size_t len)
{
    return forkspan_api_found && forkspan_api_found->submit(request, len);
}

/* Waits until all that this process has queued is exported, at most `timeout_ms`. False if that was not
 * enough (what is left stays queued, and is sent later), if the receiver refused something, or where nobody
 * can export (a child made by _Fork or clone beside other threads has no thread of ours: what it queued is
 * sent by another process of its server). True where nothing was queued, as without the library. Not in a
 * signal handler. */
static inline bool forkspan_flush(uint32_t timeout_ms)
{
    return !forkspan_api_found || forkspan_api_found->flush(timeout_ms);
}

#endif /* FORKSPAN_BUILDING */

#ifdef __cplusplus
}
#endif

#endif
