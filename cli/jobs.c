/* SPDX-License-Identifier: Apache-2.0
 * jobs.c - the parent of the command, which should be noticed by nobody.
 *
 * Forkspan stays in the process group of its command, so that the terminal and the shell treat both as one
 * job. Then what the terminal sends (^C, ^Z, a hangup, a new window size) reaches the command without us;
 * what somebody sends to our process id alone is passed on. The kernel tells the two apart: si_code is
 * SI_KERNEL for the first.
 *
 * A signal sent with kill(2) to the whole group cannot be told from one to our id alone: the command gets it
 * twice (a limit named in README.md).
 *
 * All signals but those of our own faults stay blocked and are taken one by one with sigwaitinfo: no
 * handlers, no races between a signal and a wait.
 */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct job {
    pid_t command;
    bool ended, stopped;
    int status; /* as wait gave it */
    int stopped_by;
};

/* What the command must find as we found it. */
struct inherited {
    sigset_t mask;
    struct sigaction child_action;
};

int become_command(const char *path, char **argv)
{
    execve(path, argv, environ);
    if (errno == ENOEXEC) {
        size_t count = 0;
        while (argv[count])
            count++;
        char **shell = calloc(count + 2, sizeof *shell);
        if (shell) {
            shell[0] = (char *)(uintptr_t) "sh";
            shell[1] = (char *)(uintptr_t)path;
            memcpy(shell + 2, argv + 1, count * sizeof *shell); /* the NULL, too */
            execve("/bin/sh", shell, environ);
            free(shell);
        }
    }
    complain("%s cannot be executed: %s", path, strerror(errno));
    return EXIT_NOT_EXECUTABLE;
}

/* systemd tells by pid whose its sockets and its watchdog are: ours, until now. */
static void pass_on_pid(const char *name, pid_t parent)
{
    const char *value = getenv(name);
    if (!value || atol(value) != parent)
        return;
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv(name, pid, 1);
}

_Noreturn static void be_child(const char *path, char **argv, const struct inherited *inherited, pid_t parent)
{
    pass_on_pid("LISTEN_PID", parent);
    pass_on_pid("WATCHDOG_PID", parent);
    sigaction(SIGCHLD, &inherited->child_action, NULL);
    sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
    _exit(become_command(path, argv));
}

/* Where standard output and error are, without having them open: whoever reads a pipe sees its end. */
static int places[] = {[STDOUT_FILENO] = -1, [STDERR_FILENO] = -1};

static void fd_path(char path[32], int fd)
{
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* The files belong to the command: while we hold a copy, its closing a listening socket or the end of a pipe
 * would change nothing. */
static void let_go_of_files(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    DIR *list = opendir("/proc/self/fd");
    if (list) {
        for (struct dirent *entry; (entry = readdir(list));) {
            int fd = atoi(entry->d_name);
            if (fd > STDERR_FILENO && fd != dirfd(list) && fd != null)
                close(fd);
        }
        closedir(list);
    }
    if (null < 0)
        return;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        char path[32];
        fd_path(path, fd);
        if (fd != STDIN_FILENO)
            places[fd] = open(path, O_PATH | O_CLOEXEC);
        dup2(null, fd);
    }
    if (null > STDERR_FILENO)
        close(null);
}

/* The command has ended: what there is to say goes where it would have said it, if somebody still reads. */
static void come_back_to_files(void)
{
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        char path[32];
        fd_path(path, places[fd]);
        int file = places[fd] < 0 ? -1 : open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file < 0)
            continue;
        dup2(file, fd);
        if (file != fd)
            close(file);
    }
}

/* Takes the news of all children; as pid 1, and after an exec over a shell with jobs, not all of them are
 * ours. */
static void reap(struct job *job)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0;) {
        if (pid != job->command)
            continue;
        if (WIFSTOPPED(status)) {
            job->stopped = true;
            job->stopped_by = WSTOPSIG(status);
        } else if (WIFCONTINUED(status)) {
            job->stopped = false;
        } else {
            job->ended = true;
            job->status = status;
        }
    }
}

static void continue_command(struct job *job)
{
    /* After `fg` the whole group was continued, but after `kill -CONT` perhaps we alone. */
    reap(job);
    if (job->stopped && !job->ended)
        kill(job->command, SIGCONT);
}

static void block(int number, int how)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    sigprocmask(how, &one, NULL);
}

