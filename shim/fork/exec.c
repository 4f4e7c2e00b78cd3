/* SPDX-License-Identifier: Apache-2.0
 * exec.c - the exec family: before, the real call, after a failure; errno kept; nothing else on the page.
 *
 * execve and execv are plain system calls here, so that the first one in a child needs no symbol looked up.
 */
#include "io/export.h"
#include "next.h"
#include "process_fork.h"
#include "raw.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static int result(long r)
{
    if (r >= 0)
        return (int)r;
    errno = (int)-r;
    return -1;
}

static int real_execve(const char *path, char *const argv[], char *const env[])
{
    return result(raw_syscall5(SYS_execve, (long)path, (long)argv, (long)env, 0, 0));
}

#define AROUND(call_it)                                                                                      \
    struct process_exec call;                                                                                \
    process_exec_before(&call);                                                                              \
    int rc = call_it;                                                                                        \
    process_exec_failed(&call);                                                                              \
    return rc

EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
    AROUND(real_execve(path, argv, env));
}

EXPORT int execv(const char *path, char *const argv[])
{
    AROUND(real_execve(path, argv, environ));
}

EXPORT int execvp(const char *file, char *const argv[])
{
    AROUND(NEXT(execvp)(file, argv));
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
    AROUND(NEXT(execvpe)(file, argv, env));
}

EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
    AROUND(NEXT(fexecve)(fd, argv, env));
}

EXPORT int execveat(int dir, const char *path, char *const argv[], char *const env[], int flags)
{
    AROUND(result(raw_syscall5(SYS_execveat, dir, (long)path, (long)argv, (long)env, flags)));
}

/* How many arguments, with the NULL. */
static size_t count(const char *arg, va_list ap)
{
    size_t n = 1;
    for (const char *s = arg; s; n++)
        s = va_arg(ap, const char *);
    return n;
}

static void gather(char **argv, const char *arg, va_list ap)
{
    for (*argv++ = (char *)(uintptr_t)arg; arg; *argv++ = (char *)(uintptr_t)arg)
        arg = va_arg(ap, const char *);
}

/* The arguments as a vector, on the stack as libc has them: these may run in a child where malloc must not.
 */
#define GATHERED                                                                                             \
    va_list ap;                                                                                              \
    va_start(ap, arg);                                                                                       \
    size_t n = count(arg, ap);                                                                               \
    va_end(ap);                                                                                              \
    char *argv[n];                                                                                           \
    va_start(ap, arg);                                                                                       \
    gather(argv, arg, ap);

EXPORT int execl(const char *path, const char *arg, ...)
{
    GATHERED
    va_end(ap);
    return execv(path, argv);
}

EXPORT int execlp(const char *file, const char *arg, ...)
{
    GATHERED
    va_end(ap);
    return execvp(file, argv);
}

EXPORT int execle(const char *path, const char *arg, ...)
{
    GATHERED
    char *const *env = va_arg(ap, char *const *);
    va_end(ap);
    return execve(path, argv, env);
}
