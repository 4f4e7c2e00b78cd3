/* SPDX-License-Identifier: Apache-2.0
 *
 * A process that ends itself by a signal's default action has no exit path: uvicorn and hypercorn stop
 * gracefully, take their handler away and raise the signal once more; php-fpm and node do the same. Its spans
 * leave before that, as at an exit. Where others of its tree export, that is their work, and costs nothing
 * here.
 *
 * Not for signals that report a fault or a failed assertion: there nothing of the process can be relied on,
 * and what it had finished lies in the arena.
 *
 * The system calls are made here: both functions may be called in a signal handler, where none is looked up.
 */
#include "io/export.h"
#include "process.h"
#include "process_fork.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* This thread's sending `sig` to itself ends the process, quietly. */
static bool ends_us(int sig)
{
    switch (sig) {
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT:
    case SIGUSR1:
    case SIGUSR2:
    case SIGALRM:
    case SIGPIPE:
        break;
    default:
        return false;
    }
    struct sigaction now;
    sigset_t mask;
    return sigaction(sig, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL &&
           pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, sig) == 0 &&
           getpid() != 1; /* the first process of a container lives on */
}

static void leave_if(int sig)
{
    int saved = errno;
    if (process_has_arena() && !process_own_thread() && ends_us(sig))
        process_exit();
    errno = saved;
}

EXPORT int raise(int sig)
{
    leave_if(sig);
    return (int)syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), sig);
}

EXPORT int kill(pid_t pid, int sig)
{
    if (pid > 0 && process_has_arena() && pid == getpid())
        leave_if(sig);
    return (int)syscall(SYS_kill, pid, sig);
}
