/* SPDX-License-Identifier: Apache-2.0
 * fork.c - how long fork() takes in the parent, and what vfork and posix_spawn execute; bench/fork.py
 * compares.
 *
 *     fork single|listens|exporting N     prints the median of N calls of fork(), in nanoseconds
 *     fork vfork|spawn N                  makes N children; for a program that counts instructions
 */
#include "forkspan.h"

#include <netinet/in.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static _Atomic bool done;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void *end_spans(void *arg)
{
    (void)arg;
    while (!atomic_load(&done)) {
        for (int i = 0; i < 64; i++)
            forkspan_end(forkspan_start("bench", FORKSPAN_INTERNAL, FORKSPAN_ROOT));
        usleep(1000);
    }
    return NULL;
}

/* Behind every wrapper: its instructions are not what is counted. */
static void reap(pid_t pid)
{
#ifdef __x86_64__
    register long fourth __asm__("r10") = 0;
    long result = SYS_wait4;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"((long)pid), "S"(0L), "d"(0L), "r"(fourth)
                     : "rcx", "r11", "memory");
#else
    waitpid(pid, NULL, 0);
#endif
}

static int children(const char *mode, unsigned n)
{
    for (volatile unsigned i = 0; i < n; i++) {
        volatile pid_t pid = -1;
        if (mode[0] == 'v') {
            pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what is measured
            if (pid == 0)
                _exit(0);
        } else {
            static char name[] = "true";
            char *const argv[] = {name, NULL};
            if (posix_spawn((pid_t *)(uintptr_t)&pid, "/bin/true", NULL, NULL, argv, environ) != 0)
                return 1;
        }
        reap(pid);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "single";
    unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 500;
    if (mode[0] == 'v' || mode[1] == 'p')
        return children(mode, n);
    /* As much memory as a small interpreter has: page tables are most of what a fork copies. */
    size_t size = 32u << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; memory != MAP_FAILED && i < size; i += 4096)
        memory[i] = 1;
    if (mode[0] == 'l') {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0)
            return 1;
    }
    pthread_t threads[2];
    if (mode[0] == 'e') {
        forkspan_end(forkspan_start("first", FORKSPAN_INTERNAL, FORKSPAN_ROOT));
        forkspan_flush(5000);
        for (int i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, end_spans, NULL);
    }
    uint64_t *took = calloc(n, sizeof *took);
    for (unsigned i = 0; i < n; i++) {
        uint64_t began = now();
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        took[i] = now() - began;
        waitpid(pid, NULL, 0);
    }
    atomic_store(&done, true);
    qsort(took, n, sizeof *took, by_value);
    printf("%llu\n", (unsigned long long)took[n / 2]);
    fflush(stdout);
    _exit(0);
}
