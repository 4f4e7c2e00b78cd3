/* SPDX-License-Identifier: Apache-2.0
 * matrix_ways.c - every way to fork.
 */
#include "matrix.h"

#include "forkspan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
#ifdef __GLIBC__
pid_t __fork(void);
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#else /* musl has no such names */
#define __fork fork
#define __clone clone
#endif

static bool child_returns; /* a child that is to return from main */
static int child_code;

/* May a child made without the atfork handlers start a thread? Only where no application thread was. */
static bool alone(void)
{
    return opt.enders == 0;
}

static void run_child(const char *who, int error, bool thread)
{
    child_code = go_on(who, error, thread);
    child_returns = true;
}

static pid_t returned(pid_t pid, const char *who, bool thread)
{
    int error = errno;
    if (pid == 0)
        run_child(who, error, thread);
    return pid;
}

/* The status of one child, seen as the host sees it. */
static void reap(const char *who, pid_t pid)
{
    int status = -1;
    pid_t got;
    do
        got = waitpid(pid, &status, __WALL);
    while (got < 0 && errno == EINTR);
    fact("h %s status %x", who, got == pid ? (unsigned)status : 0xffffffffu);
}

void reap_all(const char *who)
{
    int status, n = 0;
    /* status 0 is none of the driver's own: a consumer that an exec'd program left behind (init takes such,
     * too) */
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;)
        if (pid > 0 && status != 0)
            n++, fact("h %s orphan %x", who, (unsigned)status);
    fact("h %s orphans %d", who, n);
}

static void parent_sees(const char *who, pid_t pid, int error)
{
    char name[64];
    snprintf(name, sizeof name, "%s.parent", who);
    fact("h %s made %d", name, pid > 0);
    see_process(name, error);
}

/* -- forks that return twice -- */

static pid_t raw_clone3(void)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static pid_t raw_fork(void)
{
#ifdef SYS_fork
    return (pid_t)syscall(SYS_fork);
#else
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
}

#ifdef __x86_64__
static long inline_call(long number, long a, long b)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(0L)
                     : "rcx", "r11", "memory");
    return result;
}
static pid_t asm_clone3(void)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    return (pid_t)inline_call(SYS_clone3, (long)(uintptr_t)&args, sizeof args);
}
static pid_t asm_fork(void)
{
    return (pid_t)inline_call(SYS_fork, 0, 0);
}
#else
static pid_t asm_clone3(void)
{
    return raw_clone3();
}
static pid_t asm_fork(void)
{
    return raw_fork();
}
#endif

static const struct {
    const char *name;
    pid_t (*fork)(void);
    bool repaired; /* atfork handlers run: its child may start a thread among others */
    bool raw;
} twice[] = {{"fork", fork, true, false},         {"__fork", __fork, true, false},
             {"_Fork", _Fork, false, false},      {"sys_clone3", raw_clone3, false, true},
             {"sys_fork", raw_fork, false, true}, {"asm_clone3", asm_clone3, false, true},
             {"asm_fork", asm_fork, false, true}};

static bool is(const char *way)
{
    return strcmp(opt.way, way) == 0;
}

static void fork_twice(const char *who, pid_t (*fork_now)(void), bool thread)
{
    errno = ERRNO_BEFORE;
    pid_t pid = returned(fork_now(), who, thread);
    if (pid == 0)
        return;
    parent_sees(who, pid, errno);
    if (pid > 0)
        reap(who, pid);
}

/* -- clone -- */

struct clone_call {
    const char *who;
    bool thread;
    bool simple; /* shares the parent's memory */
};

static int clone_start(void *arg)
{
    const struct clone_call *c = arg;
    if (c->simple) {
        if (strcmp(opt.going, "exec") == 0)
            exec_self(c->who);
        _exit(CODE);
    }
    if (opt.slow) /* the parent's thread sleeps; the others must not */
        make("started"), fact("h %s went-on %d", c->who, !traced || wait_for("during", 800));
    int code = go_on(c->who, ERRNO_BEFORE, c->thread);
    return code;
}

