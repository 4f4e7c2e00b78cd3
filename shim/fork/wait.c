/* SPDX-License-Identifier: Apache-2.0
 * wait.c - the wait family: the real call, then a look at whoever has died; errno kept; nothing else on the
 * page. They stay cancellation points and async-signal-safe: nothing is held across the real call.
 *
 * A call that has reaped a consumer of ours (it can, where orphans come to this process) is made again.
 */
#include "io/export.h"
#include "next.h"
#include "process_fork.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

pid_t __waitpid(pid_t, int *, int);

/* A wait for any child, where the only ones are consumers of ours, does not wait: one of them stays as long
 * as the host. */
static int how(bool any, int options)
{
    return any && !(options & WNOHANG) && process_childless() ? options | WNOHANG : options;
}

/* Such a wait has found nobody: to the host there is none. */
static bool nobody(bool any, long got)
{
    if (!any || got != 0 || !process_childless())
        return false;
    errno = ECHILD;
    return true;
}

EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
    for (;;) {
        int end = 0;
        pid_t got = __waitpid(pid, &end, how(pid == -1, options));
        if (process_waited(got > 0 && !WIFSTOPPED(end) && !WIFCONTINUED(end) ? got : 0, end))
            continue;
        if (nobody(pid == -1, got))
            return -1;
        if (got == 0 && !(options & WNOHANG))
            continue; /* it has others again */
        if (got > 0 && status)
            *status = end;
        return got;
    }
}

EXPORT pid_t wait(int *status)
{
    return waitpid(-1, status, 0);
}

EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    for (;;) {
        int end = 0;
        pid_t got = NEXT(wait4)(pid, &end, how(pid == -1, options), usage);
        if (process_waited(got > 0 && !WIFSTOPPED(end) && !WIFCONTINUED(end) ? got : 0, end))
            continue;
        if (nobody(pid == -1, got))
            return -1;
        if (got == 0 && !(options & WNOHANG))
            continue;
        if (got > 0 && status)
            *status = end;
        return got;
    }
}

EXPORT pid_t wait3(int *status, int options, struct rusage *usage)
{
    return wait4(-1, status, options, usage);
}

/* As a wait status; false where the child goes on. */
static bool ended_how(const siginfo_t *info, int *status)
{
    *status = info->si_code == CLD_EXITED ? (info->si_status & 0xff) << 8 : info->si_status & 0x7f;
    return info->si_code == CLD_EXITED || info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
}

EXPORT int waitid(idtype_t kind, id_t id, siginfo_t *info, int options)
{
    for (;;) {
        siginfo_t own = {0};
        siginfo_t *told = info ? info : &own;
        int rc = NEXT(waitid)(kind, id, told, how(kind == P_ALL, options));
        /* A child that is only looked at is still to be reaped; where WNOHANG found nobody, the pid is 0. */
        int status;
        bool ended = rc == 0 && told->si_pid != 0 && ended_how(told, &status);
        if (process_waited(ended && !(options & WNOWAIT) ? told->si_pid : 0, ended ? status : 0))
            continue;
        if (rc == 0 && nobody(kind == P_ALL, told->si_pid))
            return -1;
        if (rc == 0 && told->si_pid == 0 && !(options & WNOHANG))
            continue;
        return rc;
    }
}
