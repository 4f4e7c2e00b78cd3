/* SPDX-License-Identifier: Apache-2.0
 * process.h - the consumer's home as a process of its own: what `forkspan export` runs. Single-threaded.
 */
#ifndef FORKSPAN_BATCH_PROCESS_H
#define FORKSPAN_BATCH_PROCESS_H

#include "arena/arena.h"

#include <stdbool.h>
#include <stdint.h>

struct consume_options {
    int id;               /* of the arena's System V segment */
    const char *file;     /* the arena's file instead, or NULL */
    int life;             /* with a file: the segment of the tree that it is for, or -1 */
    bool stay;            /* as long as any process of the tree lives: the tree's permanent consumer */
    bool sweep;           /* the last one: it never stays */
    bool linger;          /* stays as long as processes without a consumer go on making spans */
    uint32_t within_ms;   /* 0: each export is bounded by the configuration alone */
    const char *exporter; /* path of forkspan-exporter.so; NULL: there is none */
};

/* Attaches the arena, sends everything that no live consumer of another process will, and leaves (unless it
 * stays). Without an exporter it takes nothing, and who waited for it knows that (batch/permanent.h). One
 * that comes within ten seconds of the last stays, too: whose children live for one request each would start
 * them all the time. NULL, or why it could not; of a file, too, where something was left in it.
 */
extern const char consume_said[]; /* one of the answers: the log has had the reason */
const char *consume(const struct consume_options *options);
/* The same once more in the process that has made the arena, when the tree's first process has ended. Signals
 * stay as they are. */
const char *consume_rest(const struct arena *a, const struct consume_options *options);

#endif