static const struct {
    const char *name;
    int flags;
    size_t stack;
} clones[] = {{"clone_sigchld", SIGCHLD, 256 * 1024},
              {"__clone", SIGCHLD, 256 * 1024},
              {"clone_vfork_novm", CLONE_VFORK | SIGCHLD, 256 * 1024},
              {"clone_vm", CLONE_VM | CLONE_VFORK | SIGCHLD, 64 * 1024},
              {"clone_files", CLONE_FILES | SIGCHLD, 256 * 1024},
              {"clone_16k", SIGCHLD, 16 * 1024},
              {"newpid", CLONE_NEWPID | SIGCHLD, 256 * 1024}};

static void clone_as(const char *who, int flags, size_t stack)
{
    long page = sysconf(_SC_PAGESIZE);
    char *low = mmap(NULL, stack + (size_t)page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    mprotect(low, (size_t)page, PROT_NONE); /* the guard: an overrun is a crash */
    struct clone_call call = {who, alone() && !(flags & CLONE_FILES), (flags & CLONE_VM) != 0};
    errno = ERRNO_BEFORE;
    int pid = (is("__clone") ? __clone : clone)(clone_start, low + page + stack, flags, &call), error = errno;
    if (pid > 0 && flags & CLONE_FILES) /* what it has open for a moment is open here, too */
        reap(who, pid);
    parent_sees(who, pid, error);
    if (pid > 0 && !(flags & CLONE_FILES))
        reap(who, pid);
    munmap(low, stack + (size_t)page);
}

/* -- pass-through -- */

static void vfork_as(const char *who)
{
    errno = ERRNO_BEFORE;
    pid_t pid = vfork();
    if (pid == 0) {
        if (opt.open_request) /* as subprocess does; the number is its own, the memory is not */
            for (int fd = 3; fd < 300; fd++)
                close(fd);
        if (strcmp(opt.going, "exec") == 0)
            exec_self(who);
        _exit(CODE);
    }
    parent_sees(who, pid, errno);
    if (pid > 0)
        reap(who, pid);
}

/* A subprocess that waits for our batch thread waits for FORK_WAIT, which is a second here. */
static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static void see_delay(const char *who, double began)
{
    fact("h %s waited %d", who, seconds_now() - began > 0.95);
}

static void spawn_as(const char *who)
{
    pid_t pid = -1;
    double began = seconds_now();
    errno = ERRNO_BEFORE;
    int error = posix_spawn(&pid, opt.self, NULL, NULL, exec_arguments(who), environ);
    int after = errno;
    see_delay(who, began);
    errno = after;
    fact("h %s spawn %d", who, error);
    parent_sees(who, pid, errno);
    if (error == 0)
        reap(who, pid);
}

static void shell_as(const char *who, bool pipe)
{
    char command[768];
    char *const *a = exec_arguments(who);
    snprintf(command, sizeof command, "exec '%s' '%s' '%s'", a[0], a[1], a[2]);
    double began = seconds_now();
    errno = ERRNO_BEFORE;
    if (!pipe) {
        fact("h %s status %x", who, (unsigned)system(command));
        see_delay(who, began);
    } else {
        FILE *f = popen(command, "r");
        char text[64];
        see_delay(who, began);
        fact("h %s read %zu", who, f ? fread(text, 1, sizeof text, f) : 0);
        fact("h %s status %x", who, f ? (unsigned)pclose(f) : 0xffffffffu);
    }
    parent_sees(who, 1, errno);
}

/* -- compound ways -- */

/* daemon() leaves the calling process, so it is called in a child of its own, with a batch thread of its own.
 */
static void daemon_as(const char *who)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_CHILD_SUBREAPER, 0);
        char middle[64];
        snprintf(middle, sizeof middle, "%s.middle", who);
        end_spans(middle, 1);
        if (opt.batch)
            forkspan_flush(opt.stuck ? 1 : 8000);
        errno = ERRNO_BEFORE;
        fact("h %s daemon %d", who, daemon(1, 1));
        run_child(who, errno, true);
        return;
    }
    reap(who, pid);
    reap_all(who);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void forkpty_as(const char *who)
{
    int master = -1;
    errno = ERRNO_BEFORE;
    pid_t pid = returned(forkpty(&master, NULL, NULL, NULL), who, true);
    if (pid == 0)
        return;
    fact("h %s made %d", who, pid > 0);
    for (char text[256]; read(master, text, sizeof text) > 0;)
        ;
    close(master);
    reap(who, pid);
}

