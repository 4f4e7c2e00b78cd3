/* SPDX-License-Identifier: Apache-2.0
 * consumer.h - from the rings to the exporter, wherever it runs. One at a time in a process.
 */
#ifndef FORKSPAN_BATCH_CONSUMER_H
#define FORKSPAN_BATCH_CONSUMER_H

#include "arena/arena.h"
#include "exporter.h"

struct consumer {
    const struct arena *arena;
    const struct config *config;
    const struct exporter_ops *ops;
    struct exporter *exporter;
    void (*rest_point)(void *);
    bool (*stopping)(void);       /* start no further batch */
    bool full_only;               /* leave what is less than a batch of a living process to the next tick */
    bool over_torn;               /* in one's own ring: an unfinished record there is never to be finished */
    bool (*stuck)(uint32_t slot); /* the same of the ring of another living process; NULL: of none */
    bool keeps;                   /* what is not delivered now stays, in any arena: it is tried again later */
    bool undelivered;             /* the receiver took no batch that is kept */
    bool paced;         /* a receiver that fails batch after batch is sent one at a time, with pauses */
    bool lets_go;       /* private: batches count as failed and are not sent */
    unsigned failures;  /* exports in a row that have failed */
    uint64_t resume_ns; /* CLOCK_MONOTONIC; after the last of them: when a full batch is sent again */
    bool impatient;     /* requests of the dead wait for no news of how they died */
    uint64_t me;        /* consumer word of this process's slot */
    uint8_t *buffer;    /* one batch's records, copied out of shared memory before they are looked at */
    size_t buffer_size;
};

/* In the order of how much is left. */
enum consumer_result {
    CONSUMER_EMPTY,   /* every ring this process may empty is empty */
    CONSUMER_WAITS,   /* and requests of the dead wait for the news of how they died: ask again soon */
    CONSUMER_FOREIGN, /* empty but for rings whose process is on its way out and still holds them */
    CONSUMER_STOPPED, /* told to stop; batches may be left, sealed */
    CONSUMER_LATER,   /* the receiver takes nothing now, and what is left is kept: ask again at a tick */
};

/* Takes over orphaned rings, seals, sends, frees, until everything that was there at its start is gone, and
 * every full batch that came meanwhile, or it is told to stop. deadline_ns bounds each export
 * (CLOCK_MONOTONIC, 0: only the configuration does). */
enum consumer_result consumer_run(struct consumer *c, uint64_t deadline_ns);
/* Gives every ring of this consumer away, so that another one takes it now and not at our death. No batch is
 * being sent. Any thread; the queue lock is taken. */
void consumer_release(const struct arena *a, uint64_t me);

#endif
