/* SPDX-License-Identifier: Apache-2.0 */
#include "die.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void leave_no_core(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

int die_hang(void *unused)
{
    (void)unused;
    leave_no_core();
    for (;;)
        pause();
}

int die_abort(void *unused)
{
    (void)unused;
    leave_no_core();
    abort();
}

int die_exit(void *unused)
{
    (void)unused;
    _exit(7);
}

int die_exec(void *unused)
{
    (void)unused;
    execl("/bin/true", "true", (char *)NULL);
    _exit(99);
}

static void *more_memory(void)
{
    enum { STEP = 1 << 20 };
    void *p = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : memset(p, 1, STEP);
}

int die_rlimit(void *unused)
{
    struct rlimit limit = {64 << 20, 64 << 20};
    setrlimit(RLIMIT_AS, &limit);
    while (more_memory())
        ;
    return die_abort(unused);
}

/* Slowly: the limit that it is to run into is put around it meanwhile. */
int die_grow(void *unused)
{
    const struct timespec pause = {0, 2000000};
    while (more_memory())
        nanosleep(&pause, NULL);
    return die_exit(unused);
}
