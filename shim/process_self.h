/* SPDX-License-Identifier: Apache-2.0
 * process_self.h - what process.c and leave.c share: this process, as it knows itself.
 */
#ifndef FORKSPAN_PROCESS_SELF_H
#define FORKSPAN_PROCESS_SELF_H

#include "arena/arena.h"
#include "batch/permanent.h"

/* Written under process.c's `claiming`, and by the child handler, where there is one thread. */
struct process_self {
    struct arena arena;
    struct arena alone;       /* of one process: where every slot of `arena` was taken */
    const struct arena *home; /* the one of these that its slot is in */
    const struct config *config;
    struct slot *_Atomic slot; /* through the alias; NULL: none claimed */
    struct ring *_Atomic ring; /* through the alias */
    uint32_t index;
    _Atomic uint64_t claimed_in; /* the generation that claimed it; written after it */
    uint64_t ticket;             /* arena/news.h */
    _Atomic bool listens;
    _Atomic bool served;         /* it may have a thread */
    _Atomic bool no_thread;      /* born behind libc's back among other threads */
    _Atomic bool answers_for;    /* it listens itself, or has forked: others' spans may be left to it */
    _Atomic uint64_t oldest_ns;  /* when the first span not known to be exported was queued (C API without
                                    serving) */
    _Atomic bool by_process;     /* the tree has a permanent consumer */
    _Atomic bool off;            /* disabled, or no memory */
    _Atomic uint32_t generation; /* the one in which this was written; 0: never */
};
extern struct process_self self;

static inline bool process_shares(void)
{
    return self.slot && self.home == &self.arena;
}

/* What this process queues is sent by the tree's permanent consumer: it starts no thread. Not where its
 * memory is its own: no other process attaches that; nor where the consumer found no exporter to send by. */
static inline bool process_exports(void)
{
    return self.by_process && arena_segment(&self.arena) >= 0 && self.home != &self.alone &&
           !permanent_in_vain(&self.arena);
}

/* Claims the slot of this process, a private one where there is no other. System calls only: also in a signal
 * handler. */
bool process_claim(void);
/* Starts the batch thread for it, where it is this process's. Ordinary context; false as thread_start(). */
bool process_start_thread(void);
/* In a child. */
void leave_postfork_child(void);

#endif