static void double_as(const char *who)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_CHILD_SUBREAPER, 0);
        errno = ERRNO_BEFORE;
        pid = returned(fork(), who, true);
        if (pid > 0)
            _exit(0);
        return;
    }
    reap(who, pid);
    reap_all(who);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void nested_as(const char *who)
{
    static char names[3][64];
    for (int depth = 0; depth < 3; depth++) {
        snprintf(names[depth], sizeof *names, "%s.d%d", who, depth);
        errno = ERRNO_BEFORE;
        pid_t pid = fork();
        if (pid == 0) {
            if (depth == 2) {
                run_child(names[depth], errno, true);
                return;
            }
            end_spans(names[depth], 2);
            if (depth == 0) /* this one has a batch thread of its own when it forks */
                forkspan_flush(8000);
            continue;
        }
        reap(names[depth], pid);
        if (depth > 0)
            exit(CODE);
        return;
    }
}

enum { THREADS = 8 };
static pthread_barrier_t together;

static void *fork_in_thread(void *arg)
{
    char who[64];
    snprintf(who, sizeof who, "c.r%d.%d", opt.rounds, (int)(intptr_t)arg);
    for (int i = 0; i < 5; i++) {
        snprintf(who, sizeof who, "c.t%d.%d", (int)(intptr_t)arg, i);
        pthread_barrier_wait(&together);
        pid_t pid = fork();
        if (pid == 0) {
            go_on(who, ERRNO_BEFORE, true);
            _exit(CODE);
        }
        reap(who, pid);
    }
    return NULL;
}

static void threads_as(void)
{
    pthread_t id[THREADS];
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&id[i], NULL, fork_in_thread, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(id[i], NULL);
}

/* A signal handler that forks in the middle of an enqueue; its child returns into what it interrupted. */
enum { HANDLER_FORKS = 100 };
static volatile sig_atomic_t handler_forks;
static _Atomic bool in_child;

static void on_alarm(int signal)
{
    (void)signal;
    int keep = errno;
    if (atomic_load(&in_child) || handler_forks >= HANDLER_FORKS)
        return;
    pid_t pid = is("handler_Fork") ? _Fork() : fork();
    if (pid == 0)
        atomic_store(&in_child, true);
    else
        handler_forks++;
    errno = keep;
}

static void handler_as(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    unsigned n = 0;
    while (handler_forks < HANDLER_FORKS && !atomic_load(&in_child)) {
        char name[64];
        snprintf(name, sizeof name, "handler-%u", n);
        /* the bare interruption, and nothing else, is what the child is to come back to */
        end_span(name);
        n++;
        if (n % 64 == 0)
            forkspan_flush(1000); /* the ring is not to fill up */
    }
    if (atomic_load(&in_child)) {
        /* What it came back to is its parent's span, and its parent ends that one, too. */
        char name[64];
        snprintf(name, sizeof name, "c.h%d", (int)handler_forks);
        for (int i = 0; i < 50; i++)
            end_spans(name, 0);
        end_spans(name, 2);
        _exit(CODE);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    if (traced)
        fact("n handler %u", n);
    for (int status, left = HANDLER_FORKS; left > 0;) {
        if (waitpid(-1, &status, 0) > 0)
            left--, status != CODE << 8 ? fact("h handler status %x", (unsigned)status) : (void)0;
        else if (errno != EINTR)
            break;
    }
}

/* An atfork handler that forks: its inner child and the outer one must both live. */
static _Atomic bool nest_now;
static void forking_prepare(void)
{
    if (!atomic_exchange(&nest_now, false))
        return;
    static int times;
    char who[32];
    snprintf(who, sizeof who, "c.inner.%d", times++);
    pid_t pid = fork();
    if (pid == 0) {
        end_spans(who, 1);
        _exit(CODE);
    }
    reap(who, pid);
}

static void in_prepare_as(const char *who)
{
    static bool registered;
    if (!registered)
        pthread_atfork(forking_prepare, NULL, NULL);
    registered = true;
    atomic_store(&nest_now, true);
    fork_twice(who, fork, true);
}

/* A fork that fails: the parent half must run; then one that does not. */
static void failing_as(const char *who)
{
    struct rlimit before, none;
    if (geteuid() == 0 && (setgid(65534) || setuid(65534))) /* root has no limit */
        _exit(94);
    getrlimit(RLIMIT_NPROC, &before);
    none = before;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NPROC, &none);
    errno = ERRNO_BEFORE;
    pid_t pid = fork();
    int error = errno;
    if (pid == 0)
        _exit(0);
    fact("h %s failed %d %d", who, pid > 0 ? 1 : pid, error);
    if (pid > 0)
        reap(who, pid);
    setrlimit(RLIMIT_NPROC, &before);
    end_spans("p.after-failure", 1);
    fact("h %s flushed %d", who, !traced || forkspan_flush(700));
    fork_twice(who, fork, true);
}

