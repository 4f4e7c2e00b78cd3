/* SPDX-License-Identifier: Apache-2.0
 * wait.c - the wait family: the real call, then a look at whoever has died; errno kept; nothing else on the
 * page. They stay cancellation points and async-signal-safe: nothing is held across the real call.
 *
 * A call that has reaped a consumer of ours (it can, where orphans come to this process) is made again.
 */
#include "io/export.h"
#include "next.h"
#include "process_fork.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

pid_t __waitpid(pid_t, int *, int);

EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
    for (;;) {
        int how = 0;
        pid_t got = __waitpid(pid, &how, options);
        if (process_waited(got > 0 && !WIFSTOPPED(how) && !WIFCONTINUED(how) ? got : 0, how))
            continue;
        if (got > 0 && status)
            *status = how;
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
        int how = 0;
        pid_t got = NEXT(wait4)(pid, &how, options, usage);
        if (process_waited(got > 0 && !WIFSTOPPED(how) && !WIFCONTINUED(how) ? got : 0, how))
            continue;
        if (got > 0 && status)
            *status = how;
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
        int rc = NEXT(waitid)(kind, id, told, options);
        /* A child that is only looked at is still to be reaped; where WNOHANG found nobody, the pid is 0. */
        int status;
        bool ended = rc == 0 && ended_how(told, &status);
        if (process_waited(ended && !(options & WNOWAIT) ? told->si_pid : 0, ended ? status : 0))
            continue;
        return rc;
    }
}
