/* SPDX-License-Identifier: Apache-2.0 */
#include "handler.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

enum { ON_STACK = 1 << 16 };

/* What is said in a handler: on aarch64 it is known by the vdso's code, and qemu-user may have no vdso. */
#ifdef __aarch64__
#include <sys/auxv.h>
#define IN_HANDLER (getauxval(AT_SYSINFO_EHDR) != 0)
#else
#define IN_HANDLER 1
#endif

static volatile sig_atomic_t said;
static sigjmp_buf out;

static void ask(int sig)
{
    (void)sig;
    said = in_signal_handler();
}

static void ask_and_leave(int sig)
{
    ask(sig);
    siglongjmp(out, 1);
}

static void install(int sig, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    cr_assert_eq(sigaction(sig, &action, NULL), 0);
}

/* Looks from a frame that has what lay there before all over its variables. */
__attribute__((noinline)) static bool ask_over_remains(void)
{
    char unwritten[8192];
    __asm__ volatile("" : : "r"(unwritten) : "memory");
    return in_signal_handler();
}

Test(handler, ordinary_code_is_none)
{
    cr_assert_not(in_signal_handler());
    install(SIGUSR1, ask, 0);
    cr_assert_not(in_signal_handler());
}

/* libc's sigaction() leaves a handler's return address on the stack, and a handler that may nest, or whose
 * signal is blocked, could be running. */
Test(handler, what_sigaction_leaves_on_the_stack_is_none)
{
    install(SIGUSR1, ask, SA_NODEFER);
    cr_assert_not(ask_over_remains());
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    install(SIGUSR2, ask, 0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    install(SIGUSR2, ask, SA_RESTART);
    cr_assert_not(ask_over_remains());
}

Test(handler, a_handler_is_one)
{
    static const int flags[] = {0, SA_NODEFER, SA_RESETHAND, SA_SIGINFO, SA_NODEFER | SA_RESETHAND};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        install(SIGUSR1, ask, flags[i]);
        said = -1;
        raise(SIGUSR1);
        cr_assert_eq(said, IN_HANDLER, "with flags %#x", (unsigned)flags[i]);
        cr_assert_not(in_signal_handler());
    }
}

Test(handler, a_handler_on_a_stack_of_its_own_is_one)
{
    static char stack[ON_STACK];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    cr_assert_eq(sigaltstack(&own, NULL), 0);
    install(SIGUSR1, ask, SA_ONSTACK);
    said = -1;
    raise(SIGUSR1);
    cr_assert_eq(said, IN_HANDLER);
    cr_assert_not(in_signal_handler());
}

Test(handler, one_that_was_left_by_a_jump_is_none)
{
    install(SIGUSR1, ask_and_leave, 0);
    said = -1;
    if (sigsetjmp(out, 1) == 0)
        raise(SIGUSR1);
    cr_assert_eq(said, IN_HANDLER);
    cr_assert_not(in_signal_handler());
}

static void *in_thread(void *arg)
{
    (void)arg;
    bool before = in_signal_handler();
    said = -1;
    raise(SIGUSR1);
    return (void *)(uintptr_t)(!before && said == IN_HANDLER);
}

Test(handler, another_thread_is_told_apart)
{
    install(SIGUSR1, ask, 0);
    pthread_t id;
    void *good = NULL;
    cr_assert_eq(pthread_create(&id, NULL, in_thread, NULL), 0);
    pthread_join(id, &good);
    cr_assert(good);
}
