/* SPDX-License-Identifier: Apache-2.0
 * process.h - the consumer's home as a process of its own: what `forkspan export` runs. Single-threaded.
 */
#ifndef FORKSPAN_BATCH_PROCESS_H
#define FORKSPAN_BATCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct consume_options {
    int id;               /* of the arena's System V segment */
    const char *file;     /* the arena's file instead, or NULL */
    int life;             /* with a file: the segment of the tree that it is for, or -1 */
    bool linger;          /* stays as long as processes without a consumer go on making spans */
    uint32_t within_ms;   /* 0: each export is bounded by the configuration alone */
    const char *exporter; /* path of forkspan-exporter.so */
};

/* Attaches the arena, sends everything that no live consumer of another process will, and leaves. NULL, or
 * why it could not; of a file, too, where something was left in it. */
const char *consume(const struct consume_options *options);

#endif
