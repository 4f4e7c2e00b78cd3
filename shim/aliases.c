/* SPDX-License-Identifier: Apache-2.0
 * aliases.c - the aliases in libc that the other files call, where libc has none: glibc exports __send on
 * some machines only, musl none at all (docs/portability.md).
 */
#include "next.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#if !defined(__GLIBC__) || !defined(__x86_64__)
ssize_t __send(int fd, const void *p, size_t n, int flags)
{
    static __typeof__(&send) real;
    if (!real)
        real = REAL(send);
    return real(fd, p, n, flags);
}
#endif

#ifndef __GLIBC__
ssize_t __read(int fd, void *p, size_t n)
{
    static __typeof__(&read) real;
    if (!real)
        real = REAL(read);
    return real(fd, p, n);
}

ssize_t __write(int fd, const void *p, size_t n)
{
    static __typeof__(&write) real;
    if (!real)
        real = REAL(write);
    return real(fd, p, n);
}

int __close(int fd)
{
    static __typeof__(&close) real;
    if (!real)
        real = REAL(close);
    return real(fd);
}

int __fcntl(int fd, int what, ...)
{
    static __typeof__(&fcntl) real;
    if (!real)
        real = REAL(fcntl);
    va_list ap;
    va_start(ap, what);
    unsigned long argument = va_arg(ap, unsigned long);
    va_end(ap);
    return real(fd, what, argument);
}

pid_t __waitpid(pid_t pid, int *status, int options)
{
    static __typeof__(&waitpid) real;
    if (!real)
        real = REAL(waitpid);
    return real(pid, status, options);
}

/* vfork.S goes on here: the return address lies in a register while the child uses the stack. */
__attribute__((used, visibility("hidden"))) long musl_vfork_result(long r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

#ifdef __x86_64__
__asm__(".text\n"
        ".globl __vfork\n"
        ".hidden __vfork\n"
        ".type __vfork, @function\n"
        "__vfork:\n"
        "    popq %rdx\n"
        "    movl $58, %eax\n"
        "    syscall\n"
        "    pushq %rdx\n"
        "    movq %rax, %rdi\n"
        "    jmp musl_vfork_result\n"
        ".size __vfork, .-__vfork\n");
#endif
#endif
