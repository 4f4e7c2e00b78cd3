/* SPDX-License-Identifier: Apache-2.0
 * handler.h - is this thread in a signal handler?
 *
 * What must never happen there (pthread_create, dlopen: the code that was interrupted may hold malloc's lock,
 * or the loader's) is asked for by calls that may well be made there: read, accept, fork.
 */
#ifndef FORKSPAN_HANDLER_H
#define FORKSPAN_HANDLER_H

#include <stdbool.h>

/* True in a signal handler, and below it. Looks for a handler's return address on the stack, and only where a
 * signal is blocked that has a handler. So it may say true in a thread that blocks such signals and has the
 * remains of a handler in an unwritten variable: the caller must be able to come back later. It says false in
 * a coroutine that a handler switched to. Any context; up to some hundred system calls, so not on the data
 * path. */
bool in_signal_handler(void);

#endif
