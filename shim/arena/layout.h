/* SPDX-License-Identifier: Apache-2.0
 * layout.h - everything that lies in shared memory. Versioned: a stranger's layout is refused.
 *
 * Nothing in here is trusted by a reader: each size, offset and state is checked at each read, because any
 * process of the tree can overwrite it.
 */
#ifndef FORKSPAN_ARENA_LAYOUT_H
#define FORKSPAN_ARENA_LAYOUT_H

#include "arena/latency.h"
#include "process.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARENA_MAGIC UINT64_C(0x616e657261707366) /* "fsparena" */
#define ARENA_LAYOUT 11u
#define RESOURCE_MAX 8192u
#define SLOTS_MAX 1024u
#define SEALED_MAX 16u
/* Slots that no server process takes: a consumer is needed most where all others are the dead's. */
#define CONSUMER_SLOTS 2u
#define REGISTERED_MAX 4u
#define BOOT_ID_MAX 40u

/* A position in a ring: number of a record (24 bits) and place of its first byte in units of 8 (40 bits).
 * Both count on for ever and wrap; only differences of them mean anything. One word, so that a producer takes
 * both with one compare-and-swap. */
typedef uint64_t ring_at;
#define RING_UNIT 8u
#define RING_POS_BITS 40
#define RING_POS_MASK ((UINT64_C(1) << RING_POS_BITS) - 1)
#define RING_NUMBER_MASK UINT64_C(0xffffff)

static inline uint32_t at_number(ring_at a)
{
    return (uint32_t)(a >> RING_POS_BITS);
}
static inline uint64_t at_pos(ring_at a)
{
    return a & RING_POS_MASK;
}
static inline ring_at at_make(uint32_t number, uint64_t pos)
{
    return ((uint64_t)number & RING_NUMBER_MASK) << RING_POS_BITS | (pos & RING_POS_MASK);
}

/* One record's description. `at` is its stamp: written last (release) by ring_commit, set to 0 by ring_free;
 * a reader (acquire) that finds another number there knows that the record was never finished. */
struct ring_cell {
    _Atomic ring_at at;
    /* Relaxed; atomic so that a reader checks and uses the same value while a hostile process writes here. */
    _Atomic uint32_t len; /* bytes */
    _Atomic uint32_t scope;
};

struct ring {
    _Atomic uint32_t open;             /* 0: nothing can be reserved */
    _Alignas(64) _Atomic ring_at head; /* producers */
    _Alignas(64) _Atomic ring_at tail; /* consumer: everything before it is free again */
    _Alignas(64) _Atomic uint64_t dropped;
};

/* Why a tree has a permanent consumer: FORKSPAN_EXPORT=process; a process of it could not open the exporter;
 * one-shot ones came too often. */
enum permanent_why { PERMANENT_ASKED, PERMANENT_NO_EXPORTER, PERMANENT_AGAIN };

/* slot.one_shot: a process of the host; a consumer that leaves when all is sent; the one that stays. */
enum slot_kind { SLOT_HOST, SLOT_ONE_SHOT, SLOT_PERMANENT };

enum slot_state { SLOT_FREE, SLOT_CLAIMED, SLOT_LIVE, SLOT_VACANT };

/* A batch, sealed: records from `from` (included) to `to` (not included). It keeps its borders when its
 * consumer dies, so that what is sent again is that batch and nothing else. */
struct sealed {
    ring_at from, to;
};

/* What the consumer of a slot's process has to say of its exporter (batch/report.h). Times are of
 * CLOCK_MONOTONIC, 0: never. */
enum exporter_state { EXPORTER_UNOPENED, EXPORTER_MISSING, EXPORTER_RESTS, EXPORTER_SENDS };
struct exporter_report {
    _Atomic uint32_t state;
    _Atomic uint32_t failures; /* exports in a row */
    _Atomic uint64_t begun_ns, delivered_ns, said_ns;
    _Atomic uint32_t said_len;
    char said[220]; /* its last error or warning */
};

