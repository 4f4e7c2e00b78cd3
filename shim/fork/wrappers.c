/* SPDX-License-Identifier: Apache-2.0
 * wrappers.c - before, the real call, after; errno kept; nothing else on the page.
 */
#include "fork/knobs.h"
#include "fork/protocol.h"
#include "fork/python.h"
#include "next.h"
#include "process_fork.h"
#include "tls.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT pid_t fork(void)
{
    struct fork_call call;
    struct python_fork python;
    int keep = errno;
    python_before_fork(&python, __builtin_return_address(0));
    fork_before(&call, true);
    errno = keep;
    pid_t pid = NEXT(fork)();
    keep = errno;
    if (pid == 0) {
        fork_after_child(&call, true);
        python_after_fork_child(&python);
        process_eager();
    } else {
        if (pid > 0 || !KNOB_OFF(failed_fork))
            fork_after_parent(&call, pid);
        python_after_fork_parent(&python);
    }
    errno = keep;
    return pid;
}

EXPORT extern __typeof__(fork) __fork __attribute__((nothrow, alias("fork")));

EXPORT pid_t _Fork(void)
{
    struct fork_call call;
    int keep = errno;
    fork_before(&call, false);
    errno = keep;
    /* glibc before 2.34 has no _Fork; then nothing was linked against it, and fork is the nearest there is */
    pid_t pid = NEXT(_Fork) ? NEXT(_Fork)() : NEXT(fork)();
    keep = errno;
    if (pid == 0)
        fork_after_child(&call, false);
    else
        fork_after_parent(&call, pid);
    errno = keep;
    return pid;
}

struct clone_start {
    int (*fn)(void *);
    void *arg;
    struct fork_call *call;
};

/* On the child's stack, which may have 16 KiB or less: no thread is started here. */
static int clone_child(void *start)
{
    const struct clone_start *s = start;
    int keep = errno;
    if (!KNOB_OFF(vfork_release))
        fork_after_parent(s->call,
                          0); /* the hold is on a shared page: a CLONE_VFORK parent sleeps until we go on */
    fork_after_child(s->call, false);
    errno = keep;
    /* A clone's child that returns ends its thread only; with a helper thread of ours it would stay for ever.
     */
    if (KNOB_OFF(clone_exit))
        return s->fn(s->arg);
    _exit(s->fn(s->arg));
}

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    /* as many as the flags say were passed */
    pid_t *parent_tid = NULL, *child_tid = NULL;
    void *thread_area = NULL;
    va_list ap;
    va_start(ap, arg);
    if (flags &
        (CLONE_PARENT_SETTID | CLONE_PIDFD | CLONE_SETTLS | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID))
        parent_tid = va_arg(ap, pid_t *);
    if (flags & (CLONE_SETTLS | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID))
        thread_area = va_arg(ap, void *);
    if (flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID))
        child_tid = va_arg(ap, pid_t *);
    va_end(ap);

    if (flags & CLONE_VM && !KNOB_OFF(pass_vm)) {
        /* It runs in our memory: nothing is held and nothing reset. The mark keeps its I/O off our tables. */
        uint32_t before = tls.vfork_mark;
        if (flags &
            CLONE_VFORK) /* in a new pid namespace ids say nothing: no one is the parent until it is back */
            tls.vfork_mark = flags & CLONE_NEWPID ? UINT32_MAX : (uint32_t)syscall(SYS_gettid);
        int pid = NEXT(clone)(fn, stack, flags, arg, parent_tid, thread_area, child_tid);
        tls.vfork_mark = before;
        return pid;
    }
    struct fork_call call;
    struct clone_start start = {fn, arg, &call};
    int keep = errno;
    fork_before(&call, false);
    errno = keep;
    call.shares_files = flags & CLONE_FILES && !KNOB_OFF(shares_files);
    int pid = NEXT(clone)(clone_child, stack, flags, &start, parent_tid, thread_area, child_tid);
    keep = errno;
    if (!(flags & CLONE_VFORK) || pid < 0)
        fork_after_parent(&call, pid);
    else
        fork_after_vfork(&call, pid);
    errno = keep;
    return pid;
}

EXPORT extern __typeof__(clone) __clone __attribute__((nothrow, leaf, alias("clone")));
