/* SPDX-License-Identifier: Apache-2.0
 * slot.h - claiming, knowing the dead, releasing.
 */
#ifndef FORKSPAN_ARENA_SLOT_H
#define FORKSPAN_ARENA_SLOT_H

#include "arena/arena.h"

/* Claims a free slot for the calling process and initialises it but for its request table, which is empty in
 * a free slot; -1 when all are taken. The start time is left for birth_tell(). `consumer`: it will serve no
 * request, and may have one of the CONSUMER_SLOTS. System calls, no allocation: also in a signal handler. */
int slot_claim(const struct arena *a, bool consumer);
/* Wakes a consumer, whose ever it is: slots are getting scarce and it frees those of the dead, or one has
 * just died. Handler-safe. */
void slot_wake_consumer(const struct arena *a);
/* The slot's owner is certainly dead. Unknown means alive. */
bool slot_owner_dead(const struct arena *a, uint32_t i);
/* In an arena that outlives its processes: the kernel may never have marked a word there (a thread that ended
 * while nothing was mapped, a word written over), so pid, thread id and start time are asked once more. Marks
 * the word of an owner that is certainly gone. */
void slot_judge(const struct arena *a, uint32_t i);
/* Gives the slot of a dead owner, or one's own, back. The caller is its consumer; the ring is empty. */
void slot_release(const struct arena *a, uint32_t i);
/* The same of one whose owner died while it claimed. */
void slot_vacate(const struct arena *a, uint32_t i);
static inline uint64_t consumer_word(uint32_t slot, uint32_t epoch)
{
    return (uint64_t)epoch << 32 | (slot + 1);
}
/* The consumer named by a slot's consumer word is there to do its work. */
bool consumer_alive(const struct arena *a, uint64_t word);
/* The start time (clock ticks since boot) of a process, 0 if there is none. One open, read, close. */
uint64_t process_start_time(pid_t pid);
uint64_t own_pid_namespace(void);

#endif
