/* SPDX-License-Identifier: Apache-2.0
 * matrix.c - sets the circumstances up, forks as asked, and takes them down (matrix.h).
 *
 *     matrix WAY GOING FOLDER [NAME[=NUMBER]...]
 *     matrix FOLDER WHO            the program that an exec'd child is
 */
#include "matrix.h"

#include "forkspan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct options opt = {.rounds = 1};
bool traced;
int listener = -1, listener_port;

static _Atomic bool done;
static pthread_mutex_t app_lock = PTHREAD_MUTEX_INITIALIZER;

#define FLAG(name)                                                                                           \
    {                                                                                                        \
#name, offsetof(struct options, name), sizeof((struct options *)0)->name                             \
    }
static const struct {
    const char *name;
    size_t offset, size;
} flags[] = {
    FLAG(rounds),       FLAG(enders),      FLAG(batch),        FLAG(spans),         FLAG(alloc),
    FLAG(stall),        FLAG(stuck),       FLAG(fill),         FLAG(listens),       FLAG(busy_parent),
    FLAG(reuse_parent), FLAG(reuse_child), FLAG(setuid_child), FLAG(seccomp_child), FLAG(setuid_parent),
    FLAG(sigwait),      FLAG(atfork),      FLAG(atfork_flush), FLAG(dlclose),       FLAG(lost_forker),
    FLAG(open_request), FLAG(slow),        FLAG(quiet),        FLAG(starting),      FLAG(child_flush)};

static bool take_option(const char *text)
{
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strlen(flags[i].name) == n && strncmp(flags[i].name, text, n) == 0) {
            char *at = (char *)&opt + flags[i].offset;
            int value = equals ? atoi(equals + 1) : 1;
            if (flags[i].size == sizeof(bool))
                *(bool *)at = value != 0;
            else
                *(int *)at = value;
            return true;
        }
    return false;
}

/* In bursts: the queue is to be neither empty nor full all the time, and nothing is to be dropped. */
enum { BURST = 12, PAUSE_US = 15000 };

static void *end_many(void *arg)
{
    char name[64];
    unsigned n = 0;
    while (!atomic_load(&done)) {
        for (int i = 0; i < BURST && !atomic_load(&done); i++) {
            snprintf(name, sizeof name, "e%d-%u", (int)(intptr_t)arg, n++);
            if (opt.atfork || opt.atfork_flush)
                pthread_mutex_lock(&app_lock);
            end_span(name);
            if (opt.atfork_flush)
                forkspan_flush(5000);
            if (opt.atfork || opt.atfork_flush)
                pthread_mutex_unlock(&app_lock);
        }
        if (opt.alloc)
            for (size_t i = 0; i < 4000; i++) { /* mostly inside the allocator */
                char *volatile p = malloc(i % 70000 + 2000);
                free(p);
            }
        usleep(PAUSE_US);
    }
    if (traced)
        fact("n e%d %u", (int)(intptr_t)arg, n);
    return NULL;
}

static void app_prepare(void)
{
    pthread_mutex_lock(&app_lock);
}
static void app_parent(void)
{
    pthread_mutex_unlock(&app_lock);
}
static void app_child(void)
{
    pthread_mutex_init(&app_lock, NULL);
}

/* The listening socket of a master, which its children inherit. */
static void listen_now(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0)
        _exit(97);
    listener_port = ntohs(at.sin_port);
}

/* Closes every file above stderr, as servers do, and uses the numbers for files of the application, up to
 * those that an exporter may have had. The runner looks at their bytes. */
void reuse_fds(const char *who)
{
#ifdef __GLIBC__
    closefrom(3);
#else
    syscall(SYS_close_range, 3u, ~0u, 0u);
#endif
    for (int i = 3; i < 300; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/own.%s.%d", opt.folder, who, i);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || write(fd, "mine\n", 5) != 5)
            _exit(96);
    }
}

static void *set_ids(void *arg)
{
    (void)arg;
    fact("h setuid %d", setgid(65534) || setuid(65534));
    return NULL;
}

static volatile sig_atomic_t signals;
static pthread_t main_thread;
static void on_signal(int signal)
{
    (void)signal;
    signals += pthread_equal(pthread_self(), main_thread) ? 1 : 1000;
}

/* A signal for the process, blocked in every thread of the application: it stays until somebody waits for it.
 */
