/* SPDX-License-Identifier: Apache-2.0
 * init.c - everything that starts and stops, in order.
 */
#include "config/config.h"
#include "fork/generation.h"
#include "fork/protocol.h"
#include "log.h"
#include "next.h"
#include "process_fork.h"

#include <errno.h>

/* First of all constructors where -z initfirst is ours; correct where it is not. Opens nothing, starts
 * nothing: it runs in every `sh -c` of the host. */
__attribute__((constructor)) static void start(int argc, char **argv, char **environ_now)
{
    (void)argc;
    (void)argv;
    int keep = errno; /* main() finds 0 there */
    config_capture(environ_now);
    generation_init();
    log_init();
    /* fork may first be called in a signal handler, where dlsym must not be */
    next_resolve(NEXT_fork);
    next_resolve(NEXT__Fork);
    fork_protocol_init();
    errno = keep;
}

__attribute__((destructor)) static void stop(void)
{
    process_exit();
}
