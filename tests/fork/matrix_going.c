/* SPDX-License-Identifier: Apache-2.0
 * matrix_going.c - what a child of the matrix does with its life.
 */
#include "matrix.h"

#include "forkspan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;
extern int listener, listener_port;

char *const *exec_arguments(const char *who)
{
    static char name[96];
    static char *arguments[4];
    snprintf(name, sizeof name, "%s.exec", who);
    arguments[0] = (char *)(uintptr_t)opt.self;
    arguments[1] = (char *)(uintptr_t)opt.folder;
    arguments[2] = name;
    return arguments;
}

void exec_self(const char *who)
{
    execve(opt.self, exec_arguments(who), environ);
    _exit(98);
}

int exec_target(const char *who)
{
    see_process(who, errno);
    see_threads(who, 1);
    make("release");
    end_spans(who, 1);
    return CODE;
}

/* One HTTP request to ourselves through the inherited listening socket, served as a worker does. */
int serve_request(const char *who)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)listener_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char text[200];
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&to, sizeof to) != 0)
        return -1;
    int n = snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: matrix\r\n\r\n", who);
    if (send(client, text, (size_t)n, 0) != n)
        return -1;
    int server = accept(listener, NULL, NULL);
    if (server < 0)
        return -1;
    ssize_t got = recv(server, text, sizeof text, 0);
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    ssize_t sent = send(server, answer, sizeof answer - 1, 0);
    close(server);
    char back[sizeof answer];
    ssize_t came = recv(client, back, sizeof back, MSG_WAITALL);
    close(client);
    return got == n && sent == (ssize_t)sizeof answer - 1 && came == sent &&
                   memcmp(back, answer, (size_t)came) == 0
               ? 0
               : -1;
}

/* No new thread, file, socket or shared memory from here on: EPERM, as a sandbox does it. */
static int enter_sandbox(void)
{
#define REFUSE(number)                                                                                       \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
    struct sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                                   REFUSE(SYS_clone),
                                   REFUSE(SYS_clone3),
                                   REFUSE(SYS_socket),
                                   REFUSE(SYS_shmget),
                                   REFUSE(SYS_shmat),
                                   REFUSE(SYS_set_robust_list),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int go_on(const char *who, int error, bool thread)
{
    bool eager = opt.seccomp_child && traced;
    see_process(who, error);
    see_threads(who, eager ? 2 : 1);
    if (opt.reuse_child)
        reuse_fds(who);
    if (opt.setuid_child)
        fact("h %s setuid %d", who, setgid(65534) || setuid(65534));
    if (opt.seccomp_child)
        fact("h %s sandbox %d", who, enter_sandbox());
    if (strcmp(opt.going, "killed") != 0 && strcmp(opt.going, "_exit") != 0)
        make("release"); /* this child is to send, or its exec'd program */
    if (strcmp(opt.going, "serve") == 0) {
        if (listener >= 0 && !opt.seccomp_child && !opt.reuse_child && !opt.reuse_parent) {
            fact("h %s request %d", who, serve_request(who));
            if (traced)
                fact("s GET /%s 200", who);
        }
        end_spans(who, 2);
        bool sent = forkspan_flush(8000);
        if (traced && thread && !sent)
            fact("h %s flushed 0", who);
        see_threads(who, traced && (thread || eager) ? 2 : 1);
        char last[64];
        snprintf(last, sizeof last, "%s.last", who);
        end_spans(last, 1); /* and one that the exit has to send, or the parent */
        exit(CODE);
    }
    if (!opt.quiet)
        end_spans(who, 2);
    if (opt.child_flush && thread) {
        forkspan_flush(8000);
        see_threads(who, traced ? 2 : 1);
    }
    if (strcmp(opt.going, "exit") == 0)
        exit(CODE);
    if (strcmp(opt.going, "_exit") == 0)
        _exit(CODE);
    if (strcmp(opt.going, "quick_exit") == 0)
        quick_exit(CODE);
    if (strcmp(opt.going, "exec") == 0)
        exec_self(who);
    if (strcmp(opt.going, "abort") == 0)
        abort();
    if (strcmp(opt.going, "killed") == 0)
        kill(getpid(), SIGKILL);
    return CODE;
}
