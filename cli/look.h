/* SPDX-License-Identifier: Apache-2.0
 * look.h - a look into the arena of a running server, from outside.
 *
 * What is of interest is copied out, piece by piece, into memory of our own, and judged there, where nobody
 * writes to it any more: any process of the server can have written anything. Single-threaded, as all of the
 * command.
 */
#ifndef FORKSPAN_CLI_LOOK_H
#define FORKSPAN_CLI_LOOK_H

#include "arena/arena.h"
#include "arena/news.h"
#include "arena/sampling.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* An arena, not attached: a look attaches a System V segment for as long as it copies. For those who count
 * the mappings (batch/process.c) the server thus seems to live on for a few milliseconds at most. */
struct arena_place {
    const char *path; /* a file; NULL: a segment */
    int id;           /* of the segment */
};

/* The arenas in memory that this user made: *places, malloc'd. Looks no further than its beginning into a
 * segment, and only into one that has no key and goes with its last process, as ours do. Returns how many. */
size_t places_find(struct arena_place **places);
/* An id or a path; false after a complaint. */
bool place_read(const char *text, struct arena_place *place);
/* "123", or the path; in `room`. */
const char *place_name(const struct arena_place *place, char room[16]);

/* Pieces of an arena at their places; everything else reads as zeroes. */
struct image {
    struct arena arena; /* its header is the image's first byte; every size checked */
    struct arena_place place;
    uint8_t *from; /* where to copy from: memory; NULL: a file, or let go of */
    bool attached;
    int fd;        /* a file while it is open; else -1 */
    size_t size;   /* of segment or file */
    size_t mapped; /* bytes of address space at arena.header */
    int32_t maker; /* pid that made the segment, as it is here; 0: not known */
};
/* Why an arena can not be opened whose server has ended. */
extern const char image_gone[];
/* Opens the place and copies the header. NULL, or why not: text of this process, good until the next call. */
const char *image_open(struct image *image, const struct arena_place *place);
/* For arenas that lie in this process's memory: tests. */
const char *image_over(struct image *image, void *memory, size_t size);
/* Copies `len` bytes at `off`; what lies outside, or is not in the file any more, reads as zeroes. */
void image_fetch(struct image *image, size_t off, size_t len);
/* Lets go of the segment or file; what was copied stays. */
void image_detach(struct image *image);
void image_close(struct image *image);

struct look_request {
    double age_s;
    uint32_t phase; /* REQUEST_HEAD, REQUEST_OPEN, REQUEST_UNRECORDED */
    uint16_t status;
    char method[31]; /* bytes as they came, never with a NUL within */
    char path[511];
};

struct look_process {
    uint32_t slot, epoch;
    int32_t pid;
    bool here;          /* pid is one of this PID namespace */
    bool consumer;      /* it does nothing but send */
    bool sends;         /* it has a consumer of its own that runs */
    int32_t thread;     /* id of the thread that sends, in its PID namespace; 0: none */
    int32_t emptied_by; /* pid of the process whose consumer has its queue; 0: nobody has yet */
    enum { LOOK_ALIVE, LOOK_LEAVING, LOOK_DEAD } state;
    char end[NEWS_TYPE_MAX]; /* how it died, if that is known; else empty */
    uint32_t queued;         /* finished spans not known to be delivered */
    bool spoilt;             /* its ring's numbers can not be true */
    double oldest_s;         /* age of the oldest of them; < 0: not known, or none */
    char oldest[64];         /* its name */
    uint64_t counters[COUNTERS];
    enum exporter_state exporter;
    uint32_t failures;
    double sending_s, delivered_s, said_s; /* how long ago; < 0: never */
    char said[221];
    struct look_request *requests; /* the oldest first */
    size_t n_requests;
};

/* Who sends for a server: a thread in each process that serves, or one process for all of them. */
struct look_sender {
    enum { SENDER_THREADS, SENDER_PROCESS, SENDER_KILLED, SENDER_IN_VAIN } is;
    int32_t pid;            /* of SENDER_PROCESS */
    enum permanent_why why; /* of that, and of SENDER_KILLED: nobody has started it again yet */
};

struct look {
    double at; /* CLOCK_MONOTONIC, s */
    struct arena_place place;
    int32_t maker_pid;
    uint32_t maker_uid, slots, max_queued, without_slot;
    char version[33];
    struct sampling sampling;
    bool sampling_spoilt;
    struct look_sender sender;
    uint64_t totals[COUNTERS];
    uint64_t latencies[LATENCY_BUCKETS]; /* of all of its requests */
    struct look_process *processes;      /* in the order of their slots */
    size_t n_processes;
};

/* Looks once. NULL, or why not. */
const char *look_at(struct look *look, const struct arena_place *place);
/* The same of an image that is open; at `now_ns` (CLOCK_MONOTONIC) and `unix_ns`. */
void look_into(struct look *look, struct image *image, uint64_t now_ns, uint64_t unix_ns);
void look_free(struct look *look);
/* Of one counter, a second, from one look to a later one of the same arena; < 0: not known. */
double look_rate(const struct look *before, const struct look *now, enum counter which);
/* The same process in an earlier look; NULL: it was not there. */
const struct look_process *look_same(const struct look *before, const struct look_process *p);

struct set {
    enum { SET_NOTHING, SET_OFF, SET_ON } tracing;
    enum { SET_NO_RATIO, SET_RATIO, SET_DEFAULT } ratio_is;
    double ratio;
};
/* Sets it in a running server; *result: what holds from now on. NULL, or why not. */
const char *arena_set(const struct arena_place *place, const struct set *set, struct sampling *result);

/* show.c, show_json.c. `before`: an earlier look, for what happens a second; or NULL. */
void show(FILE *to, const struct look *look, const struct look *before);
void show_json(FILE *to, const struct look *look, const struct look *before);
void show_json_refused(FILE *to, const struct arena_place *place, const char *why, bool more);
/* A JSON string of bytes that may be anything: what is not UTF-8 becomes U+FFFD. */
void show_json_text(FILE *to, const char *text);
/* Bytes that may be anything as text that does nothing to a terminal. */
void show_text(FILE *to, const char *text);
/* "850 ms", "12.3 s", "4 min", "3 h", "2 d" */
enum { AGE_ROOM = 24 };
const char *show_age(double seconds, char room[AGE_ROOM]);
/* Why there is a process that sends, as a clause. */
extern const char *const why_process[];
/* "12 requests, 1 error; p50 0.42 ms, p95 12.3 ms, p99 1.25 s" */
void show_latencies(FILE *to, const uint64_t latencies[LATENCY_BUCKETS], uint64_t errors);
/* As the JSON form calls them, in the order of enum counter. */
extern const char *const counter_names[COUNTERS];

#endif
