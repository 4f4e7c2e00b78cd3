/* SPDX-License-Identifier: Apache-2.0
 * witness.c - a program that says all it can see of itself and its children: the same with forkspan as
 * without. What it does besides is make spans (if there is somebody to make them for) and leave in the usual
 * ways.
 *
 * witness children N   N children, each ends a span and leaves in its way; every wait there is sees them
 * witness exec N       N spans, then exec in the same pid, which looks around and makes one more
 * witness noexec N     an exec that fails in the middle of N spans
 * witness execs N      as exec, by each of the exec functions in turn
 * witness ends N       N spans, then ends itself by a signal that it leaves at its default action
 * witness users        root's children of two other users: one of each is killed, and one of the second exits
 * witness many N      N children that live at the same time, each with a span
 * witness young N      a master whose N children are killed after one span each; then it lives until stdin
 * ends
 * witness forks N      serves a request; a span, a fork and a byte of stdin, N times, and a span; then it
 * lives until stdin ends
 */
#include "forkspan.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t sigchld;

static void on_sigchld(int signal_number)
{
    (void)signal_number;
    sigchld++;
}

static void span(const char *kind, int i)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%d", kind, i);
    forkspan_end(forkspan_start(name, FORKSPAN_INTERNAL, NULL));
}

static int entries(const char *directory)
{
    int n = 0;
    DIR *d = opendir(directory);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* All that a program could count. */
static void look_around(const char *when)
{
    sigset_t mask;
    struct sigaction action;
    int blocked = 0, handled = 0, ignored = 0;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int s = 1; s < 32; s++) {
        blocked += sigismember(&mask, s);
        if (sigaction(s, NULL, &action) == 0) {
            ignored += action.sa_handler == SIG_IGN;
            handled += action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL;
        }
    }
    char children[4096] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = read(fd, children, sizeof children - 1);
        children[got > 0 ? got : 0] = '\0';
        close(fd);
    }
    errno = 0;
    int status = 12345, any = waitpid(-1, &status, WNOHANG);
    printf("%s: fds %d threads %d children '%s' waitpid(-1) %d %s status %d blocked %d handled %d ignored %d "
           "sigchld %d environment %s\n",
           when, entries("/proc/self/fd"), entries("/proc/self/task"), children, any,
           any < 0 ? strerror(errno) : "-", status, blocked, handled, ignored, (int)sigchld,
           getenv("WITNESS") ? getenv("WITNESS") : "-");
    fflush(stdout);
}

/* Without a listener a process is not one that serves: make it one. */
static void listen_somewhere(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || listen(fd, 5) != 0)
        exit(9);
}

/* A request of its own, read and answered: who serves has a batch thread. */
static void serve_once(void)
{
    static const char request[] = "GET /once HTTP/1.1\r\nHost: it\r\n\r\n",
                      answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    char head[100];
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), peer;
    if (bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, 5) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0 ||
        connect(client, (struct sockaddr *)&at, len) != 0 || (peer = accept(listener, NULL, NULL)) < 0 ||
        write(client, request, sizeof request - 1) < 0 || read(peer, head, sizeof head) <= 0 ||
        write(peer, answer, sizeof answer - 1) < 0)
        exit(9);
    close(peer);
    close(client);
    close(listener);
}

static void child(int i)
{
    static const char *const words[] = {"a", "b"};
    span("child", i);
    switch (i % 5) {
    case 0:
        _exit(i % 100);
    case 1:
        raise(SIGKILL);
        break;
    case 2: {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        abort();
    }
    case 3:
        exit(3); /* with an exit path */
    default:
        execl("/bin/false", words[0], words[1], (char *)NULL);
    }
    _exit(99);
}

/* By each of the family in turn; what it told goes to standard output. */
static void reap(int i, pid_t pid)
{
    int status = -1;
    struct rusage usage;
    siginfo_t info;
    memset(&info, 0, sizeof info);
    pid_t got = -1;
    errno = 0;
    switch (i % 7) {
    case 0:
        got = waitpid(-1, &status, 0);
        break;
    case 1:
        got = wait(&status);
        break;
    case 2:
        got = wait3(&status, 0, &usage);
        break;
    case 3:
        got = wait4(pid, &status, 0, &usage);
        break;
    case 4:
        while ((got = waitpid(pid, &status, WNOHANG)) == 0)
            usleep(1000);
        break;
    case 5:
        got = waitid(P_ALL, 0, &info, WEXITED) == 0 ? info.si_pid : -1;
        status = info.si_status * 1000 + info.si_code;
        break;
    default:
        got = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 ? info.si_pid : -1;
        if (waitpid(got, NULL, 0) != got) /* and now for good */
            got = -2;
        status = info.si_status * 1000 + info.si_code;
    }
    printf("%d: %s status %d errno %d\n", i, got == pid ? "the child" : "somebody else", status,
           got < 0 ? errno : 0);
}

