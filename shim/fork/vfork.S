/* SPDX-License-Identifier: Apache-2.0
 * vfork.S - a vfork wrapper can not be C: its frame would be left twice. The caller's thread id as a mark (fork/vfork.c
 * reads it), and a tail jump to libc's own.
 */
#include <sys/syscall.h>

    .text
    .globl vfork
#if defined(__x86_64__)
    .type vfork, @function
vfork:
    endbr64
    movl $SYS_gettid, %eax
    syscall
    movq tls@gottpoff(%rip), %rcx
    movl %eax, %fs:(%rcx)
    jmp __vfork@PLT
#elif defined(__aarch64__)
    .type vfork, %function
vfork:
    mov x8, #SYS_gettid
    svc #0
    mrs x9, tpidr_el0
    adrp x10, :gottprel:tls
    ldr x10, [x10, #:gottprel_lo12:tls]
    str w0, [x9, x10]
    b __vfork
#else
#error "forkspan supports x86-64 and aarch64"
#endif
    .size vfork, .-vfork
    .section .note.GNU-stack, "", %progbits
