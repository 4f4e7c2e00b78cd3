/* SPDX-License-Identifier: Apache-2.0
 * exporter_internal.h - what the exporter's files share. One thread at a time.
 */
#ifndef FORKSPAN_EXPORTER_INTERNAL_H
#define FORKSPAN_EXPORTER_INTERNAL_H

#include "exporter.h"

#include <sys/types.h>
#include <time.h>

struct http;
struct grpc;
struct stream;

enum { REQUEST_MAX = 64 << 20 /* protocol/exporter.md: before and after compression */ };

struct exporter {
    const struct exporter_config *config;
    struct exporter_host host;
    bool kept;             /* of the batch that is being sent */
    struct http *http;     /* OTLP over HTTP */
    struct grpc *grpc;     /* OTLP over gRPC */
    struct stream *stream; /* console, otlp/stdout */
    uint8_t *envelope;     /* reused from batch to batch */
    size_t envelope_size;
};

void exporter_log(struct exporter *e, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The end of a send for want of memory: says so, and in *out. */
void exporter_no_memory(struct exporter *e, uint32_t n_spans, struct export_outcome *out);

/* memcpy in pieces, with a rest point after each. */
void exporter_copy(struct exporter *e, uint8_t *to, const uint8_t *from, size_t len);

/* The ExportTraceServiceRequest of a batch, in e->envelope; 0 without memory. The same bytes are a
 * TracesData. */
size_t envelope_make(struct exporter *e, const struct exporter_batch *batch);

enum tried {
    TRIED,         /* there is an answer or an error */
    TRIED_TIME_UP, /* until_ns is over */
    TRIED_STOPPED, /* the host's wait said so */
};

struct http *http_open(struct exporter *e);
void http_after_fork_child(struct http *h);
void http_send(struct exporter *e, const uint8_t *body, size_t len, uint32_t n_spans, uint64_t deadline_ns,
               struct export_outcome *out);
void http_close(struct http *h);

struct grpc *grpc_open(struct exporter *e);
void grpc_after_fork_child(struct grpc *g);
void grpc_send(struct exporter *e, const uint8_t *body, size_t len, uint32_t n_spans, uint64_t deadline_ns,
               struct export_outcome *out);
void grpc_close(struct grpc *g);

struct stream *stream_open(struct exporter *e);
void stream_close(struct stream *s);
/* Writes one line whole (len includes the newline), or not at all; false when it could not be written. */
bool stream_line(struct exporter *e, const char *line, size_t len);
/* The longest line that stays whole among many writers; SIZE_MAX for a file. */
size_t stream_line_max(const struct stream *s);
bool stream_terminal(const struct stream *s);

/* One line a request. Returns how many spans could not be shown. */
uint32_t console_show(struct exporter *e, const uint8_t *traces, size_t len);
/* otlp/stdout: JSON lines. Returns how many spans were too long for a line or unreadable. */
uint32_t json_lines(struct exporter *e, const uint8_t *traces, size_t len, uint32_t n_spans);
/* The JSON form of an encoded TracesData; malloc'd, NULL if it can not be read. */
char *json_traces(struct exporter *e, const uint8_t *traces, size_t len, size_t *out_len);

/* retry.c: pure functions. */
enum { RETRY_ATTEMPTS = 5, RETRY_AFTER_MOST = 300 /* s, where no time limit says less */ };
bool retry_status(long http_status);
/* The pause before attempt number `attempt` + 1 (the first is 1), in ms; `random` any 32 bits. */
uint32_t retry_pause_ms(unsigned attempt, uint32_t random);

/* What a Retry-After header, or a RetryInfo, of so many seconds means; 0: nothing. */
uint64_t retry_after_ms(int64_t seconds);

/* answer.c, answer_json.c: what a receiver says. */
struct answer {
    uint32_t rejected;
    char message[160]; /* printable, cut */
};
/* Of a success; false: unreadable. */
bool answer_read(const uint8_t *body, size_t len, struct answer *out);
bool answer_read_json(const uint8_t *body, size_t len, struct answer *out);
/* The message of a google.rpc.Status; empty if there is none. */
void answer_error(const uint8_t *body, size_t len, char out[160]);
void answer_error_json(const uint8_t *body, size_t len, char out[160]);
/* A google.rpc.Status says when to come again. */
bool answer_retry_info(const uint8_t *status, size_t len, uint64_t *ms);
/* Fit for one line of a log. */
void answer_printable(char out[160], const char *text);

static inline uint64_t exporter_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
