/* SPDX-License-Identifier: Apache-2.0
 * criterion.h - as much of Criterion as the tests with threads use, for ThreadSanitizer only: Criterion
 * itself wants memory at addresses that the sanitizer has taken. Every test in a process of its own; TAP.
 */
#ifndef TESTS_TSAN_CRITERION_H
#define TESTS_TSAN_CRITERION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct tsan_suite {
    void (*init)(void);
};

struct tsan_test {
    const char *suite, *name;
    void (*run)(void);
    const struct tsan_suite *settings;
    struct tsan_test *next;
};

__attribute__((weak)) struct tsan_test *tsan_tests;

static inline void tsan_add(struct tsan_test *t)
{
    struct tsan_test **end = &tsan_tests;
    while (*end)
        end = &(*end)->next;
    *end = t;
}

#define TestSuite(suite, ...) const struct tsan_suite tsan_suite_##suite = {__VA_ARGS__}
#define Test(suite, title)                                                                                   \
    extern const struct tsan_suite tsan_suite_##suite __attribute__((weak));                                 \
    static void test_##suite##_##title(void);                                                                \
    __attribute__((constructor)) static void add_##test_##suite##_##title(void)                              \
    {                                                                                                        \
        static struct tsan_test t = {#suite, #title, test_##suite##_##title, &tsan_suite_##suite, NULL};     \
        tsan_add(&t);                                                                                        \
    }                                                                                                        \
    static void test_##suite##_##title(void)

#define cr_assert_fail(...)                                                                                  \
    do {                                                                                                     \
        fprintf(stderr, "%s:%d:", __FILE__, __LINE__);                                                       \
        fprintf(stderr, " " __VA_ARGS__);                                                                    \
        fputc('\n', stderr);                                                                                 \
        exit(1);                                                                                             \
    } while (0)
#define tsan_check(good, text, ...)                                                                          \
    do {                                                                                                     \
        if (!(good)) {                                                                                       \
            fprintf(stderr, "%s\n", text);                                                                   \
            cr_assert_fail(__VA_ARGS__);                                                                     \
        }                                                                                                    \
    } while (0)
#define cr_assert(x, ...) tsan_check(x, #x, __VA_ARGS__)
#define cr_assert_not(x, ...) tsan_check(!(x), "not " #x, __VA_ARGS__)
#define cr_assert_null(x, ...) tsan_check((x) == NULL, #x " is NULL", __VA_ARGS__)
#define cr_assert_not_null(x, ...) tsan_check((x) != NULL, #x " is not NULL", __VA_ARGS__)
#define cr_assert_eq(a, b, ...) tsan_check((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) tsan_check((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) tsan_check((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) tsan_check((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) tsan_check((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) tsan_check((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) tsan_check(strcmp((a), (b)) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) tsan_check(memcmp((a), (b), (n)) == 0, #a " is " #b, __VA_ARGS__)

__attribute__((weak)) int main(void)
{
    int number = 0, failed = 0;
    for (struct tsan_test *t = tsan_tests; t; t = t->next) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            if (t->settings && t->settings->init)
                t->settings->init();
            t->run();
            exit(0); /* the sanitizer's own exit code if it has seen anything */
        }
        int status = 0;
        bool good = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
        failed += !good;
        printf("%s %d - %s::%s\n", good ? "ok" : "not ok", ++number, t->suite, t->name);
    }
    printf("1..%d\n", number);
    return failed ? 1 : 0;
}

#endif