struct slot {
    _Atomic uint32_t epoch;      /* counts claims */
    _Atomic uint32_t leaving;    /* its process is in exit: not a live consumer any more */
    _Atomic uint64_t consumer;   /* who empties this ring: 0, or consumer's slot + 1 | its epoch << 32 */
    _Atomic uint64_t start_time; /* of the process, /proc/PID/stat field 22 */
    _Atomic uint64_t pid_namespace;
    _Atomic uint64_t ticket;        /* arena/news.h; 0: born where no wrapper was */
    _Atomic uint64_t news_ns;       /* CLOCK_MONOTONIC; written before news */
    _Atomic uint64_t news;          /* how it ended, and which claim it was of (news_of) */
    _Atomic uint64_t dead_since_ns; /* when a consumer first found it dead */
    _Atomic uint32_t consuming;     /* the slot's process has a consumer that runs */
    _Atomic uint32_t one_shot;      /* it is a consumer and nothing else (batch/process.h): enum slot_kind */
    _Atomic uint32_t finish;        /* counts requests to a consumer of its own process to send all now; a
                                       one-shot one then leaves */
    _Atomic uint32_t hasty;         /* who asked for it brings no news of the dead any more */
    _Atomic uint32_t finished; /* futex word: the last of them that the tree's permanent one has served */
    _Atomic uint32_t seat;     /* arena/seat.h: which, + 1; 0: none */
    _Atomic uint32_t seat_epoch;
    _Atomic uint32_t resource_len;
    _Atomic uint32_t
        wake; /* futex word the slot's batch thread rests on: counts reasons to look at the rings */
    /* Sealed batches, oldest first. Written by the ring's consumer under its queue lock. */
    _Atomic uint32_t sealed_first, sealed_count;
    struct sealed sealed[SEALED_MAX];
    _Atomic ring_at
        sending; /* `to` of the batch whose first byte has been sent and whose space is not free */
    _Atomic uint32_t sender; /* the process that began to send it; written before `sending` */
    struct exporter_report report;
    _Alignas(64) _Atomic uint64_t counters[COUNTERS];
    _Atomic uint64_t
        latencies[LATENCY_BUCKETS]; /* of its requests, from the head's first byte to the answer's last */
    _Alignas(64) uint8_t resource[RESOURCE_MAX];
};

/* A consumer process that may be re-parented to a process of this tree. */
struct registered {
    _Atomic uint64_t pid_namespace; /* 0: no entry */
    _Atomic uint64_t start_time;
    _Atomic uint32_t pid;
};

struct arena_header {
    uint64_t magic;
    uint32_t layout;
    uint32_t slots;
    char version[32];
    /* arena/sampling.h: read for each root span. With it in this line there is nothing that is ever written
     * while the server works, so that every processor keeps its copy. */
    _Atomic uint64_t sampling;
    uint64_t size;
    uint64_t slot_size;
    uint64_t slots_off;
    uint32_t requests_off, ring_off; /* in a slot */
    uint32_t ring_cells, ring_units, max_queued;
    uid_t maker;
    char boot[BOOT_ID_MAX];        /* in a file: the boot that its pids, times and thread ids are of */
    _Atomic uint64_t user;         /* of the first process of another id that claimed a slot, + 1 */
    _Atomic uint64_t tickets;      /* given out: one for each child that a wrapper saw born */
    _Atomic uint32_t without_slot; /* counts processes that found every slot taken */
    _Atomic uint32_t came, left;   /* futex words: count one-shot consumers that attached it, and left */
    _Atomic uint64_t in_vain;      /* CLOCK_MONOTONIC, ns: when an exit had waited for all of its time */
    _Atomic uint64_t permanent;    /* consumer word of the tree's permanent consumer; 0: there is none yet */
    _Atomic uint64_t
        permanent_ns; /* CLOCK_MONOTONIC: when it was last started; UINT64_MAX: it can not work */
    _Atomic uint32_t permanent_why; /* enum permanent_why */
    _Atomic uint64_t one_shot_ns;   /* CLOCK_MONOTONIC: when a one-shot consumer last came */
    uint64_t destination;           /* config_destination() of its maker */
    int32_t semaphores;             /* arena/seat.h: id of the set, -1: none */
    struct registered registered[REGISTERED_MAX];
    _Atomic uint64_t former[COUNTERS]; /* sums of the slots that were given back */
    _Atomic uint64_t former_latencies[LATENCY_BUCKETS];
    _Atomic uint64_t workers; /* counts processes of the host that got a slot */
    /* Of each slot: enum slot_state | pid << 32, so that a claimer that dies half-way is known by its pid.
     * Not in the slot: who looks for the living and the dead touches no page of a slot that nobody has. */
    _Alignas(64) _Atomic uint64_t state[SLOTS_MAX];
    /* Liveness: the thread id of the slot's batch thread; FUTEX_OWNER_DIED set by the kernel when that thread
     * has ended, however it ended. 0: no thread yet. Dense, so that a scan of all touches few cache lines. */
    _Alignas(64) _Atomic uint32_t liveness[SLOTS_MAX];
    _Atomic uint32_t seat_epochs[SLOTS_MAX]; /* counts who has taken the seat */
};
_Static_assert(offsetof(struct arena_header, sampling) < 64, "in the line that nobody writes to");

#endif
