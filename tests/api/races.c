/* SPDX-License-Identifier: Apache-2.0
 * races.c - the C API where two things happen at once: threads, signal handlers, forks, handles that are
 * over. run_races.py looks at what arrives.
 */
#include <forkspan.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned rounds;

static void die(const char *what)
{
    fprintf(stderr, "races: %s\n", what);
    exit(3);
}

/* name-number, without stdio: also in handlers and in children of raw forks */
static const char *label(char out[40], const char *name, unsigned n)
{
    size_t at = strlen(name), digits = 1;
    memcpy(out, name, at);
    for (unsigned d = n; d >= 10; d /= 10)
        digits++;
    for (size_t i = digits; i > 0; i--, n /= 10)
        out[at + i - 1] = (char)('0' + n % 10);
    out[at + digits] = '\0';
    return out;
}

/* ------------------------------------------------------------------ the first span of all, eight times at
 * once */

static pthread_barrier_t together;
static _Atomic unsigned without;

static void *first_span(void *arg)
{
    char name[40];
    pthread_barrier_wait(&together);
    struct forkspan_span *s =
        forkspan_start(label(name, "first-", (unsigned)(uintptr_t)arg), FORKSPAN_INTERNAL, NULL);
    without += s == NULL;
    forkspan_end(s);
    return NULL;
}

static void eight(void *(*run)(void *))
{
    pthread_t thread[8];
    pthread_barrier_init(&together, NULL, 8);
    for (uintptr_t i = 0; i < 8; i++)
        if (pthread_create(&thread[i], NULL, run, (void *)i))
            die("pthread_create");
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&together);
}

static int first(void)
{
    eight(first_span);
    printf("without %u\n", without);
    return forkspan_flush(20000) ? 0 : 2;
}

/* ------------------------------------------------------------------ threads */

static _Atomic(struct forkspan_span *) shared;

static void *nest(void *arg)
{
    const unsigned t = (unsigned)(uintptr_t)arg;
    char name[40];
    for (unsigned i = 0; i < rounds; i++) {
        struct forkspan_context c;
        struct forkspan_span *outer =
            forkspan_start(label(name, "outer-", t * rounds + i), FORKSPAN_SERVER, NULL);
        forkspan_attach(outer);
        struct forkspan_span *inner =
            forkspan_start(label(name, "inner-", t * rounds + i), FORKSPAN_CLIENT, NULL);
        forkspan_set_int(inner, "n", i);
        forkspan_event(inner, "event", 0, NULL, 0);
        forkspan_context_of(outer, &c);
        forkspan_link(inner, &c, NULL, 0);
        /* one span that all threads write to, and somebody ends */
        struct forkspan_span *both = shared;
        forkspan_set_int(both, "thread", t);
        forkspan_event(both, "of all", 0, NULL, 0);
        if (i % 50 == t) {
            forkspan_end(both);
            shared = forkspan_start("shared", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
        }
        forkspan_end(inner);
        forkspan_end(outer);
        if (i % 32 == 31)
            forkspan_flush(20000);
    }
    return NULL;
}

static int threads(void)
{
    eight(nest);
    return forkspan_flush(20000) ? 0 : 2;
}

/* ------------------------------------------------------------------ a handler that interrupts every function
 */

static volatile sig_atomic_t ticks;
static struct forkspan_span *volatile under_way; /* the interrupted code's own span */

static void on_tick(int number)
{
    (void)number;
    char name[40], traceparent[56];
    struct forkspan_context c;
    unsigned n = (unsigned)ticks++;
    struct forkspan_span *s = forkspan_start(label(name, "tick-", n), FORKSPAN_INTERNAL | FORKSPAN_IN_HANDLER,
                                             n % 2 ? FORKSPAN_ROOT : NULL);
    struct forkspan_span *theirs = under_way;
    forkspan_set_int(s, "n", n);
    forkspan_set_string(s, "s", "v");
    forkspan_event(s, "in", 0, NULL, 0);
    if (forkspan_context_of(theirs, &c))
        forkspan_link(s, &c, NULL, 0);
    forkspan_current(&c);
    forkspan_inject(&c, traceparent);
    forkspan_set_int(theirs, "from.handler", n);
    forkspan_event(theirs, "handler", 0, NULL, 0);
    forkspan_rename(s, label(name, "tock-", n));
    if (n % 7 == 0)
        forkspan_end(theirs); /* whatever was being done with it */
    forkspan_set_status(s, FORKSPAN_OK, NULL);
    forkspan_end(s);
    forkspan_end(s);
}

static int handler(void)
{
    struct itimerval every = {{0, 97}, {0, 97}}, never = {{0, 0}, {0, 0}};
    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &every, NULL);
    unsigned i = 0;
    for (; ticks < (int)rounds; i++) {
        char name[40], traceparent[56];
        struct forkspan_context c;
        struct forkspan_attribute a[] = {forkspan_int("a", i), forkspan_bool("b", true)};
        struct forkspan_span *s = forkspan_start(label(name, "main-", i), FORKSPAN_INTERNAL, FORKSPAN_ROOT);
        under_way = s;
        forkspan_attach(s);
        struct forkspan_span *inner = forkspan_start(label(name, "part-", i), FORKSPAN_INTERNAL, NULL);
        forkspan_set(s, a, 2);
        forkspan_set_string(s, "key", "value");
        forkspan_set_string(s, "key", "another value");
        forkspan_event(s, "main", 0, a, 2);
        forkspan_current(&c);
        forkspan_link(s, &c, a, 1);
        forkspan_set_status(s, FORKSPAN_ERROR, "text");
        forkspan_inject(&c, traceparent);
        forkspan_extract(traceparent, "a=b", &c);
        forkspan_end(inner);
        forkspan_detach(s);
        forkspan_end(s);
        if (i % 64 == 63)
            forkspan_flush(20000);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
    printf("ticks %d mains %u\n", (int)ticks, i);
    return forkspan_flush(20000) ? 0 : 2;
}

/* ------------------------------------------------------------------ forks */

static struct forkspan_span *before;
static atomic_bool stop;

static int in_child(void *number)
{
    char name[40];
    forkspan_end(forkspan_start(label(name, "child-", (unsigned)(uintptr_t)number), FORKSPAN_INTERNAL, NULL));
    forkspan_set_int(before, "spoilt", 1);
    forkspan_end(before); /* the parent's: nothing comes of it */
    forkspan_end(forkspan_start(label(name, "after-", (unsigned)(uintptr_t)number), FORKSPAN_INTERNAL, NULL));
    return 0;
}

static pid_t by(const char *how, unsigned number)
{
    static char stack[256 * 1024] __attribute__((aligned(16)));
    void *arg = (void *)(uintptr_t)number;
    if (strcmp(how, "clone") == 0)
        return clone(in_child, stack + sizeof stack, SIGCHLD, arg);
    pid_t pid = strcmp(how, "fork") == 0    ? fork()
                : strcmp(how, "_Fork") == 0 ? _Fork()
                                            : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        in_child(arg);
        if (strcmp(how, "fork") == 0)
            exit(0);
        _exit(0);
    }
    return pid;
}

