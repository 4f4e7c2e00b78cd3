/* SPDX-License-Identifier: Apache-2.0
 * bounds.h - how much address space the arena may take, so that the host's own mappings never fail because of
 * it.
 */
#ifndef FORKSPAN_ARENA_BOUNDS_H
#define FORKSPAN_ARENA_BOUNDS_H

#include <stddef.h>

/* A sixteenth of the least of: RLIMIT_AS, the memory cgroup's limit, and, where the kernel gives no more than
 * it has (vm.overcommit_memory=2), what is left to commit. SIZE_MAX: no bound. Ordinary context. */
size_t arena_bound(void);

#endif
