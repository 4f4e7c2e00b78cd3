/* SPDX-License-Identifier: Apache-2.0
 * init.c - everything that starts and stops, in order.
 */
#include "config/config.h"
#include "fork/generation.h"
#include "fork/knobs.h"
#include "fork/protocol.h"
#include "log.h"
#include "next.h"
#include "process.h"
#include "process_fork.h"

#include <errno.h>
#include <unistd.h>

/* First of all constructors where -z initfirst is ours; correct where it is not. Opens nothing, starts
 * nothing: it runs in every `sh -c` of the host. */
__attribute__((constructor)) static void start(int argc, char **argv, char **environ_now)
{
    (void)argc;
    (void)argv;
#ifndef __GLIBC__
    environ_now = environ; /* musl calls constructors without arguments */
#endif
    int keep = errno; /* main() finds 0 there */
    KNOBS_INIT(environ_now);
    config_capture(environ_now);
    generation_init();
    log_init();
    /* fork may first be called in a signal handler, where dlsym must not be */
    next_resolve(NEXT_fork);
    next_resolve(NEXT__Fork);
    fork_protocol_init();
    if (!KNOB_OFF(start_errno))
        errno = keep;
}

/* OTEL_LOG_LEVEL=debug: what this process has seen. Said after process_exit: whoever says it, and did not say
 * there that it leaves in the middle of a batch, has none under way that another may have to send again. */
static void tell(void)
{
    unsigned long long started = process_counted(COUNT_STARTED), unsure = process_counted(COUNT_UNSURE);
    if (started || unsure)
        log_debug("process %d at exit: started %llu, queued %llu, dropped %llu, unsure %llu, no_room %llu",
                  (int)getpid(), started, (unsigned long long)process_counted(COUNT_QUEUED),
                  (unsigned long long)process_counted(COUNT_DROPPED), unsure,
                  (unsigned long long)process_counted(COUNT_NO_ROOM));
}

__attribute__((destructor)) static void stop(void)
{
    process_exit();
    tell();
}
