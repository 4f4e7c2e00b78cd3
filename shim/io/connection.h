/* SPDX-License-Identifier: Apache-2.0
 * connection.h - what is known of each file descriptor that carries requests.
 *
 * A table indexed by fd. An entry is NULL (unknown: the next bytes read tell), CONNECTION_NONE (looked at,
 * nothing to trace) or a connection. The table is of length 0 until the first accept or received fd, so that
 * a process that serves nothing pays one load and one compare a call. Connections come from mappings that are
 * never given back, so a stale pointer is always safe to look at.
 *
 * A connection has two halves, each with an owner word that is only ever tried: the word is the generation of
 * the process that holds it, so one from before a fork counts as free. Two threads in one half: unsure,
 * tracing ends. All functions: any thread, any signal handler, errno kept, nothing held when they return.
 */
#ifndef FORKSPAN_IO_CONNECTION_H
#define FORKSPAN_IO_CONNECTION_H

#include "arena/requests.h"
#include "wire/http1.h"
#include "wire/uwsgi.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CONNECTION_PENDING 16u
#define CONNECTION_NONE ((struct connection *)1)
#define CONNECTION_NO_FD UINT32_MAX

enum half { HALF_REQUEST, HALF_RESPONSE };

enum connection_ending {
    CONNECTION_LIVE,
    CONNECTION_CLOSED, /* the host closed it: what is pending ends with an error */
    CONNECTION_DONE,   /* nothing more to trace in it (not HTTP, upgraded) */
    CONNECTION_UNSURE, /* two threads in one half, or more fds than two: what is pending is forgotten */
    CONNECTION_FREE,
};

/* What the requests are written in; the answers are HTTP/1. The first byte read tells. */
enum connection_protocol { PROTOCOL_UNKNOWN, PROTOCOL_HTTP, PROTOCOL_UWSGI };

/* Why the bytes ended, as far as seen; of several the first. */
enum connection_fault { FAULT_NONE, FAULT_EOF, FAULT_RESET, FAULT_TIMEOUT };

/* A request between the halves: the request, or no pointer where it is not traced, and its kind. */
#define PENDING_KIND_MASK ((uintptr_t)3)
#define PENDING_SET ((uintptr_t)4)
#define PENDING_POINTER(word) ((struct request *)((word) & ~(uintptr_t)7))

struct connection {
    _Atomic uint64_t owner[2];
    _Atomic uint64_t generation; /* of the process whose requests these are */
    _Atomic uint32_t ending;
    _Atomic uint32_t fault;
    _Atomic uint32_t next_free;
    uint32_t index;
    _Atomic uint64_t fds;    /* its fd << 32 | a second one made by dup, or CONNECTION_NO_FD */
    _Atomic uint32_t peeked; /* so many of the bytes to come were looked at before (MSG_PEEK) */
    _Atomic bool passed_on;  /* sent to another process, which may answer what was asked here */

    /* The request half's. */
    uint8_t protocol; /* enum connection_protocol */
    struct uwsgi uwsgi;
    struct http1 request;
    struct request *current; /* its head is being read */
    bool inherited;          /* this process did not accept it, and has not had it for long */
    uint64_t inherited_ns;   /* monotonic; since when it has it */
    bool handed_over;        /* the head being read was handed over before its end */
    bool value_begun, value_ignored;
    uint8_t method_len, traceparent_len, traceparents;
    char method[8];
    char traceparent[64];
    /* Of the buffer at hand, NULL outside of it: */
    uint8_t *head_at;        /* where the head begins, if it begins in it */
    uint8_t *traceparent_at; /* where the value begins, if it is whole in it */
    /* Of a uwsgi head: */
    bool uri_seen;
    uint16_t path_len; /* bytes of PATH_INFO in the target */
    uint8_t word_len;
    char word[12];

    /* The response half's. */
    struct http1 response;
    bool answering; /* the oldest pending request's response has begun */
    bool status_told;
    uint64_t last_sent_ns; /* monotonic; kept only in a body that the close ends */

    /* Both halves': where a fork came between a request and its answer. */
    bool foreign;           /* the one pending request is an entry of the parent's table, in the arena */
    uint32_t foreign_epoch; /* of that entry's slot */
    uint32_t forks;         /* of this process when it last handed a request over */

