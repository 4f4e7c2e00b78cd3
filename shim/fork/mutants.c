/* SPDX-License-Identifier: Apache-2.0
 * mutants.c - only in builds with -Dtest_knobs=true: mistakes that the design avoids, for the tests that show
 * why.
 */
#include "batch/rest.h"
#include "fork/knobs.h"
#include "process_fork.h"

#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

/* Wrappers that hold where nothing is to be held: every subprocess pays for the batch thread. */
static uint32_t hold(void)
{
    return KNOB_OFF(pass_spawn) ? rest_hold(process_fork_wait_ms()) : REST_NO_THREAD;
}

EXPORT int posix_spawn(pid_t *restrict pid, const char *restrict path,
                       const posix_spawn_file_actions_t *restrict actions,
                       const posix_spawnattr_t *restrict attributes, char *const argv[restrict],
                       char *const envp[restrict])
{
    __typeof__(&posix_spawn) real = (__typeof__(&posix_spawn))dlsym(RTLD_NEXT, "posix_spawn");
    uint32_t token = hold();
    int result = real(pid, path, actions, attributes, argv, envp);
    rest_release(token);
    return result;
}

EXPORT int system(const char *command)
{
    __typeof__(&system) real = (__typeof__(&system))dlsym(RTLD_NEXT, "system");
    uint32_t token = hold();
    int result = real(command);
    rest_release(token);
    return result;
}

EXPORT FILE *popen(const char *command, const char *type)
{
    __typeof__(&popen) real = (__typeof__(&popen))dlsym(RTLD_NEXT, "popen");
    uint32_t token = hold();
    FILE *f = real(command, type);
    rest_release(token);
    return f;
}
