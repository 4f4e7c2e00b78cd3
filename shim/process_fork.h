/* SPDX-License-Identifier: Apache-2.0
 * process_fork.h - the process's part in a fork and at its end; called by fork/ and init.c only.
 */
#ifndef FORKSPAN_PROCESS_FORK_H
#define FORKSPAN_PROCESS_FORK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

bool process_has_arena(void);
/* Before a fork in a process without an arena: the first one looks for inherited sockets that listen, so that
 * the workers share an arena. */
void process_forks(void);
/* FORKSPAN_FORK_WAIT; parses nothing. */
uint32_t process_fork_wait_ms(void);
/* Under the queue lock, in prepare: seals what is queued as the parent's batch. */
void process_drain(void);
/* In the parent, after: the thread exports it now. */
void process_drained(void);
/* In the child: its parent's slot is not its own. `no_thread`: a thread must not be started here, ever.
 * Async-signal-safe. */
void process_postfork_child(bool no_thread);
/* RESPAWN=eager, right after fork() has returned in the child. */
void process_eager(void);
/* Before a fork: what was asked until now may be answered by a child. */
void process_will_fork(void);
/* Before a fork that a wrapper sees: the ticket of the child to be, by which its parent will tell how it
 * ended; 0 where there is no arena. In the child: it is this process's. */
uint64_t process_ticket(void);
void process_born(uint64_t ticket);
/* In the parent of a fork: this process may be the one that its children's spans are left to. pid <= 0: not
 * known, or there is none. */
void process_postfork_parent(pid_t pid, uint64_t ticket);

/* Around execve and its kind: where the process would leave spans that nobody sends, it starts the one-shot
 * consumer and waits until that has attached, at most FORK_WAIT. Async-signal-safe. */
struct process_exec {
    void *pending; /* the thread's entry in its robust list that is not ours */
    bool guarded;
};
void process_exec_before(struct process_exec *call);
/* It failed: things go on. */
void process_exec_failed(const struct process_exec *call);

/* After a wait of the host that has reaped `pid` (0: nobody) with a wait status: tells whom it may concern.
 * True: a consumer of ours, which the host does not know: to be waited for anew. Else looks, at most once a
 * second, whether somebody died and left spans that nobody sends. Async-signal-safe. */
bool process_waited(pid_t pid, int status);
/* Every child of this process is a consumer of ours (orphans come to it): to the host it has none. True only
 * where it has one. Async-signal-safe. */
bool process_childless(void);
/* The exit rule (DESIGN, table "What happens at a fork", row exit). Also in a signal handler. */
void process_exit(void);

#endif
