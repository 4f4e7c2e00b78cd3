/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/oneshot.h"
#include "arena/slot.h"
#include "arena/sweep.h"
#include "batch/beside.h"
#include "batch/permanent.h"
#include "clock.h"
#include "config/capture.h"
#include "decimal.h"
#include "futex.h"
#include "log.h"
#include "next.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static const uint64_t START_EVERY_NS = 1000000000;

enum { STACK = 16384, MODES = 4, ARGUMENTS = 10 };

/* Where the command lies, seen from the preload: installed with and without a folder for the machine's kind,
 * in a build tree, beside it. FORKSPAN_COMMAND is where it is installed to. */
static const char *const places[] = {"/../cli/forkspan", "/../../bin/forkspan", "/../bin/forkspan",
                                     "/forkspan"};

/* All of it made by oneshot_prepare() and only read after it. */
static char command[PATH_MAX];
static char id_text[DECIMAL_MAX + 1], life_text[DECIMAL_MAX + 1], within_text[DECIMAL_MAX + 1];
static const char *arguments[MODES][ARGUMENTS];
static char **environment;
static struct stdio {
    bool kept;
    dev_t dev;
    ino_t ino;
} stdio[3];
static bool needs_output;

static _Atomic uint32_t starting; /* one start at a time: the stacks are static */
static _Alignas(64) char stacks[2][STACK];

static bool find_command(void)
{
    if (beside(places, sizeof places / sizeof *places, X_OK, command))
        return true;
#ifdef FORKSPAN_COMMAND
    strcpy(command, FORKSPAN_COMMAND);
    if (access(command, X_OK) == 0)
        return true;
#endif
    command[0] = '\0';
    return false;
}

void oneshot_prepare(const struct arena *a, const struct config *config)
{
    if ((a->id < 0 && !a->file) || !find_command())
        return;
    id_text[decimal(id_text, (unsigned)a->id)] = '\0';
    life_text[decimal(life_text, (unsigned)a->life)] = '\0';
    const char *where = a->file ? a->file : id_text, *of = a->file && a->life >= 0 ? "--tree" : NULL;
    within_text[decimal(within_text, config->exit_flush_ms)] = '\0';
    memcpy(arguments,
           (const char *[MODES][ARGUMENTS]){
               [ONESHOT_LEAVE] = {command, "export", "--quiet", "--once", where, of, life_text},
               [ONESHOT_EXIT] = {command, "export", "--quiet", "--once", "--within", within_text, where, of,
                                 life_text},
               [ONESHOT_LINGER] = {command, "export", "--quiet", "--once", "--linger", where, of, life_text},
               [ONESHOT_STAY] = {command, "export", "--quiet", where, of, life_text},
           },
           sizeof arguments);
    /* Our own variables and one more that the console looks at; no LD_PRELOAD: it is never traced. */
    size_t n = 0;
    char **captured = config_captured();
    while (captured[n])
        n++;
    char **list =
        mmap(NULL, (n + 2) * sizeof *list, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (list == MAP_FAILED)
        return;
    memcpy(list, captured, n * sizeof *list);
    static char no_color[] = "NO_COLOR=1";
    const char *set = getenv("NO_COLOR");
    if (set && *set)
        list[n] = no_color;
    for (int fd = 1; fd <= 2; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0)
            stdio[fd] = (struct stdio){.kept = true, .dev = st.st_dev, .ino = st.st_ino};
    }
    needs_output = config->exporter.kind != EXPORTER_OTLP && !config->exporter.file;
    next_resolve(NEXT_clone);
    environment = list;
}

struct start {
    const struct arena *arena;
    const char *const *argv;
    pid_t pid;
    int error;
};

