/* SPDX-License-Identifier: Apache-2.0
 * requests.h - requests in progress: enough of each, in shared memory, to write its span after its process
 * died.
 *
 *                           [1]  [2]  [3]  [4]
 * [1] request_claim      H   -    -    -    -     H: any thread, any signal handler; "-": may run beside it
 * [2] request_release    H   -    X    -    -     X: not on the same entry
 * [3] request_set_*      H   -    X    X    -     one writer an entry at a time: a half of its connection
 * [4] request_read           -    -    -    -     any process; copies and checks, trusts nothing
 *
 * No allocation, no system call. An entry is written by the thread that reads the request until its head
 * ends, then by whoever writes the response; the connection's list of requests hands it over.
 */
#ifndef FORKSPAN_ARENA_REQUESTS_H
#define FORKSPAN_ARENA_REQUESTS_H

#include "span/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUESTS 128u
#define REQUEST_SIZE 2112u

struct request_table; /* in shared memory */

enum request_phase {
    REQUEST_UNUSED,
    REQUEST_HEAD,       /* its head is being read: no span if the process dies now */
    REQUEST_OPEN,       /* sampled, being served: a span is owed */
    REQUEST_FINISHED,   /* its record has been committed as `record` */
    REQUEST_UNRECORDED, /* left out by the sampler or by its path: no span, but its children need to know */
};

enum request_flag {
    REQUEST_TRUNCATED = 1, /* some field was longer than its room */
    REQUEST_TARGET_DONE = 2,
    REQUEST_TRACESTATE_CUT = 4,
    REQUEST_BAD_TRACEPARENT = 8, /* a second one came in, or a malformed one */
    REQUEST_HTTPS = 16,          /* the server in front says that the client spoke TLS */
};

/* The first process to write a byte of the answer owns the request. Only changed by compare-and-swap, and
 * only in a process that has forked since it read the head, and in its children. */
enum request_claim {
    REQUEST_READERS,  /* nobody else's yet */
    REQUEST_ANSWERED, /* its reader began to answer: no child may take it */
    REQUEST_LEFT,     /* its reader closed the connection without an answer: a child may have it */
    REQUEST_TAKEN,    /* by a child, which has its own copy */
};

/* Values of request.minor that are no minor of HTTP/1: what the server in front spoke. */
#define REQUEST_HTTP_2 20
#define REQUEST_HTTP_3 30

/* A bounded string. Bytes as they came over the wire; the encoder makes them UTF-8. */
#define REQUEST_TEXT(name, room)                                                                             \
    uint16_t name##_len;                                                                                     \
    char name[room]

#define REQUEST_RECORD_SET 0x80000000u

struct request {
    _Atomic uint32_t phase;
    /* Number of the ring record its span has | REQUEST_RECORD_SET, written between ring_reserve and
     * ring_commit: who sweeps a dead owner's table looks whether that record was finished before it writes
     * the span itself. */
    _Atomic uint32_t record;
    _Atomic uint32_t claim;  /* enum request_claim: who answers it, where a fork came between */
    _Atomic uint16_t status; /* final status code, 0 before; set before the write that carries it */
    uint8_t minor;           /* HTTP/1.minor, or REQUEST_HTTP_ */
    uint8_t flags;
    uint8_t peer_family; /* AF_INET, AF_INET6, AF_UNIX, else 0 */
    uint8_t has_parent;
    uint16_t peer_port;         /* host order */
    uint64_t start_realtime_ns; /* anchor: end = start + monotonic difference */
    uint64_t start_monotonic_ns;
    struct span_context context;
    uint8_t parent_span_id[8];
    uint8_t peer[16];             /* AF_INET: 4 bytes, AF_INET6: 16 */
    REQUEST_TEXT(peer_path, 106); /* AF_UNIX */
    REQUEST_TEXT(method, 30);
    REQUEST_TEXT(target, 510); /* its query redacted */
    REQUEST_TEXT(host, 126);
    REQUEST_TEXT(user_agent, 254);
    REQUEST_TEXT(forwarded, 158);
    REQUEST_TEXT(x_forwarded_for, 94);
    REQUEST_TEXT(x_forwarded_host, 94);
    REQUEST_TEXT(x_forwarded_proto, 14);
    REQUEST_TEXT(remote_addr, 46); /* the client, as the server in front says */
    REQUEST_TEXT(tracestate, TRACESTATE_MAX);
};

