/* SPDX-License-Identifier: Apache-2.0
 * libwrap.c - an application's library that wraps fork itself and registers handlers; and, where it comes
 * first of all (initfirst), handlers that run inside ours: its prepare handler then forks
 * (FORK_IN_PREPARE=1).
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool forking;

static void prepare(void)
{
    const char *wanted = getenv("FORK_IN_PREPARE");
    if (!wanted || *wanted != '1' || forking)
        return;
    forking = true;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    forking = false;
}

static void nothing(void)
{
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(prepare, nothing, nothing);
}

#ifdef WRAP_FORK
__attribute__((visibility("default"))) pid_t fork(void)
{
    static pid_t (*real)(void);
    if (!real)
        real = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
    pid_t pid = real();
    return pid;
}
#endif
