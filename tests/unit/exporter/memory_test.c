/* SPDX-License-Identifier: Apache-2.0
 * memory_test.c - the exporter's heap, under other names (meson.build), and what a fork at any moment leaves.
 */
#undef malloc
#undef free
#undef calloc
#undef realloc
#undef qsort
#undef gmtime_r
#undef strdup
#undef asprintf

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void *own_malloc(size_t size);
void own_free(void *p);
void *own_calloc(size_t n, size_t size);
void *own_realloc(void *p, size_t size);
void own_qsort(void *array, size_t n, size_t size, int (*compare)(const void *, const void *));
char *own_strdup(const char *s);
int own_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct tm *own_gmtime_r(const time_t *when, struct tm *out);
size_t exporter_memory_mapped(void);

enum { LIVE = 500 };
static struct held {
    uint8_t *p;
    size_t size;
    uint8_t fill;
} held[LIVE];
static uint64_t seed = 42;

static uint64_t any(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return seed >> 33;
}

static size_t any_size(void)
{
    switch (any() % 8) {
    case 0:
        return any() % (any() % 16 ? 3000 : 300000);
    case 1:
        return any() % (any() % 4 ? 1000 : 70000);
    case 2:
        return any() % 5000;
    default:
        return any() % 600;
    }
}

static int filled(const struct held *h)
{
    for (size_t i = 0; i < h->size; i += 1 + h->size / 64)
        if (h->p[i] != h->fill)
            return 0;
    return h->size == 0 || h->p[h->size - 1] == h->fill;
}

/* One step of a random life; 0 when memory is not what was put there. */
static int live(void)
{
    struct held *h = &held[any() % LIVE];
    if (h->p && !filled(h))
        return 0;
    switch (any() % 3) {
    case 0:
        own_free(h->p);
        h->p = NULL;
        return 1;
    case 1: {
        size_t size = any_size();
        uint8_t *p = own_realloc(h->p, size);
        if (!p || (uintptr_t)p % 16)
            return 0;
        if (h->p)
            for (size_t i = 0, n = size < h->size ? size : h->size; i < n; i += 1 + n / 64)
                if (p[i] != h->fill)
                    return 0;
        *h = (struct held){p, size, (uint8_t)any()};
        memset(p, h->fill, size);
        return 1;
    }
    default:
        own_free(h->p);
        *h = (struct held){NULL, any_size(), (uint8_t)any()};
        h->p = own_calloc(1, h->size);
        for (size_t i = 0; i < h->size; i++)
            if (h->p[i])
                return 0;
        memset(h->p, h->fill, h->size);
        return 1;
    }
}

static _Atomic int stop, broken;

static void *live_on(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        if (!live())
            atomic_store(&broken, 1);
    return NULL;
}

static int number = 0, failed = 0;

static void check(int good, const char *what)
{
    printf("%s %d - %s\n", good ? "ok" : "not ok", ++number, what);
    failed |= !good;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    int good = 1;
    for (int i = 0; i < 60000 && good; i++)
        good = live();
    check(good, "what is put into the memory stays there, at 16 bytes' alignment, and calloc's is zero");
    size_t before = exporter_memory_mapped();
    for (int i = 0; i < 60000 && good; i++)
        good = live();
    check(good && exporter_memory_mapped() < before * 2 + (64u << 20), "it is used again");
    check(!own_malloc(SIZE_MAX - 5) && !own_calloc(SIZE_MAX / 2, 3) && !own_malloc(PTRDIFF_MAX),
          "too much is refused");

    /* A fork by a raw system call in the middle of it: what the child has must hold together. */
    pthread_t thread;
    pthread_create(&thread, NULL, live_on, NULL);
    int bad = 0;
    for (int i = 0; i < 300; i++) {
        pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0) {
            memset(held, 0, sizeof held); /* they may be half written; the heap may not */
            for (int k = 0; k < 1000; k++)
                if (!live())
                    _exit(1);
            _exit(0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        bad += status != 0;
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    check(!bad && !atomic_load(&broken),
          "300 children forked in the middle of it have a heap that holds together");

    uint32_t array[1000], copy[1000];
    for (int i = 0; i < 1000; i++)
        array[i] = copy[i] = (uint32_t)any() % 500;
    own_qsort(array, 1000, sizeof *array, by_value);
    qsort(copy, 1000, sizeof *copy, by_value);
    own_qsort(array, 0, sizeof *array, by_value);
    own_qsort(array, 1, sizeof *array, by_value);
    check(memcmp(array, copy, sizeof array) == 0, "qsort sorts as libc's");

    int wrong = 0;
    for (int i = 0; i < 200000; i++) {
        time_t t = (time_t)((int64_t)(any() << 31 ^ any()) % 253402300800) - 2208988800;
        struct tm mine = {0}, theirs = {0};
        own_gmtime_r(&t, &mine);
        gmtime_r(&t, &theirs);
        wrong += mine.tm_year != theirs.tm_year || mine.tm_mon != theirs.tm_mon ||
                 mine.tm_mday != theirs.tm_mday || mine.tm_hour != theirs.tm_hour ||
                 mine.tm_min != theirs.tm_min || mine.tm_sec != theirs.tm_sec ||
                 mine.tm_wday != theirs.tm_wday || mine.tm_yday != theirs.tm_yday;
    }
    check(!wrong, "gmtime_r says what libc's says");
    char *text = NULL, *twice = own_strdup("abc");
    check(own_asprintf(&text, "%d-%s", 5, twice) == 5 && strcmp(text, "5-abc") == 0, "asprintf and strdup");
    printf("1..%d\n", number);
    return failed;
}