/* Nothing of the host's stays open in it: it would keep listening sockets, connections and pipes alive. */
static void keep_stdio_only(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; fd++) {
        struct stat st;
        if (stdio[fd].kept && (fd == 2 || needs_output) && fstat(fd, &st) == 0 &&
            st.st_dev == stdio[fd].dev && st.st_ino == stdio[fd].ino)
            continue; /* still what it was: a number that is somebody else's by now must not be written to */
        if (null < 0)
            __close(fd);
        else if (null == fd)
            syscall(SYS_fcntl, fd, F_SETFD, 0);
        else
            syscall(SYS_dup3, null, fd, 0);
    }
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0)
        return;
    struct rlimit limit;
    unsigned most =
        getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (unsigned)limit.rlim_cur : 65536;
    for (unsigned fd = 3; fd < most; fd++)
        __close((int)fd);
}

static void registered_put(struct registered *r, pid_t pid, uint64_t here)
{
    atomic_store(&r->pid, (uint32_t)pid);
    atomic_store(&r->start_time, process_start_time(pid));
    atomic_store(&r->pid_namespace, here);
}

static void registered_add(const struct arena *a, pid_t pid)
{
    struct registered *r = a->header->registered;
    uint64_t here = own_pid_namespace();
    for (unsigned i = 0; i < REGISTERED_MAX; i++) {
        uint64_t none = 0;
        if (!atomic_compare_exchange_strong(&r[i].pid_namespace, &none, UINT64_MAX))
            continue;
        registered_put(&r[i], pid, here);
        return;
    }
    /* All taken, by pids that the system's reaper had: forgotten, for they may be anybody's by now. */
    for (unsigned i = 0; i < REGISTERED_MAX; i++)
        atomic_store(&r[i].pid_namespace, 0);
    registered_put(&r[0], pid, here);
}

/* The consumer-to-be, in the host's memory until it execs: system calls only. Every signal is blocked, and
 * stays so in the new program until that has decided about each. */
static int become(void *arg)
{
    struct start *s = arg;
    /* Before it can have ended: a reaper's wait may return it any time after that. */
    registered_add(s->arena, (pid_t)syscall(SYS_getpid));
    setsid(); /* what is sent to the host's process group, or by its terminal, is not for us */
    keep_stdio_only();
    syscall(SYS_execve, command, s->argv, environment);
    s->error = errno;
    return 127;
}

static int between(void *arg)
{
    struct start *s = arg;
    s->pid = NEXT(clone)(become, stacks[1] + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
    if (s->pid < 0)
        s->error = errno;
    return 0;
}

/* Orphans come to this process. */
static bool reaper(void)
{
    int sub = 0;
    return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &sub, 0, 0, 0) == 0 && sub);
}

bool oneshot_is_ours(const struct arena *a, pid_t pid)
{
    struct registered *r = a->header->registered;
    for (unsigned i = 0; i < REGISTERED_MAX; i++) {
        if (atomic_load_explicit(&r[i].pid, memory_order_relaxed) != (uint32_t)pid)
            continue;
        uint64_t here = own_pid_namespace();
        if (reaper() && atomic_compare_exchange_strong(&r[i].pid_namespace, &here, 0))
            return true;
    }
    return false;
}

static bool registered_here(const struct arena *a, uint32_t pid, uint64_t here)
{
    struct registered *r = a->header->registered;
    for (unsigned i = 0; i < REGISTERED_MAX; i++)
        if (atomic_load(&r[i].pid_namespace) == here && (pid == 0 || atomic_load(&r[i].pid) == pid))
            return true;
    return false;
}

/* Of one thread: adds up its children, of ours and of others. False: the file is not there. */
static bool children_of(const struct arena *a, const char *tid, uint64_t here, unsigned count[2])
{
    char path[64] = "/proc/self/task/", text[128];
    size_t n = strnlen(tid, DECIMAL_MAX);
    memcpy(path + 16, tid, n);
    memcpy(path + 16 + n, "/children", 10);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    uint32_t pid = 0;
    ssize_t got;
    while ((got = __read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (uint32_t)(text[i] - '0');
            } else if (pid != 0) {
                count[registered_here(a, pid, here)]++;
                pid = 0;
            }
        }
    __close(fd);
    return true;
}