static void children(int n)
{
    listen_somewhere();
    signal(SIGCHLD, on_sigchld);
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            child(i);
        reap(i, pid);
    }
    errno = 0;
    int all = waitpid(-1, NULL, __WALL), error = errno;
    printf("waitpid(-1, __WALL) %d %s\n", all, strerror(error));
    look_around("at the end");
}

/* argv[3]: which function comes next. */
static void by_exec(const char *self, char **argv, int which)
{
    char next[16];
    snprintf(next, sizeof next, "%d", which + 1);
    char *args[] = {argv[0], argv[1], argv[2], next, NULL};
    setenv("WITNESS", "inherited", 1);
    switch (which) {
    case 0:
        execv(self, args);
        break;
    case 1:
        execve(self, args, environ);
        break;
    case 2:
        execvp(self, args);
        break;
    case 3:
        execvpe(self, args, environ);
        break;
    case 4:
        execl(self, argv[0], argv[1], argv[2], next, (char *)NULL);
        break;
    case 5:
        execlp(self, argv[0], argv[1], argv[2], next, (char *)NULL);
        break;
    case 6:
        execle(self, argv[0], argv[1], argv[2], next, (char *)NULL, environ);
        break;
    case 7:
        fexecve(open(self, O_RDONLY | O_CLOEXEC), args, environ);
        break;
    default:
        execveat(AT_FDCWD, self, args, environ, 0);
    }
    exit(8);
}

/* argv[3]: how. */
static void by_signal(int how)
{
    switch (how) {
    case 0:
        raise(SIGTERM);
        break;
    case 1:
        kill(getpid(), SIGINT);
        break;
    case 2: /* as uvicorn: its handler has stopped the server, and goes */
        signal(SIGQUIT, on_sigchld);
        raise(SIGQUIT);
        signal(SIGQUIT, SIG_DFL);
        raise(SIGQUIT);
        break;
    default: /* the control: nobody sees it coming */
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTERM);
    }
    exit(9);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int n = argc > 2 ? atoi(argv[2]) : 10, which = argc > 3 ? atoi(argv[3]) : 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "children")) {
        children(n);
    } else if (!strcmp(what, "exec") || !strcmp(what, "execs")) {
        int last = !strcmp(what, "exec") ? 1 : 9;
        if (which)
            look_around("after exec");
        for (int i = 0; i < n && which < last; i++)
            span("before", which * n + i);
        if (which < last)
            by_exec("/proc/self/exe", argv, which);
        span("after", 0);
    } else if (!strcmp(what, "ends")) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        for (int i = 0; i < n; i++)
            span("last", i);
        look_around("before the signal");
        by_signal(which);
    } else if (!strcmp(what, "noexec")) {
        for (int i = 0; i < n; i++) {
            errno = 0;
            if (i == n / 2)
                printf("exec %d %d\n", execl("/nowhere", "x", (char *)NULL), errno);
            span("still", i);
        }
        look_around("after a failed exec");
    } else if (!strcmp(what, "users")) {
        static const uid_t users[] = {65534, 65533, 65533};
        listen_somewhere();
        for (int i = 0; i < 3; i++) {
            pid_t pid = fork();
            if (pid == 0) {
                if (setgid(users[i]) != 0 || setuid(users[i]) != 0)
                    _exit(9);
                span("user", i);
                if (i < 2)
                    raise(SIGKILL);
                exit(0);
            }
            waitpid(pid, NULL, 0);
        }
    } else if (!strcmp(what, "many")) {
        int all_there[2];
        char c;
        listen_somewhere();
        if (pipe(all_there) != 0)
            return 9;
        for (int i = 0; i < n; i++)
            if (fork() == 0) {
                span("many", i);
                close(all_there[1]);
                while (read(all_there[0], &c, 1) < 0)
                    ;
                _exit(0);
            }
        close(all_there[1]); /* all of them live: now they may go */
        while (wait(NULL) > 0)
            ;
    } else if (!strcmp(what, "young")) {
        listen_somewhere();
        for (int i = 0; i < n; i++) {
            pid_t pid = fork();
            if (pid == 0) {
                span("young", i);
                raise(SIGKILL);
            }
            waitpid(pid, NULL, 0);
        }
        printf("all died\n");
        char c;
        while (read(0, &c, 1) < 0)
            ;
        look_around("at the end");
        _exit(0); /* no exit path: what is unsent now stays so */
    } else if (!strcmp(what, "forks")) {
        serve_once();
        char c;
        for (int i = 0; i < n; i++) {
            span("sealed", i);
            pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            waitpid(pid, NULL, 0);
            if (read(0, &c, 1) != 1)
                return 9;
        }
        span("late", 0);
        printf("one more\n");
        fflush(stdout);
        while (read(0, &c, 1) < 0)
            ;
        _exit(0);
    } else {
        return 2;
    }
    return 0;
}
