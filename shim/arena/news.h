/* SPDX-License-Identifier: Apache-2.0
 * news.h - how the process of a slot ended, as its parent saw it.
 *
 * A child is known by a ticket that its parent took before the fork and that the child keeps in its slot: a
 * pid says nothing across PID namespaces, and is another's soon. Handler-safe, all of it.
 */
#ifndef FORKSPAN_ARENA_NEWS_H
#define FORKSPAN_ARENA_NEWS_H

#include "arena/arena.h"

#include <stdatomic.h>

/* A slot's news word: 0 nothing known, else one of these with a wait status. */
#define NEWS_SET 0x80000000u
#define NEWS_EXEC 0x40000000u /* it became another program */
#define NEWS_STATUS 0xffffu

/* A slot is another process's within microseconds of the death that the news is about: the word says which
 * claim of the slot it is of. */
static inline uint64_t news_word(uint32_t epoch, uint32_t news)
{
    return (uint64_t)epoch << 32 | news;
}
static inline uint32_t news_of(const struct slot *s)
{
    uint64_t word = atomic_load(&s->news);
    return (uint32_t)(word >> 32) == atomic_load(&s->epoch) ? (uint32_t)word : 0;
}

uint64_t news_ticket(const struct arena *a);
/* The parent's memory of its children's tickets, in ordinary memory of its own. */
void news_born(pid_t pid, uint64_t ticket);
/* The parent has reaped `pid` with this wait status: tells its slot. True: there was one. */
bool news_reaped(const struct arena *a, pid_t pid, int status);

#define NEWS_TYPE_MAX 16u
/* The error.type of a request that the end cut off: "SIGKILL", "exit 3", "exec", "_OTHER". */
void news_type(uint32_t news, char type[NEWS_TYPE_MAX]);

#endif
