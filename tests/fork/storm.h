/* SPDX-License-Identifier: Apache-2.0
 * storm.h - the watchdog of the fork storms.
 */
#ifndef FORKSPAN_TESTS_STORM_H
#define FORKSPAN_TESTS_STORM_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Waits for the child, at most timeout_ms. A child that hangs is shown (FORKSPAN_STACKS=1: stacks of all its
 * threads by gdb, on stderr), killed and reaped; then false. *status: as wait has it. */
static inline bool child_status(pid_t pid, int timeout_ms, int *status)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool ended = poll(&p, 1, timeout_ms) == 1;
    if (fd >= 0)
        close(fd);
    if (!ended) {
        if (getenv("FORKSPAN_STACKS")) {
            char command[160];
            snprintf(command, sizeof command,
                     "LD_PRELOAD= gdb -p %d -batch -ex 'thread apply all bt' >&2 2>/dev/null", (int)pid);
            if (system(command) != 0)
                fprintf(stderr, "child %d hangs; gdb shows nothing\n", (int)pid);
        }
        kill(pid, SIGKILL);
    }
    waitpid(pid, status, 0);
    return ended;
}

static inline bool child_ended(pid_t pid, int timeout_ms)
{
    int status;
    return child_status(pid, timeout_ms, &status);
}

#endif