static bool take_if_pending(int number)
{
    static const struct timespec now = {0, 0};
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    return sigtimedwait(&one, NULL, &now) == number;
}

/* The shell watches us, not the command: it must see a stopped job. Where no shell watches (an orphaned
 * process group, pid 1) the kernel ignores these signals by itself, which is why SIGSTOP, that it would obey,
 * is not used: nobody would wake us. */
static void stop_with_command(struct job *job)
{
    int stop = job->stopped_by == SIGTTIN || job->stopped_by == SIGTTOU ? job->stopped_by : SIGTSTP;
    struct sigaction normal = {.sa_handler = SIG_DFL}, before;
    if (take_if_pending(SIGCONT)) {
        continue_command(job);
        return;
    }
    sigaction(stop, &normal, &before);
    raise(stop); /* pending: a SIGCONT takes it away from here on */
    reap(job);
    if (job->stopped)
        block(stop, SIG_UNBLOCK); /* here we stand still */
    block(stop, SIG_BLOCK);
    take_if_pending(stop);
    sigaction(stop, &before, NULL);
    if (take_if_pending(SIGCONT))
        continue_command(job);
}

/* The parent of |pid|, or 0. */
static pid_t parent_of(pid_t pid)
{
    char path[32], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, line, sizeof line - 1);
    close(fd);
    line[length > 0 ? length : 0] = 0;
    const char *name_end = strrchr(line, ')'); /* the name may hold anything */
    int parent = 0;
    return name_end && sscanf(name_end, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* Whether |pid| is the command or was started by it. */
static bool in_command(const struct job *job, pid_t pid)
{
    for (int depth = 0; pid > 1 && depth < 1000; depth++) {
        if (pid == job->command)
            return true;
        pid = parent_of(pid);
    }
    return false;
}

static bool to_pass_on(const struct job *job, const siginfo_t *info)
{
    if (info->si_code == SI_KERNEL) /* unless the command left for a group of its own */
        return getpgid(job->command) != getpgrp();
    if (info->si_pid == getpid())
        return false;
    /* `kill 0` in the command has reached the command. But pid 1 is signalled from inside on purpose: that is
     * how a container is told to stop. */
    return getpid() == 1 || !in_command(job, info->si_pid);
}

static void pass_on(struct job *job, const siginfo_t *info)
{
    if (!to_pass_on(job, info))
        return;
    if (info->si_code == SI_QUEUE)
        sigqueue(job->command, info->si_signo, info->si_value);
    else
        kill(job->command, info->si_signo);
}

/* Dies as the command did, so that whoever waits for us learns it; without a core file of ours over its own.
 */
static int end_like(int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    int number = WTERMSIG(status);
    if (getpid() != 1) { /* no default action ends pid 1 */
        struct sigaction normal = {.sa_handler = SIG_DFL};
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* a core pattern with a pipe does not ask the limit */
        sigaction(number, &normal, NULL);
        raise(number);
        block(number, SIG_UNBLOCK);
    }
    return 128 + number;
}

int parent_command(const char *path, char **argv)
{
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    struct inherited inherited;
    struct sigaction normal = {.sa_handler = SIG_DFL};
    sigset_t taken;
    sigfillset(&taken);
    for (size_t i = 0; i < sizeof own_faults / sizeof *own_faults; i++)
        sigdelset(&taken, own_faults[i]);
    sigprocmask(SIG_BLOCK, &taken, &inherited.mask);
    sigaction(SIGCHLD, &normal,
              &inherited.child_action); /* inherited as ignored, it would take the exit status */

    pid_t parent = getpid();
    struct job job = {.command = fork()};
    if (job.command < 0) {
        complain("cannot start a process: %s", strerror(errno));
        return EXIT_NOT_EXECUTABLE;
    }
    if (!job.command)
        be_child(path, argv, &inherited, parent);
    let_go_of_files();

    for (;;) {
        siginfo_t info;
        if (sigwaitinfo(&taken, &info) < 0)
            continue;
        if (info.si_signo != SIGCHLD) {
            pass_on(&job, &info);
            continue;
        }
        bool was_stopped = job.stopped;
        reap(&job);
        if (job.ended) {
            come_back_to_files();
            tree_end(job.command, job.status);
            return end_like(job.status);
        }
        if (job.stopped && !was_stopped)
            stop_with_command(&job);
    }
}
