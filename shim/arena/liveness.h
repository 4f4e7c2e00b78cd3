/* SPDX-License-Identifier: Apache-2.0
 * liveness.h - a word in the arena that the kernel marks when our thread ends, whatever ends it.
 */
#ifndef FORKSPAN_ARENA_LIVENESS_H
#define FORKSPAN_ARENA_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

/* In the batch thread itself, once: registers a robust list of its own (in private memory: nothing in the
 * arena is a pointer that the kernel or libc would follow) whose one entry is *word, and sets the word to the
 * thread's id. False where the kernel has no robust lists (qemu-user): then pid and start time must tell. */
bool liveness_hold(_Atomic uint32_t *word);

#endif
