/* SPDX-License-Identifier: Apache-2.0
 * rest.h - bringing the batch thread to rest around a fork.
 *
 * At rest means: in our own poll() or futex wait, holding no lock of libc, curl or OpenSSL. The thread says
 * so in one word on a shared page (shared, so that a child of clone(CLONE_VFORK) without CLONE_VM can release
 * it: its parent's thread sleeps until it has gone on). Everything of this state is in that word.
 *
 *  [1] rest_enter, rest_leave, rest_point   the batch thread
 *  [2] rest_hold, rest_release              a thread that forks, any number of them, also in a signal handler
 */
#ifndef FORKSPAN_BATCH_REST_H
#define FORKSPAN_BATCH_REST_H

#include <stdbool.h>
#include <stdint.h>

enum { REST_NOT_HELD = 0, REST_NO_THREAD = UINT32_MAX };

/* Before the thread is created: a fresh word ("running"). False without memory. */
bool rest_make(void);
/* In a child, or when the thread could not be created: there is no thread. Handler-safe. */
void rest_forget(void);

/* [1] The thread is at rest from here on; it may not touch anything that a fork protects until rest_leave().
 */
void rest_enter(void);
/* [1] Waits while somebody holds; a hold lapses after a second. */
void rest_leave(void);
/* [1] enter and leave, only where somebody waits: one load otherwise. */
void rest_point(void);

/* [2] Holds the thread at rest; waits until it is, at most timeout_ms. Returns a token for rest_release:
 * REST_NOT_HELD when the time ran out, REST_NO_THREAD when there is none. */
uint32_t rest_hold(uint32_t timeout_ms);
/* [2] In the parent, or in the child of a vfork-like clone. Tokens other than a hold's do nothing. */
void rest_release(uint32_t token);

#endif