/* Bytes of a table; layout.h leaves so much in each slot. */
size_t request_table_size(void);
/* Of memory that is not all zero, where no entry is open. The entries themselves are not touched. */
void request_table_init(struct request_table *t);
/* The same, of memory that holds whatever it does. */
void request_table_wipe(struct request_table *t);

/* An entry of `t`, emptied, in phase REQUEST_HEAD; when `t` is full or NULL, one of this process's private
 * overflow (its span is lost if the process dies; a full table is counted as COUNT_NO_ROOM). NULL when that
 * is full, too. */
struct request *request_claim(struct request_table *t);
/* A child begins to answer what `from`, an entry of its parent's table, asks: copies it into `to`. False
 * where another process was first. Gives the entry back if its reader has left it. */
bool request_take(struct request_table *parents, struct request *from, struct request *to);
/* Its reader begins to answer. False: a child was first. */
bool request_answer(struct request *r);
/* Its reader closes the connection and has not begun to answer: true if a child may, or does; then the entry
 * is not the caller's any more. */
bool request_leave(struct request_table *t, struct request *r);
/* Gives it back. `t` as it was at the claim. NULL is fine. */
void request_release(struct request_table *t, struct request *r);
/* Thread number `reader` has read the head of r, an entry of `t` or of the overflow. */
void request_read_by(struct request_table *t, const struct request *r, uint32_t reader);
/* The request of that reader that is open (or not recorded, and still being served); NULL when there is none,
 * or more than one. Another thread may answer it, and its entry be another's, at any moment. */
const struct request *request_only_one(const struct request_table *t, uint32_t reader);
/* Its context and trace state as they are at the moment, lengths checked; false where it has no context. */
bool request_copy_context(const struct request *r, struct span_context *out, char *tracestate, size_t *len);
/* In a child: the private overflow's entries are the parent's. */
void request_postfork_child(void);

/* Appends to a text field; what has no room is left out and marked. */
void request_append(struct request *r, char *text, uint16_t *len, size_t room, const void *p, size_t n);
#define REQUEST_APPEND(r, field, p, n)                                                                       \
    request_append((r), (r)->field, &(r)->field##_len, sizeof(r)->field, (p), (n))
/* Ends a text field: trims blanks at its end, and half a UTF-8 character where `cut` says it was shortened.
 */
void request_trim(char *text, uint16_t *len, bool cut);
#define REQUEST_TRIM(r, field)                                                                               \
    request_trim((r)->field, &(r)->field##_len, (r)->field##_len == sizeof(r)->field)

/* Copies entry `i` < REQUESTS if it is in use, every length checked; false where it is not, or nonsense. The
 * owner may be alive and writing: of a live owner's entry only phase, status and times mean anything. */
bool request_read(const struct request_table *t, unsigned i, struct request *copy);
/* For who sweeps a dead owner's table. The first entry from `i` on whose request owes a span (REQUEST_OPEN);
 * REQUESTS: none. */
unsigned request_next_open(const struct request_table *t, unsigned i);
struct request *request_entry(struct request_table *t, unsigned i);
/* For who copies a table piece by piece, out of another process's memory: the bytes at its beginning that say
 * what is in use, and where entry `i` is. */
size_t request_table_head(void);
size_t request_entry_at(unsigned i);
bool request_in_use(const struct request_table *t, unsigned i);
/* Such a copy of entry `i`, every length checked; unlike request_read, one that gets no span, too. NULL where
 * nobody is at it. */
const struct request *request_in_progress(const struct request_table *t, unsigned i);
/* As request_read, of an entry at hand. */
bool request_copy(const struct request *r, struct request *copy);

#endif