static void *busy(void *arg)
{
    char name[40];
    unsigned base = (unsigned)(uintptr_t)arg * 100000000, n = 0;
    while (!stop) {
        forkspan_end(forkspan_start(label(name, "busy-", base + n++), FORKSPAN_INTERNAL, FORKSPAN_ROOT));
        if (n % 16 == 0)
            forkspan_flush(20000);
    }
    return (void *)(uintptr_t)n;
}

static int forks(const char *how, bool beside_threads)
{
    pthread_t thread[2];
    before = forkspan_start("before", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    forkspan_attach(before);
    for (uintptr_t i = 0; beside_threads && i < 2; i++)
        if (pthread_create(&thread[i], NULL, busy, (void *)i))
            die("pthread_create");
    for (unsigned i = 0; i < rounds; i++) {
        pid_t pid = by(how, i);
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
            die("child");
    }
    stop = true;
    for (int i = 0; beside_threads && i < 2; i++) {
        void *n;
        pthread_join(thread[i], &n);
        printf("busy %u\n", (unsigned)(uintptr_t)n);
    }
    forkspan_end(before);
    return forkspan_flush(20000) ? 0 : 2;
}

/* ------------------------------------------------------------------ handles that are over, here and there */

static void *end_it(void *s)
{
    forkspan_end(s);
    return NULL;
}

static void *attach_it(void *s)
{
    forkspan_attach(s);
    forkspan_end(forkspan_start("elsewhere", FORKSPAN_INTERNAL, NULL));
    return NULL;
}

static void in_thread(void *(*run)(void *), void *arg)
{
    pthread_t t;
    if (pthread_create(&t, NULL, run, arg) || pthread_join(t, NULL))
        die("thread");
}

static int over(void)
{
    struct forkspan_context c;
    struct forkspan_span *one = forkspan_start("one", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    forkspan_end(one);
    struct forkspan_span *two = forkspan_start("two", FORKSPAN_INTERNAL, FORKSPAN_ROOT); /* in its place */
    forkspan_set_int(one, "wrong", 1);
    forkspan_event(one, "wrong", 0, NULL, 0);
    forkspan_rename(one, "wrong");
    forkspan_attach(one);
    forkspan_end(one);
    forkspan_end(one);
    bool known = forkspan_context_of(one, &c) || forkspan_current(&c);
    forkspan_end(two);

    struct forkspan_span *outer = forkspan_start("outer", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    forkspan_attach(outer);
    in_thread(attach_it, outer); /* attached here already: not there */
    in_thread(end_it, outer);
    forkspan_end(forkspan_start("reused", FORKSPAN_INTERNAL, NULL)); /* takes its place; has no parent */
    struct forkspan_span *left[1100];
    unsigned got = 0;
    for (unsigned i = 0; i < 1100; i++)
        got += (left[i] = forkspan_start("left", FORKSPAN_INTERNAL, FORKSPAN_ROOT)) != NULL;
    printf("known %d at once %u\n", known, got);
    return forkspan_flush(20000) ? 0 : 2;
}

/* ------------------------------------------------------------------ a race, to show that one is found */

static unsigned counted;

static void *count_unguarded(void *arg)
{
    (void)arg;
    pthread_barrier_wait(&together);
    for (int i = 0; i < 1000; i++)
        counted++;
    return NULL;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
    if (strcmp(what, "first") == 0)
        return first();
    if (strcmp(what, "control") == 0) {
        eight(count_unguarded);
        return 0;
    }
    if (!forkspan_enabled())
        die("not under forkspan");
    if (strcmp(what, "threads") == 0)
        return threads();
    if (strcmp(what, "handler") == 0)
        return handler();
    if (strcmp(what, "forks") == 0 && argc > 3)
        return forks(argv[3], argc > 4);
    if (strcmp(what, "over") == 0)
        return over();
    die("what?");
}
