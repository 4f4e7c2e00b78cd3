/* SPDX-License-Identifier: Apache-2.0
 * matrix_step.c - a fork in a signal handler, at every few instructions of an enqueue, and at every one of a
 * flush's first.
 *
 * What is interrupted is run one instruction at a time, by the processor's trap flag; at the wanted one the
 * SIGTRAP handler forks. The children of an enqueue wait in the handler until their parent has used its whole
 * queue again and has spans in it that are not sent yet. Then they return into the enqueue, each from another
 * place.
 */
#include "matrix.h"

#include "forkspan.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __x86_64__

/* The queue of the circumstance "lapped" has room for 64. */
enum { EVERY = 7, FLUSH_EVERY = 32, ROUND = 640, CHILDREN = 20, UNSENT = 40, TRAP_FLAG = 0x100 };
enum { FLUSH_STEPS = 160, FLUSH_MS = 200 };

static pid_t (*volatile fork_now)(void);
static volatile int step, fork_at;
static volatile sig_atomic_t ended, in_child;
static int gate[2];

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    int keep = errno;
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
    if (ended) {
        *flags &= ~TRAP_FLAG;
    } else if (step++ < fork_at) {
        *flags |= TRAP_FLAG;
    } else {
        *flags &= ~TRAP_FLAG;
        ended = 1;
        if (fork_now() == 0) {
            in_child = 1;
            char c;
            syscall(SYS_close, gate[1]);
            while (syscall(SYS_read, gate[0], &c, 1) < 0 && errno == EINTR)
                ;
        }
    }
    errno = keep;
}

/* What is called next forks at its instruction number `at`. */
static void step_to(int at)
{
    step = 0;
    fork_at = at;
    ended = 0;
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTRAP);
}

/* Ends a span and forks at its instruction number `at`; returns how many there were until the end or the
 * fork. */
static int end_stepwise(const char *name, int at)
{
    struct forkspan_span *s = forkspan_start(name, FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    step_to(at);
    forkspan_end(s);
    ended = 1; /* and the next trap is the last */
    return step;
}

static void end_next(unsigned *n, int at, int *steps)
{
    char name[32];
    snprintf(name, sizeof name, "step-%u", *n);
    if (at)
        *steps = end_stepwise(name, at);
    else
        end_span(name);
    if (++*n % FLUSH_EVERY == 0 && !in_child)
        forkspan_flush(5000);
}

static void begin(pid_t (*how)(void))
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    fork_now = how;
}

/* How many of so many children did not end as they should. */
static int reap_wrong(int children)
{
    int wrong = 0;
    for (int status, left = children; left > 0;) {
        if (waitpid(-1, &status, 0) > 0)
            left--, wrong += status != CODE << 8;
        else if (errno != EINTR)
            break;
    }
    return wrong;
}

void step_flush_as(pid_t (*how)(void))
{
    begin(how);
    gate[0] = gate[1] = -1; /* the children go on at once */
    int n = 0, children = 0;
    for (int at = 1; at < FLUSH_STEPS; at++) {
        char name[32];
        snprintf(name, sizeof name, "step-%d", n++);
        end_span(name); /* there is something to flush */
        step_to(at);
        forkspan_flush(FLUSH_MS);
        ended = 1;
        if (in_child)
            _exit(CODE);
        children += step > fork_at;
    }
    fact("h step wrong %d", reap_wrong(children));
    fact("h step flushed %d", !traced || forkspan_flush(3000));
    if (traced) {
        fact("n step %d", n);
        if (children < FLUSH_STEPS / 3)
            fact("h step forked %d times only", children);
    }
}

void step_as(pid_t (*how)(void))
{
    begin(how);
    if (pipe(gate) != 0)
        _exit(93);
    unsigned n = 0;
    int all = 0, steps = 0, children = 0;
    end_next(&n, INT_MAX, &all);
    for (int at = 1; at < all; at += EVERY) {
        end_next(&n, at, &steps);
        if (in_child)
            _exit(CODE);
        children += step > fork_at;
    }
    while (n % FLUSH_EVERY != 0 || n < ROUND)
        end_next(&n, 0, NULL);
    for (int i = 0; i < UNSENT; i++) { /* no flush among them */
        char name[32];
        snprintf(name, sizeof name, "step-%u", n++);
        end_span(name);
    }
    close(gate[1]);
    int wrong = reap_wrong(children);
    close(gate[0]);
    fact("h step wrong %d", wrong);
    fact("h step flushed %d", !traced || forkspan_flush(3000));
    if (traced) {
        fact("n step %u", n);
        if (children < CHILDREN)
            fact("h step forked %d times only", children);
    }
}

#else
/* The runner says that it needs x86-64. */
void step_as(pid_t (*how)(void))
{
    (void)how;
}

void step_flush_as(pid_t (*how)(void))
{
    (void)how;
}
#endif