static void wait_for_signal(void)
{
    sigset_t set, before;
    struct timespec limit = {5, 0};
    main_thread = pthread_self();
    signal(SIGUSR1, on_signal);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    kill(getpid(), SIGUSR1);
    poll(NULL, 0, 50); /* nothing is to happen: whoever else takes it has had the time */
    fact("h sigwait %d handled %d", sigtimedwait(&set, NULL, &limit), (int)signals);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A request whose answer comes after the fork. */
static int open_client, open_server;
static void begin_request(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)listener_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    static const char head[] = "GET /open HTTP/1.1\r\nHost: matrix\r\n\r\n";
    char text[100];
    open_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(open_client, (struct sockaddr *)&to, sizeof to) != 0 ||
        send(open_client, head, sizeof head - 1, 0) < 0)
        _exit(95);
    open_server = accept(listener, NULL, NULL);
    if (open_server < 0 || recv(open_server, text, sizeof text, 0) <= 0)
        _exit(95);
}
static void finish_request(void)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    if (send(open_server, answer, sizeof answer - 1, 0) < 0)
        _exit(95);
    close(open_server);
    close(open_client);
    if (traced)
        fact("s GET /open 200");
}

static void *export_while_it_lives(void *arg)
{
    (void)arg;
    wait_for("started", 5000);
    end_spans("p.during", 1); /* the receiver makes the file when it comes */
    return NULL;
}

static void dlclose_things(void)
{
    const char *preload = getenv("MATRIX_PRELOAD");
    for (int i = 0; preload && i < 3; i++) {
        void *us = dlopen(preload, RTLD_NOW);
        fact("h dlclose %d", us ? dlclose(us) : -1);
    }
}

int main(int argc, char **argv)
{
    opt.self = "/proc/self/exe";
    static char self[256];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0)
        opt.self = self;
    if (argc == 3) {
        opt.folder = argv[1];
        traced = forkspan_api_found != NULL;
        return exec_target(argv[2]);
    }
    if (argc < 4)
        return 2;
    opt.way = argv[1];
    opt.going = argv[2];
    opt.folder = argv[3];
    for (int i = 4; i < argc; i++)
        if (!take_option(argv[i]))
            return 2;
    if (!way_known())
        return 2;
    traced = forkspan_api_found != NULL;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGWINCH);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    fact("h start");

    if (opt.listens)
        listen_now();
    if (opt.dlclose)
        dlclose_things();
    if (opt.atfork || opt.atfork_flush)
        pthread_atfork(app_prepare, app_parent, app_child);
    if (opt.batch || opt.spans)
        end_spans("p.before", 2);
    /* where the receiver lets nobody through, the thread is only to start */
    if (opt.batch &&
        !forkspan_flush(opt.starting ? 0
                        : opt.stuck  ? 1
                                     : 8000) &&
        traced && !opt.stuck && !opt.starting)
        fact("h first flush fails");
    int batch = traced && opt.batch;
    if (opt.sigwait)
        wait_for_signal();
    if (opt.setuid_parent) {
        pthread_t id;
        pthread_create(&id, NULL, set_ids, NULL);
        pthread_join(id, NULL);
    }
    pthread_t enders[ENDERS_MAX], during;
    for (int i = 0; i < opt.enders && i < ENDERS_MAX; i++)
        pthread_create(&enders[i], NULL, end_many, (void *)(intptr_t)i);
    if (opt.stall || opt.stuck) {
        if (opt.stall)
            end_spans("p.stalled", 1);
        if (traced && !wait_for("arrived", 10000))
            fact("h receiver not reached");
    }
    if (opt.fill && traced) {
        unsigned filled;
        for (filled = 0; filled < 6000; filled++) {
            char name[32];
            snprintf(name, sizeof name, "fill-%u", filled);
            end_span(name);
        }
        fact("u fill %u", filled);
    }
    if (opt.reuse_parent)
        reuse_fds("p");
    if (opt.open_request)
        begin_request();
    if (opt.busy_parent) {
        pthread_create(&during, NULL, export_while_it_lives, NULL);
        if (!opt.slow)
            make("started");
    }
    if (!opt.starting)
        see_threads("p.before", 1 + batch + opt.enders + opt.busy_parent);

    for (int round = 0; round < (way_repeats() ? 1 : opt.rounds); round++) {
        int code;
        if (fork_as_asked(round, &code))
            return code;
    }

    if (opt.open_request)
        finish_request();
    if (opt.setuid_parent)
        fact("h p ids %d %d", (int)getuid(), (int)getgid());
    make("release"); /* a child that has to send has done so before */
    if (opt.busy_parent)
        pthread_join(during, NULL);
    atomic_store(&done, true);
    for (int i = 0; i < opt.enders && i < ENDERS_MAX; i++)
        pthread_join(enders[i], NULL);
    if (opt.fill)
        forkspan_flush(8000);
    see_threads("p.after", 1 + batch);
    end_spans("p.after", 2);
    reap_all("p");
    see_process("p.end", 0);
    exit(0);
}
