/* SPDX-License-Identifier: Apache-2.0
 * python.h - CPython's fork hooks around a fork made by the C code of a server that hosts an interpreter.
 *
 * os.fork() calls PyOS_BeforeFork, PyOS_AfterFork_Parent and PyOS_AfterFork_Child with the GIL held; a server
 * that forks by itself (uWSGI) does not, and what the application registered with os.register_at_fork never
 * runs: its workers keep locks and threads that are not there. These functions do what os.fork() would.
 */
#ifndef FORKSPAN_FORK_PYTHON_H
#define FORKSPAN_FORK_PYTHON_H

#include <stdbool.h>

/* One fork, on the stack of the thread that makes it. */
struct python_fork {
    bool hooked; /* PyOS_BeforeFork has run: one of the two after it must, too */
    bool gil;    /* and the GIL was taken for it: `state` gives it back */
    int state;
    void *error[3]; /* an exception that was set: the hooks run without it */
};

/* Looks whether an interpreter is, or may come to be, in this process. Ordinary context (dlsym); where the
 * process listens or makes its arena. */
void python_look(void);

/* Before fork() and before the hold: takes the GIL and runs the hooks of `before`, in a process with an
 * initialised interpreter, where the call comes from the main executable (or from an object named in
 * FORKSPAN_PYTHON_FORK_HOOKS), from no Python code, and nobody else has run them or will. `caller`: the
 * address the fork returns to. May wait up to FORK_WAIT for a GIL that does not come; then the fork goes on
 * without hooks, which is counted (fork_unhooked). A process that forks in a signal handler which interrupted
 * the interpreter is not for this: FORKSPAN_PYTHON_FORK_HOOKS=false. */
void python_before_fork(struct python_fork *f, const void *caller);
/* After it, in the parent, also where the fork failed; in the child, after our own state is its own. */
void python_after_fork_parent(const struct python_fork *f);
void python_after_fork_child(const struct python_fork *f);

#endif
