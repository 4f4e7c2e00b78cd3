/* SPDX-License-Identifier: Apache-2.0
 * exporter_internal.h - what the exporter's files share. One thread at a time.
 */
#ifndef FORKSPAN_EXPORTER_INTERNAL_H
#define FORKSPAN_EXPORTER_INTERNAL_H

#include "exporter.h"

#include <sys/types.h>
#include <time.h>

struct http;
struct stream;

struct exporter {
    const struct exporter_config *config;
    struct exporter_host host;
    struct http *http;     /* OTLP over HTTP */
    struct stream *stream; /* console, otlp/stdout */
    uint8_t *envelope;     /* reused from batch to batch */
    size_t envelope_size;
};

void exporter_log(struct exporter *e, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The ExportTraceServiceRequest of a batch, in e->envelope; 0 without memory. The same bytes are a
 * TracesData. */
size_t envelope_make(struct exporter *e, const struct exporter_batch *batch);

struct http *http_open(struct exporter *e);
void http_after_fork_child(struct http *h);
void http_send(struct exporter *e, const uint8_t *body, size_t len, uint32_t n_spans, uint64_t deadline_ns,
               struct export_outcome *out);
void http_close(struct http *h);

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
char *json_traces(const uint8_t *traces, size_t len, size_t *out_len);

/* retry.c: pure functions. */
enum { RETRY_ATTEMPTS = 5 };
bool retry_status(long http_status);
/* The pause before attempt number `attempt` + 1 (the first is 1), in ms; `random` any 32 bits. */
uint32_t retry_pause_ms(unsigned attempt, uint32_t random);

/* answer.c: what a receiver says in a 2xx answer. */
struct answer {
    uint32_t rejected;
    char message[160]; /* printable, cut */
};
bool answer_read(const uint8_t *body, size_t len, struct answer *out);
void answer_error(const uint8_t *body, size_t len, char out[160]);

static inline uint64_t exporter_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
