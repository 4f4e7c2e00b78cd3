/* SPDX-License-Identifier: Apache-2.0
 * criterion.h - as much of Criterion as the unit tests use, for targets that have none. Each test is a
 * process; TAP.
 */
#ifndef FORKSPAN_TESTS_PORTABILITY_CRITERION_H
#define FORKSPAN_TESTS_PORTABILITY_CRITERION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct mini_suite {
    const char *suite_name;
    void (*init)(void), (*fini)(void);
    double timeout;
    int disabled, signal, exit_code;
    struct mini_suite *next;
};
struct mini_test {
    const char *suite, *name;
    void (*run)(void);
    struct mini_test *next;
};
__attribute__((weak)) struct mini_suite *mini_suites;
__attribute__((weak)) struct mini_test *mini_tests;

#define TestSuite(suite, ...)                                                                                \
    static struct mini_suite mini_suite_##suite = {.suite_name = #suite, ##__VA_ARGS__};                     \
    __attribute__((constructor)) static void mini_add_suite_##suite(void)                                    \
    {                                                                                                        \
        mini_suite_##suite.next = mini_suites;                                                               \
        mini_suites = &mini_suite_##suite;                                                                   \
    }                                                                                                        \
    struct mini_suite

#define Test(suite_, name_, ...)                                                                             \
    static void mini_##suite_##_##name_(void);                                                               \
    __attribute__((constructor)) static void mini_add_##suite_##_##name_(void)                               \
    {                                                                                                        \
        static struct mini_test test = {#suite_, #name_, mini_##suite_##_##name_, NULL};                     \
        test.next = mini_tests;                                                                              \
        mini_tests = &test;                                                                                  \
    }                                                                                                        \
    static void mini_##suite_##_##name_(void)

__attribute__((noreturn, unused)) static void mini_fail(const char *file, int line, const char *what)
{
    printf("# %s:%d: %s\n", file, line, what);
    fflush(stdout);
    _exit(1);
}

#define MINI(ok, text) ((ok) ? (void)0 : mini_fail(__FILE__, __LINE__, text))
#define cr_assert(c, ...) MINI(c, #c)
#define cr_assert_not(c, ...) MINI(!(c), "not " #c)
#define cr_assert_eq(a, b, ...) MINI((a) == (b), #a " == " #b)
#define cr_assert_neq(a, b, ...) MINI((a) != (b), #a " != " #b)
#define cr_assert_lt(a, b, ...) MINI((a) < (b), #a " < " #b)
#define cr_assert_leq(a, b, ...) MINI((a) <= (b), #a " <= " #b)
#define cr_assert_gt(a, b, ...) MINI((a) > (b), #a " > " #b)
#define cr_assert_geq(a, b, ...) MINI((a) >= (b), #a " >= " #b)
#define cr_assert_null(a, ...) MINI((a) == NULL, #a " is null")
#define cr_assert_not_null(a, ...) MINI((a) != NULL, #a " is not null")
#define cr_assert_str_eq(a, b, ...) MINI(strcmp(a, b) == 0, #a " is " #b)
#define cr_assert_str_neq(a, b, ...) MINI(strcmp(a, b) != 0, #a " is not " #b)
#define cr_assert_arr_eq(a, b, n, ...) MINI(memcmp(a, b, n) == 0, #a " is " #b)
#define cr_assert_fail(...) mini_fail(__FILE__, __LINE__, "fail")
#define cr_skip(...) _exit(77)

__attribute__((weak)) int main(void)
{
    int failed = 0, n = 0;
    for (struct mini_test *t = mini_tests; t; t = t->next) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            struct mini_suite *s = mini_suites;
            while (s && strcmp(s->suite_name, t->suite) != 0)
                s = s->next;
            if (s && s->init)
                s->init();
            t->run();
            if (s && s->fini)
                s->fini();
            fflush(stdout);
            _exit(0);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        if (status != 0 && status != 77 << 8)
            failed++;
        printf("%s %d - %s: %s%s\n", status == 0 || status == 77 << 8 ? "ok" : "not ok", ++n, t->suite,
               t->name, status == 77 << 8 ? " # SKIP said by the test" : "");
        if (WIFSIGNALED(status))
            printf("# killed by signal %d\n", WTERMSIG(status));
    }
    printf("1..%d\n", n);
    return failed != 0;
}

#endif