    /* Between them: a list with one writer (request half) and one reader (response half). */
    _Atomic bool request_final; /* no request will come any more */
    _Atomic uint32_t put, got;
    _Atomic uintptr_t pending[CONNECTION_PENDING];

    uint8_t peer_family;
    uint16_t peer_port;
    uint16_t peer_path_len;
    uint8_t peer[16];
    char peer_path[108];
};

#define CONNECTION_HIDDEN __attribute__((visibility("hidden")))
extern struct connection *_Atomic *_Atomic connection_entries CONNECTION_HIDDEN;
extern _Atomic uint32_t connection_length CONNECTION_HIDDEN;

static inline struct connection *connection_of(int fd)
{
    /* acquire: the table is there before its length is */
    if ((uint32_t)fd >= atomic_load_explicit(&connection_length, memory_order_acquire))
        return CONNECTION_NONE;
    struct connection *_Atomic *entries = atomic_load_explicit(&connection_entries, memory_order_relaxed);
    return atomic_load_explicit(&entries[fd], memory_order_acquire);
}
/* Something is, or was, tracked in this process. */
static inline bool connection_any(void)
{
    return atomic_load_explicit(&connection_length, memory_order_acquire) != 0;
}
/* Bytes read from fd may be of interest: a connection, or not yet known. */
static inline bool connection_read_watched(int fd)
{
    return __builtin_expect(connection_of(fd) != CONNECTION_NONE, 0);
}
static inline bool connection_write_watched(int fd)
{
    return __builtin_expect((uintptr_t)connection_of(fd) > (uintptr_t)CONNECTION_NONE, 0);
}
/* Closing fd leaves something to be forgotten. */
static inline bool connection_close_watched(int fd)
{
    return (uint32_t)fd < atomic_load_explicit(&connection_length, memory_order_acquire) &&
           atomic_load_explicit(&atomic_load_explicit(&connection_entries, memory_order_relaxed)[fd],
                                memory_order_relaxed) != NULL;
}

/* accept returned fd; `peer` is NULL where it is not known. Not in a signal handler the first time in a
 * process. */
void connection_accepted(int fd, const struct sockaddr *peer, socklen_t len);
/* fd came over a socket: whatever is known of its number is old. */
void connection_arrived(int fd);
/* fd was sent over a socket: what it was asked may be answered elsewhere. */
void connection_passed_on(int fd);
/* `to` is a duplicate of `from`, a new number or one closed for it. A connection of two fds lasts until both
 * are closed; of a third its tracing ends. */
void connection_duplicated(int from, int to);
/* From now on its bytes go by unseen (a stdio stream is opened on it): its tracing ends. */
void connection_blind(int fd);
/* fd is about to be closed, or has been closed by dup2. Call before the real close: the number may be
 * another's right after it. */
void connection_gone(int fd);
void connection_gone_range(unsigned first, unsigned last);

/* The real call returned `got` bytes in the buffers (or an error: got < 0, errno). Only for calls that took
 * the bytes out of the stream (no MSG_PEEK) and filled the buffers (no MSG_TRUNC). May put the request's own
 * span id into the traceparent among these bytes (http_span.c, nest). */
void connection_read(int fd, const struct iovec *iov, int n, ssize_t got);
/* So many bytes are in the buffers, and still in the stream. */
void connection_peeked(int fd, const struct iovec *iov, int n, ssize_t got);
/* So many bytes were taken out of the stream, and nobody saw them (splice, MSG_TRUNC). */
void connection_read_unseen(int fd, ssize_t got);
/* Before a write: looks at no more than 16 bytes, and only where a status line is due. */
void connection_write_ahead(int fd, const void *p, size_t len);
void connection_written(int fd, const struct iovec *iov, int n, ssize_t sent);
/* sendfile or splice sent so many bytes. */
void connection_written_unseen(int fd, ssize_t sent);
/* shutdown(fd, SHUT_WR or SHUT_RDWR) succeeded. */
void connection_shut(int fd);

/* A child of a fork: the requests in progress are the parent's. */
void connection_postfork_child(void);

/* For http_span.c, which holds one half: tries the other one. */
bool connection_try(struct connection *c, enum half half);
void connection_leave(struct connection *c, enum half half);
/* Ends tracing of it; takes effect when nobody is in either half. */
void connection_end(struct connection *c, enum connection_ending why);

#endif