/* A thread that begins a fork and never comes back from a prepare handler. */
static _Atomic bool lose_now;
static void losing_prepare(void)
{
    if (atomic_exchange(&lose_now, false))
        pthread_exit(NULL);
}

static void *losing_thread(void *arg)
{
    (void)arg;
    fork();
    return NULL;
}

static void lost_as(const char *who)
{
    pthread_t id;
    pthread_atfork(losing_prepare, NULL, NULL);
    atomic_store(&lose_now, true);
    pthread_create(&id, NULL, losing_thread, NULL);
    pthread_join(id, NULL);
    end_spans("p.after-lost", 1);
    fact("h %s flushed %d", who, !traced || forkspan_flush(4000));
}

static int vm_start(void *arg)
{
    (void)arg;
    syscall(SYS_exit_group, CODE);
    return 0;
}

static const char *const others[] = {
    "vfork",     "posix_spawn", "popen",      "system",     "daemon",       "forkpty",
    "double",    "nested3",     "threads8",   "handler",    "handler_Fork", "step",
    "step_Fork", "step_flush",  "in_prepare", "nproc_fail", "lost_forker",  "clone_vm_only"};

bool way_known(void)
{
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (is(twice[i].name))
            return true;
    for (size_t i = 0; i < sizeof clones / sizeof *clones; i++)
        if (is(clones[i].name))
            return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is(others[i]))
            return true;
    return false;
}

bool way_repeats(void)
{
    return is("threads8") || is("handler") || is("handler_Fork") || is("step") || is("step_Fork") ||
           is("step_flush");
}

bool fork_as_asked(int round, int *code)
{
    char who[32];
    snprintf(who, sizeof who, "c.%d", round);
    child_returns = false;
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (is(twice[i].name))
            fork_twice(who, twice[i].fork, twice[i].repaired || (alone() && !(twice[i].raw && opt.batch)));
    for (size_t i = 0; i < sizeof clones / sizeof *clones; i++)
        if (is(clones[i].name))
            clone_as(who, clones[i].flags, clones[i].stack);
    if (is("vfork"))
        vfork_as(who);
    else if (is("posix_spawn"))
        spawn_as(who);
    else if (is("popen") || is("system"))
        shell_as(who, is("popen"));
    else if (is("daemon"))
        daemon_as(who);
    else if (is("forkpty"))
        forkpty_as(who);
    else if (is("double"))
        double_as(who);
    else if (is("nested3"))
        nested_as(who);
    else if (is("threads8"))
        threads_as();
    else if (is("handler") || is("handler_Fork"))
        handler_as();
    else if (is("step") || is("step_Fork"))
        step_as(is("step") ? fork : _Fork);
    else if (is("step_flush"))
        step_flush_as(_Fork);
    else if (is("in_prepare"))
        in_prepare_as(who);
    else if (is("nproc_fail"))
        failing_as(who);
    else if (is("lost_forker"))
        lost_as(who);
    else if (is("clone_vm_only")) {
        static char stack[65536] __attribute__((aligned(16)));
        errno = ERRNO_BEFORE;
        int pid = clone(vm_start, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
        parent_sees(who, pid, errno);
        reap(who, pid);
    }
    *code = child_code;
    return child_returns;
}
