/* SPDX-License-Identifier: Apache-2.0 */
#include "config/program.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define COMM 16u /* TASK_COMM_LEN */

/* A server that has given itself a title has "name: what it does" there. */
static bool comm_is(const char *comm, const char *name)
{
    size_t n = strnlen(name, COMM - 1);
    return strncmp(comm, name, n) == 0 && (n == COMM - 1 || !comm[n] || comm[n] == ':' || comm[n] == ' ');
}

bool program_named(const char *const *only, const char *comm, const char *executable, const char *called)
{
    for (; *only; only++)
        if (comm_is(comm, *only) || strcmp(*only, executable) == 0 || strcmp(*only, called) == 0)
            return true;
    return false;
}

bool program_wanted(const char *const *only)
{
    if (!only)
        return true;
    char comm[COMM] = "", path[256];
    prctl(PR_GET_NAME, comm);
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    const char *slash = strrchr(path, '/'), *executable = slash ? slash + 1 : path;
    return program_named(only, comm, executable, program_invocation_short_name);
}
