/* SPDX-License-Identifier: Apache-2.0
 * host.c - programs that export has to live with. Built with and without an OpenSSL of its own (OWN_OPENSSL).
 *
 *   host exit main|handler US      some spans are being sent; exit() after US microseconds, from main or a
 * handler host locked                    exit() while the host's allocator is locked, as by a handler that
 * interrupted it host storm ROUNDS              closes every fd and uses the numbers itself, again and again,
 * while exporting host cage DIRECTORY            listens, forks; the child leaves for an empty directory,
 * drops its rights, and a filter refuses to open files; then it makes spans host plain COUNT PAUSE_MS spans,
 * one each pause, each flushed
 *
 * Each prints "made N" at its end, and what else it found.
 */
#include "forkspan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef OWN_OPENSSL
#include <openssl/evp.h>
#include <openssl/ssl.h>
#endif

static unsigned made;

static void make(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "host-%u", made++);
        struct forkspan_span *s = forkspan_start(name, FORKSPAN_SERVER, FORKSPAN_ROOT);
        forkspan_set_string(s, "text", "................................................................");
        forkspan_end(s);
    }
}

static void own_library(void)
{
#ifdef OWN_OPENSSL
    /* A context that lives to the end, and work that makes tables: exit() takes them apart. */
    static SSL_CTX *context;
    context = SSL_CTX_new(TLS_client_method());
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len;
    if (!context || !EVP_Digest("x", 1, out, &len, EVP_sha256(), NULL))
        exit(9);
#endif
}

/* -- exit -- */

static void leave(int signal)
{
    (void)signal;
    exit(0); /* as uWSGI and Apache do */
}

static int mode_exit(const char *from, unsigned us)
{
    make(512);
    forkspan_flush(1); /* it is on its way now */
    struct timespec pause = {0, us * 1000};
    nanosleep(&pause, NULL);
    printf("made %u\n", made);
    fflush(stdout);
    if (strcmp(from, "handler") == 0) {
        signal(SIGUSR1, leave);
        raise(SIGUSR1);
    }
    exit(0);
}

/* -- an allocator that is locked -- */

#define HOSTS __attribute__((visibility("default")))
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static _Atomic int locked; /* by the thread that exits: no other one gets memory any more, ever */
static _Thread_local bool exits;

static void take(void)
{
    static const char text[] = "waited\n";
    static _Atomic int once;
    while (atomic_load(&locked) && !exits) {
        if (!atomic_exchange(&once, 1) && write(1, text, sizeof text - 1) < 0)
            _exit(3);
        pause();
    }
}

HOSTS void *malloc(size_t n)
{
    take();
    return __libc_malloc(n);
}
HOSTS void *calloc(size_t n, size_t size)
{
    take();
    return __libc_calloc(n, size);
}
HOSTS void *realloc(void *p, size_t n)
{
    take();
    return __libc_realloc(p, n);
}
HOSTS void free(void *p)
{
    take();
    __libc_free(p);
}

static int mode_locked(void)
{
    make(100);
    printf("made %u\n", made);
    fflush(stdout);
    forkspan_flush(5000); /* the exporter is open, connected, and has sent */
    make(100);
    exits = true;
    atomic_store(&locked, 1);
    exit(0);
}

/* -- numbers used again -- */

enum { LOW = 195, NUMBERS = 48, TOKEN = 16 };

static int mode_storm(unsigned rounds)
{
    char directory[] = "/tmp/forkspan-storm-XXXXXX";
    if (!mkdtemp(directory))
        return 2;
    unsigned strange = 0, lost = 0, refused = 0;
    for (unsigned round = 0; round < rounds; round++) {
        make(5);
        forkspan_flush(round % 7 == 0 ? 20 : 1); /* the thread is somewhere in its connection */
        close_range(3, ~0u, 0);
        int ours[NUMBERS], other[NUMBERS];
        for (int i = 0; i < NUMBERS; i++) {
            ours[i] = LOW + i;
            other[i] = -1;
            if (i % 2) { /* a socket: what is sent on it comes out at the other end */
                int pair[2];
                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
                    return 3;
                dup2(pair[0], ours[i]);
                other[i] = fcntl(pair[1], F_DUPFD, 400);
                close(pair[0]);
                close(pair[1]);
            } else {
                char path[64];
                snprintf(path, sizeof path, "%s/%d", directory, i);
                int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
                if (fd < 0)
                    return 4;
                dup2(fd, ours[i]);
                close(fd);
            }
        }
        char token[TOKEN + 1];
        snprintf(token, sizeof token, "%016u", round);
        for (int k = 0; k < 3; k++) {
            make(5);
            for (int i = 0; i < NUMBERS; i++)
                refused += write(ours[i], token, TOKEN) != TOKEN;
            struct timespec pause = {0, 300000};
            nanosleep(&pause, NULL);
        }
        for (int i = 0; i < NUMBERS; i++) {
            char text[4096];
            ssize_t n = i % 2 ? read(other[i], text, sizeof text) : pread(ours[i], text, sizeof text, 0);
            if (n != 3 * TOKEN)
                n > 3 * TOKEN ? strange++ : lost++;
            else if (memcmp(text, token, TOKEN) || memcmp(text + TOKEN, token, TOKEN) ||
                     memcmp(text + 2 * TOKEN, token, TOKEN))
                strange++;
        }
    }
    close_range(3, ~0u, 0);
    make(1);
    forkspan_flush(5000);
    printf("made %u\nrounds %u strange %u lost %u refused %u\n", made, rounds, strange, lost, refused);
    fflush(stdout);
    if (chdir("/tmp") == 0)
        execlp("rm", "rm", "-rf", directory, (char *)NULL);
    return 0;
}

/* -- a worker in a cage -- */

static bool no_more_files(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int mode_cage(const char *directory)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 5) != 0)
        return 2;
    pid_t worker = fork();
    if (worker == 0) {
        if (chroot(directory) != 0 || chdir("/") != 0 || setgid(65534) != 0 || setuid(65534) != 0 ||
            !no_more_files())
            _exit(3);
        make(10);
        bool flushed = forkspan_flush(8000);
        printf("made %u\nflushed %d\n", made, flushed);
        fflush(stdout);
        exit(0);
    }
    int status = -1;
    waitpid(worker, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

int main(int argc, char **argv)
{
    own_library();
    const char *mode = argc > 1 ? argv[1] : "", *first = argc > 2 ? argv[2] : "";
    unsigned number = (unsigned)strtoul(argc > 3 ? argv[3] : first, NULL, 10);
    if (!forkspan_enabled())
        return 8;
    if (strcmp(mode, "exit") == 0)
        return mode_exit(first, number);
    if (strcmp(mode, "locked") == 0)
        return mode_locked();
    if (strcmp(mode, "storm") == 0)
        return mode_storm(number);
    if (strcmp(mode, "cage") == 0)
        return mode_cage(first);
    if (strcmp(mode, "taken") == 0) {
        int file = open(first, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(file, 2);
        make(5);
        forkspan_flush(5000);
        printf("made %u\n", made);
        return 0;
    }
    if (strcmp(mode, "late") == 0) {
        make(5);
        forkspan_flush(5000);
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        if (listen(listener, 5) != 0)
            return 2;
        make(5);
        printf("made %u\nflushed %d\n", made, forkspan_flush(5000));
        return 0;
    }
    if (strcmp(mode, "plain") == 0) {
        for (unsigned i = (unsigned)strtoul(first, NULL, 10); i > 0; i--) {
            make(1);
            forkspan_flush(5000);
            usleep(number * 1000);
        }
        printf("made %u\n", made);
        return 0;
    }
    return 1;
}
