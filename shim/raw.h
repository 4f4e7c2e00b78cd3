/* SPDX-License-Identifier: Apache-2.0
 * raw.h - a system call without libc: no lazy binding, no errno. For what may run in a fork's or vfork's
 * child before anything else of ours has.
 */
#ifndef FORKSPAN_RAW_H
#define FORKSPAN_RAW_H

/* Returns what the kernel does: -errno on failure. */
static inline long raw_syscall5(long number, long a, long b, long c, long d, long e)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#else
#error "forkspan supports x86-64 and aarch64"
#endif
}

#endif
