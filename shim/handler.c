/* SPDX-License-Identifier: Apache-2.0 */
#include "handler.h"
#include "raw.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { SIGNALS = 64, WORD_OF_SIGNALS = sizeof(uint64_t), PAGE = 4096, LOOKED_AT = 256 * PAGE };

/* As the kernel has it, on both machines: libc does not tell the restorer. */
struct kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};
_Static_assert(sizeof(struct kernel_action) == 32, "the kernel fills it");

static bool action_of(int sig, struct kernel_action *action)
{
    return raw_syscall5(SYS_rt_sigaction, sig, 0, (long)(uintptr_t)action, WORD_OF_SIGNALS, 0) == 0;
}

/* The kernel copies the set before it finds that there is no such way to change the mask. */
static bool readable(uintptr_t page)
{
    enum { NO_SUCH_WAY = -1 };
    static const long bad_address = -14;
    return raw_syscall5(SYS_rt_sigprocmask, NO_SUCH_WAY, (long)page, 0, WORD_OF_SIGNALS, 0) != bad_address;
}

/* Where a handler returns to. x86-64: code that whoever installed the handler gave the kernel; libc gives the
 * same for all, and sigaction() leaves that address on the stack, so what the kernel puts beside it is looked
 * at, too. aarch64: the vdso's. */
#ifdef __x86_64__
typedef uintptr_t return_place;
static return_place place_of(const struct kernel_action *action)
{
    enum { HAS_RESTORER = 0x04000000 };
    return action->flags & HAS_RESTORER ? action->restorer : 0;
}
__attribute__((no_sanitize("address"))) static bool returns_to(return_place place, const uintptr_t *at)
{
    enum { CODE_64 = 0x33, ALIGNED = 16 };
    const ucontext_t *interrupted = (const ucontext_t *)(at + 1);
    return *at == place && (uintptr_t)interrupted % ALIGNED == 0 &&
           readable((uintptr_t)&interrupted->uc_mcontext.gregs[REG_CSGSFS]) && interrupted->uc_link == NULL &&
           (interrupted->uc_mcontext.gregs[REG_CSGSFS] & 0xffff) == CODE_64;
}
#else
#include <sys/auxv.h>
typedef uintptr_t return_place;
static return_place place_of(const struct kernel_action *action)
{
    (void)action;
    return getauxval(AT_SYSINFO_EHDR);
}
__attribute__((no_sanitize("address"))) static bool returns_to(return_place vdso, const uintptr_t *at)
{
    static const uint32_t sigreturn[] = {0xd2801168, 0xd4000001}; /* mov x8, #__NR_rt_sigreturn; svc #0 */
    enum { VDSO = 4 * PAGE };
    const uintptr_t word = *at;
    if (word % sizeof *sigreturn || word < vdso || word >= vdso + VDSO || !readable(word) ||
        !readable(word + sizeof sigreturn))
        return false;
    const uint32_t *code = (const uint32_t *)word;
    return code[0] == sigreturn[0] && code[1] == sigreturn[1];
}
#endif

/* A signal with a handler that may run in this thread: it is blocked meanwhile, unless its owner said
 * otherwise. Of one that is reset when it comes the handler is gone. */
static return_place may_run(int sig, uint64_t blocked)
{
    struct kernel_action action = {0};
    bool off = (blocked >> (sig - 1) & 1) == 0;
    if (!action_of(sig, &action))
        return 0;
    bool handled = action.handler > 1 || action.flags & SA_RESETHAND;
    return handled && !(off && !(action.flags & SA_NODEFER)) ? place_of(&action) : 0;
}

/* Any word of this thread's stack from `frame` on, whoever's it is. */
__attribute__((no_sanitize("address"))) static bool on_stack(return_place place, uintptr_t frame)
{
    uintptr_t at = frame & ~(uintptr_t)(sizeof at - 1);
    for (const uintptr_t end = at + LOOKED_AT; at < end && readable(at & ~(uintptr_t)(PAGE - 1));)
        do {
            if (returns_to(place, (const uintptr_t *)at))
                return true;
            at += sizeof at;
        } while (at % PAGE != 0);
    return false;
}

__attribute__((noinline)) bool in_signal_handler(void)
{
    const uintptr_t frame = (uintptr_t)__builtin_frame_address(0); /* below it are our own variables */
    uint64_t blocked = 0;
    return_place last = 0;
    raw_syscall5(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)(uintptr_t)&blocked, WORD_OF_SIGNALS, 0);
    for (int sig = 1; sig <= SIGNALS; sig++) {
        return_place place = may_run(sig, blocked);
        if (place && place != last && on_stack(place, frame))
            return true;
        last = place ? place : last;
    }
    return false;
}
