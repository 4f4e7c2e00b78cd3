/* SPDX-License-Identifier: Apache-2.0
 * syscall.S - syscall(number, ...): SYS_close is told to our table, everything jumps on to libc's.
 *
 * In assembly, because the arguments of a variadic call must reach libc as they are, whatever their number.
 */
#if defined(__x86_64__)

#define SYS_close 3

    .text
    .globl syscall
    .type syscall, @function
    .p2align 4
syscall:
    .cfi_startproc
    endbr64
    cmpq $SYS_close, %rdi
    je 2f
1:  movq syscall_next_function(%rip), %r11
    testq %r11, %r11
    je 3f
    jmp *%r11
2:  pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    movslq %esi, %rdi
    call close_by_syscall
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    jmp 1b
3:  pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    pushq %rdx
    .cfi_adjust_cfa_offset 8
    pushq %rcx
    .cfi_adjust_cfa_offset 8
    pushq %r8
    .cfi_adjust_cfa_offset 8
    pushq %r9
    .cfi_adjust_cfa_offset 8
    pushq %rax
    .cfi_adjust_cfa_offset 8
    call syscall_resolve
    popq %rax
    .cfi_adjust_cfa_offset -8
    popq %r9
    .cfi_adjust_cfa_offset -8
    popq %r8
    .cfi_adjust_cfa_offset -8
    popq %rcx
    .cfi_adjust_cfa_offset -8
    popq %rdx
    .cfi_adjust_cfa_offset -8
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    jmp *syscall_next_function(%rip)
    .cfi_endproc
    .size syscall, .-syscall

    .section .note.gnu.property, "a"
    .p2align 3
    .long 4
    .long 16
    .long 5
    .asciz "GNU"
    .long 0xc0000002 /* GNU_PROPERTY_X86_FEATURE_1_AND */
    .long 4
    .long 3 /* IBT, SHSTK */
    .long 0

#elif defined(__aarch64__)

#define SYS_close 57

    .text
    .globl syscall
    .type syscall, %function
    .p2align 4
syscall:
    .cfi_startproc
    hint #34 /* bti c */
    cmp x0, #SYS_close
    b.eq 2f
1:  adrp x16, syscall_next_function
    ldr x16, [x16, #:lo12:syscall_next_function]
    cbz x16, 3f
    br x16
2:  stp x29, x30, [sp, #-32]!
    .cfi_def_cfa_offset 32
    .cfi_offset 29, -32
    .cfi_offset 30, -24
    stp x0, x1, [sp, #16]
    sxtw x0, w1
    bl close_by_syscall
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #32
    .cfi_restore 29
    .cfi_restore 30
    .cfi_def_cfa_offset 0
    b 1b
3:  stp x29, x30, [sp, #-80]!
    .cfi_def_cfa_offset 80
    .cfi_offset 29, -80
    .cfi_offset 30, -72
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    bl syscall_resolve
    ldp x6, x7, [sp, #64]
    ldp x4, x5, [sp, #48]
    ldp x2, x3, [sp, #32]
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #80
    .cfi_restore 29
    .cfi_restore 30
    .cfi_def_cfa_offset 0
    adrp x16, syscall_next_function
    ldr x16, [x16, #:lo12:syscall_next_function]
    br x16
    .cfi_endproc
    .size syscall, .-syscall

#else
#error "write syscall() for this machine"
#endif

    .section .note.GNU-stack, "", %progbits