bool oneshot_only_child(const struct arena *a)
{
    struct registered *r = a->header->registered;
    bool any = false;
    for (unsigned i = 0; i < REGISTERED_MAX; i++)
        any |= atomic_load_explicit(&r[i].pid_namespace, memory_order_relaxed) != 0;
    uint64_t here = any && reaper() ? own_pid_namespace() : 0;
    if (here == 0 || !registered_here(a, 0, here))
        return false;
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    unsigned count[2] = {0, 0}; /* others', ours */
    bool known = true;
    char entries[256];
    long got;
    while ((got = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0)
        for (long at = 0; at < got;) {
            const char *name = entries + at + offsetof(struct dirent64, d_name);
            uint16_t length;
            memcpy(&length, entries + at + offsetof(struct dirent64, d_reclen), sizeof length);
            if (*name != '.')
                known &= children_of(a, name, here, count);
            at += length;
        }
    __close(fd);
    return known && got == 0 && count[0] == 0 && count[1] != 0;
}

/* Waits while *word is `seen`; false when the time is up. Looks up every 20 ms: a killed one tells nobody. */
static bool pause_at(_Atomic uint32_t *word, uint32_t seen, uint64_t end)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now >= end)
        return false;
    futex_wait(word, seen, end - now < 20000000u ? end - now : 20000000u);
    return true;
}

bool oneshot_gone(const struct arena *a, uint64_t me, uint32_t timeout_ms)
{
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        uint32_t seen = atomic_load(&a->header->left);
        if (sweep_other_consumer(a, me) != SWEEP_ONE_SHOT)
            return true;
        if (!pause_at(&a->header->left, seen, end))
            return false;
    }
}

/* Two clones in the host's memory while it waits; errno and signals as they were. The consumer's pid, or 0.
 */
static pid_t spawn(const struct arena *a, enum oneshot_mode mode, int *error)
{
    int keep = errno;
    struct start s = {.arena = a, .argv = arguments[mode]};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t pid = NEXT(clone)(between, stacks[0] + STACK, CLONE_VM | CLONE_VFORK, &s);
    if (pid < 0)
        s.error = errno;
    else
        while (syscall(SYS_wait4, pid, NULL, __WCLONE, NULL) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = keep;
    *error = s.error;
    return s.error ? 0 : s.pid;
}

void oneshot_postfork_child(void)
{
    atomic_store(&starting, 0);
}

/* The segment is its maker's: another id (a worker that dropped its rights) could not attach it. */
static bool of_the_user(const struct arena *a)
{
    uid_t user = geteuid();
    return user == 0 || user == a->header->maker;
}

bool oneshot_start(const struct arena *a, enum oneshot_mode mode, uint32_t timeout_ms)
{
    static const char lost[] = "spans that no process is left to send are lost";
    if ((a->id < 0 && !a->file) || permanent_in_vain(a))
        return false;
    if (!environment) {
        log_warn("the command forkspan is not beside libforkspan.so: %s", lost);
        return false;
    }
    uint32_t no = 0;
    if (!of_the_user(a) || !atomic_compare_exchange_strong(&starting, &no, 1))
        return false;
    uint32_t came = atomic_load(&a->header->came);
    int error;
    pid_t pid = spawn(a, mode, &error);
    atomic_store(&starting, 0);
    if (!pid) {
        log_warn("%s can not be started (errno %d): %s", command, error, lost);
        return false;
    }
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;
    while (timeout_ms && atomic_load(&a->header->came) == came)
        if (!pause_at(&a->header->came, came, end))
            return false;
    return true;
}

bool oneshot_start_permanent(const struct arena *a, uint32_t timeout_ms)
{
    struct arena_header *h = a->header;
    uint64_t now = clock_ns(CLOCK_MONOTONIC), then = atomic_load(&h->permanent_ns);
    if (permanent_in_vain(a) || arena_segment(a) < 0 || !environment || !of_the_user(a))
        return false;
    if ((then != 0 && now - then < START_EVERY_NS) ||
        !atomic_compare_exchange_strong(&h->permanent_ns, &then, now))
        return true;
    return oneshot_start(a, ONESHOT_STAY, timeout_ms);
}
