/* SPDX-License-Identifier: Apache-2.0
 * exporter.h - what libforkspan.so and forkspan-exporter.so say to each other.
 *
 * The exporter is opened by dlopen(RTLD_NOW | RTLD_LOCAL); its one exported symbol is
 * `forkspan_exporter_ops`. All of its functions are called by one thread at a time: open() by the
 * thread that listens (or the batch thread), everything else by the batch thread.
 */
#ifndef FORKSPAN_EXPORTER_H
#define FORKSPAN_EXPORTER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORTER_ABI 3u

enum exporter_kind { EXPORTER_NONE, EXPORTER_OTLP, EXPORTER_CONSOLE, EXPORTER_OTLP_STDOUT };
enum exporter_protocol { EXPORTER_HTTP_PROTOBUF, EXPORTER_HTTP_JSON, EXPORTER_GRPC };

struct exporter_header {
    const char *name;
    const char *value;
};

/* The configuration, already parsed and checked; every pointer lives as long as the process. */
struct exporter_config {
    enum exporter_kind kind;
    enum exporter_protocol protocol;
    const char *url; /* HTTP: full URL of the traces endpoint; gRPC: scheme and authority */
    const struct exporter_header *headers;
    size_t n_headers;
    bool gzip;
    uint32_t timeout_ms;            /* whole export with its retries; 0 = no limit */
    const char *certificate;        /* path of a PEM CA file, or NULL: the system's CAs */
    const char *client_key;         /* path or NULL */
    const char *client_certificate; /* path or NULL */
    const char *file;               /* FORKSPAN_FILE, or NULL: standard output */
    bool console_stderr;            /* console: write to stderr instead of stdout */
    const char *schema_url;
    const char *unix_path; /* a socket in the file system ('@': an abstract one), or NULL; url's host is then
                              only a name */
    const char *proxy;     /* FORKSPAN_PROXY, or NULL: none, whatever the host's environment says */
    uint64_t file_size;    /* FORKSPAN_FILE_SIZE: bytes after which the file is rotated; 0: never */
    uint32_t file_count;   /* FORKSPAN_FILE_COUNT: files kept, the current one among them */
};

/* What the exporter may ask of the place it runs in. */
struct exporter_host {
    void *ctx;
    /* poll(2) with the thread at rest; n may be 0 (a pause, which a stop cuts short). Returns poll's value,
     * or -2 when the export must end now (time is up for the process): send() then returns EXPORT_ABORTED. */
    int (*wait)(void *ctx, struct pollfd *fds, unsigned n, int timeout_ms);
    /* Between pieces of work of at most 1 ms: a fork that waits gets its turn here. */
    void (*rest_point)(void *ctx);
    /* One line for the user; level: 0 error, 1 warning, 2 info, 3 debug. Never a header's value. */
    void (*log)(void *ctx, int level, const char *line);
};

/* One batch: spans of one process and one scope group after the other. All pointers are private memory. */
struct exporter_batch {
    const uint8_t *resource; /* an encoded opentelemetry.proto.resource.v1.Resource message (without tag) */
    size_t resource_len;
    /* Spans of one scope: encoded Span messages, each WITH its field tag and length as field 2 of ScopeSpans
     * (0x12, varint length, Span), one behind the other. */
    const struct exporter_scope_spans {
        const char *scope_name;
        const char *scope_version;
        const uint8_t *spans;
        size_t spans_len;
        uint32_t n_spans;
    } * scopes;
    size_t n_scopes;
    uint32_t n_spans;   /* sum over the scopes */
    const uint8_t *raw; /* encoded ResourceSpans fields (tag 0x0a each) to append unread; NULL if none */
    size_t raw_len;
    bool kept; /* what cannot be delivered now stays with the caller: EXPORT_UNDELIVERED instead of _FAILED */
};

enum export_result {
    EXPORT_OK,          /* delivered; `rejected` spans were refused by the receiver */
    EXPORT_FAILED,      /* given up: not to be sent again */
    EXPORT_ABORTED,     /* host said stop: state at the receiver unknown */
    EXPORT_NO_MEMORY,   /* nothing was sent: to be tried again later, or by another process */
    EXPORT_UNDELIVERED, /* the receiver was not there, or asked for later */
};

struct export_outcome {
    enum export_result result;
    uint32_t rejected; /* partial success: spans the receiver refused */
    uint32_t attempts; /* sends begun */
    bool any_byte_sent;
};

struct exporter; /* opaque */

struct exporter_ops {
    uint32_t abi;        /* EXPORTER_ABI */
    const char *version; /* FORKSPAN_VERSION; the preload refuses another one */
    /* Reads CA certificates, client keys, hosts and resolver configuration now, so that a later chroot does
     * not matter; opens no connection and keeps no fd. NULL on failure (logged). */
    struct exporter *(*open)(const struct exporter_config *config, const struct exporter_host *host);
    /* In a new process after a fork, before its first send: forgets connection and handle of the parent
     * without a goodbye (closes the inherited socket fds that are still the same device and inode). */
    void (*after_fork_child)(struct exporter *e);
    /* A new host for the calls to come (the batch thread's). */
    void (*set_host)(struct exporter *e, const struct exporter_host *host);
    /* Sends one batch with retries, bounded by config->timeout_ms and by deadline_ns (CLOCK_MONOTONIC, 0 =
     * none). */
    void (*send)(struct exporter *e, const struct exporter_batch *batch, uint64_t deadline_ns,
                 struct export_outcome *out);
    void (*close)(struct exporter *e);
};

#endif
