/* SPDX-License-Identifier: Apache-2.0
 * program.c - a program with spans of its own, by forkspan.h alone; run_api.py runs it with and without the
 * preload and looks at what arrives.
 */
#include <forkspan.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "program: %s\n", what);
    exit(3);
}

static int fields(void)
{
    struct forkspan_context root_context, from;
    char traceparent[56];
    struct forkspan_span *root = forkspan_start("root", FORKSPAN_SERVER, FORKSPAN_ROOT);
    forkspan_set_string(root, "text", "first");
    forkspan_set_string(root, "text", "caf\xc3\xa9 \xff");
    forkspan_set_int(root, "int", -7);
    forkspan_set_double(root, "double", 0.5);
    forkspan_set_bool(root, "bool", false);
    forkspan_set_string(root, "empty", "");
    struct forkspan_attribute more[] = {forkspan_int("twice", 1), forkspan_int("twice", 2),
                                        forkspan_string("at", "here")};
    forkspan_event(root, "happened", 1700000000000000001u, more, 3);
    forkspan_event(root, "now", 0, NULL, 0);
    forkspan_context_of(root, &root_context);
    forkspan_attach(root);
    struct forkspan_span *child = forkspan_start("child", FORKSPAN_CLIENT, NULL);
    forkspan_attach(child);
    struct forkspan_span *grandchild = forkspan_start("grandchild", FORKSPAN_PRODUCER, NULL);
    forkspan_set_status(grandchild, FORKSPAN_ERROR, "it broke");
    forkspan_end(grandchild);
    forkspan_set_status(child, FORKSPAN_OK, "never told");
    forkspan_set_status(child, FORKSPAN_ERROR, "ok is final");
    forkspan_end(child); /* detaches it */
    struct forkspan_span *second = forkspan_start("second", 77, NULL);
    forkspan_link(second, &root_context, more, 1);
    forkspan_rename(second, "second, renamed");
    forkspan_end(second);
    forkspan_detach(root);
    forkspan_end(forkspan_start("alone", FORKSPAN_INTERNAL, NULL));
    forkspan_end_at(forkspan_start_at("then", FORKSPAN_CONSUMER, FORKSPAN_ROOT, 1700000000000000000u),
                    1700000001000000000u);
    if (!forkspan_extract("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1,b=2", &from))
        return 1;
    struct forkspan_span *continued = forkspan_start("continued", FORKSPAN_SERVER, &from);
    forkspan_context_of(continued, &from);
    if (!forkspan_inject(&from, traceparent))
        return 1;
    printf("traceparent %s tracestate %.*s\n", traceparent, from.tracestate_len, from.tracestate);
    forkspan_end(continued);
    if (forkspan_extract("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", NULL, &from))
        return 1;
    forkspan_end(root);
    return forkspan_flush(5000) ? 0 : 2;
}

static unsigned rounds;

static void *nest(void *arg)
{
    for (unsigned i = 0; i < rounds; i++) {
        char name[40];
        snprintf(name, sizeof name, "outer-%d-%u", (int)(intptr_t)arg, i);
        struct forkspan_span *outer = forkspan_start(name, FORKSPAN_INTERNAL, NULL);
        forkspan_attach(outer);
        name[0] = 'i', name[1] = 'n', name[2] = 'n';
        struct forkspan_span *inner = forkspan_start(name, FORKSPAN_INTERNAL, NULL);
        forkspan_set_int(inner, "n", i);
        forkspan_end(inner);
        forkspan_end(outer);
        if (i % 64 == 63)
            forkspan_flush(5000);
    }
    return NULL;
}

static int threads(void)
{
    pthread_t thread[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&thread[i], NULL, nest, (void *)(intptr_t)i);
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
    return forkspan_flush(5000) ? 0 : 2;
}

static volatile sig_atomic_t ticks;

static void on_tick(int number)
{
    (void)number;
    char name[16] = "tick-";
    unsigned n = (unsigned)ticks++, at = 5;
    for (unsigned d = 1000; d; d /= 10)
        name[at++] = (char)('0' + n / d % 10);
    struct forkspan_span *s = forkspan_start(name, FORKSPAN_INTERNAL | FORKSPAN_IN_HANDLER, FORKSPAN_ROOT);
    forkspan_set_int(s, "n", n);
    forkspan_event(s, "in", 0, NULL, 0);
    forkspan_end(s);
}

/* Spans in a handler that interrupts the making of spans. */
static int handler(void)
{
    struct itimerval every = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &every, NULL);
    unsigned i = 0;
    for (; ticks < (int)rounds || i < rounds; i++) {
        char name[32];
        snprintf(name, sizeof name, "main-%u", i);
        struct forkspan_span *s = forkspan_start(name, FORKSPAN_INTERNAL, FORKSPAN_ROOT);
        forkspan_set_string(s, "key", "value");
        forkspan_end(s);
        if (i % 64 == 63)
            forkspan_flush(5000);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
    printf("ticks %d mains %u\n", (int)ticks, i);
    return forkspan_flush(5000) ? 0 : 2;
}

static int forks(void)
{
    struct forkspan_span *before = forkspan_start("before", FORKSPAN_INTERNAL, FORKSPAN_ROOT);
    forkspan_attach(before);
    for (unsigned i = 0; i < rounds; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char name[32];
            snprintf(name, sizeof name, "child-%u", i);
            forkspan_end(forkspan_start(name, FORKSPAN_INTERNAL, NULL)); /* its parent is the parent's span */
            forkspan_end(before);                                        /* the parent ends it, too */
            exit(0);
        }
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
            return 1;
    }
    forkspan_end(before);
    return forkspan_flush(5000) ? 0 : 2;
}

static void tell(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die("write");
}

static void hear(int fd, const char *end)
{
    char text[4096];
    size_t have = 0;
    while (have < sizeof text - 1) {
        ssize_t n = read(fd, text + have, sizeof text - 1 - have);
        if (n <= 0)
            die("read");
        have += (size_t)n;
        text[have] = '\0';
        if (strstr(text, end))
            return;
    }
    die("too much");
}

static void work(const char *name)
{
    forkspan_end(forkspan_start(name, FORKSPAN_INTERNAL, NULL));
}

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

enum { MANY = 20 };
static int many_conn[MANY];

static void *answer_all_but_one(void *arg)
{
    (void)arg;
    for (int i = 1; i < MANY; i++)
        tell(many_conn[i], ok);
    work("in the answering thread");
    return NULL;
}

/* One thread reads many requests, another answers them: the reader knows which is the only one left. */
static int many(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, MANY) ||
        getsockname(listener, (struct sockaddr *)&address, &len))
        die("listen");
    for (int round = 0; round < 2; round++) {
        int client[MANY];
        char text[80];
        for (int i = 0; i < MANY; i++) {
            client[i] = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(client[i], (struct sockaddr *)&address, len))
                die("connect");
            many_conn[i] = accept(listener, NULL, NULL);
            snprintf(text, sizeof text, "GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n", round, i);
            tell(client[i], text);
            hear(many_conn[i], "\r\n\r\n");
        }
        work("in many");
        pthread_t t;
        if (pthread_create(&t, NULL, answer_all_but_one, NULL) || pthread_join(t, NULL))
            die("thread");
        snprintf(text, sizeof text, "in the last of %d", round);
        work(text);
        tell(many_conn[0], ok);
        work("in none");
        /* and on a connection that is kept alive */
        snprintf(text, sizeof text, "GET /%d/again HTTP/1.1\r\nHost: a\r\n\r\n", round);
        tell(client[3], text);
        hear(many_conn[3], "\r\n\r\n");
        snprintf(text, sizeof text, "again in %d", round);
        work(text);
        tell(many_conn[3], ok);
        for (int i = 0; i < MANY; i++)
            if (close(client[i]) || close(many_conn[i]))
                die("close");
    }
    return forkspan_flush(20000) ? 0 : 2;
}

/* A server on one thread, its clients in the same program: which request is current? */
static int server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client[2], conn[2];
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8) ||
        getsockname(listener, (struct sockaddr *)&address, &len))
        die("listen");
    for (int i = 0; i < 2; i++) {
        client[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(client[i], (struct sockaddr *)&address, len))
            die("connect");
        conn[i] = accept(listener, NULL, NULL);
    }
    work("idle");
    tell(client[0], "GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
    hear(conn[0], "\r\n\r\n");
    work("in one");
    tell(client[1], "GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    hear(conn[1], "\r\n\r\n");
    work("in both");
    tell(conn[0], ok);
    work("in two");
    tell(conn[1], ok);
    work("after");
    tell(client[0], "GET /unsampled HTTP/1.1\r\nHost: a\r\ntraceparent: "
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n");
    hear(conn[0], "\r\n\r\n");
    work("in unsampled");
    tell(conn[0], ok);
    return forkspan_flush(5000) ? 0 : 2;
}

/* argv[2]: an encoded ExportTraceServiceRequest */
static int submit(const char *path)
{
    static char bytes[100000];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    bool good = forkspan_submit(bytes, n);
    bool cut = forkspan_submit(bytes, n - 1), nothing = forkspan_submit(bytes, 0),
         other = forkspan_submit("\x12\x00 garbage", 10);
    printf("good %d cut %d nothing %d other %d\n", good, cut, nothing, other);
    return forkspan_flush(5000) ? 0 : 2;
}

/* argv[2...]: files, each an ExportTraceServiceRequest or not */
static int submits(char **path)
{
    static char bytes[100000];
    for (; *path; path++) {
        FILE *f = fopen(*path, "r");
        size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
        if (!f || fclose(f))
            die("file");
        printf("%d", forkspan_submit(bytes, n));
    }
    return forkspan_flush(20000) ? 0 : 2;
}

/* A ring that nobody empties is full at some time; what has no room is refused. */
static int full(const char *path)
{
    static char bytes[100000];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    unsigned taken = 0, refused = 0;
    for (unsigned i = 0; i < 3000; i++)
        forkspan_submit(bytes, n) ? taken++ : refused++;
    bool before = forkspan_flush(300);
    printf("taken %u refused %u flushed %d\n", taken, refused, before);
    return 0;
}

static int absent(void)
{
    struct forkspan_context c;
    char traceparent[56];
    struct forkspan_span *s = forkspan_start("no", FORKSPAN_SERVER, NULL);
    forkspan_set_int(s, "n", 1);
    forkspan_event(s, "e", 0, NULL, 0);
    forkspan_attach(s);
    forkspan_detach(s);
    bool any = forkspan_enabled() || s || forkspan_context_of(s, &c) || forkspan_current(&c) ||
               forkspan_inject(&c, traceparent) || forkspan_submit("", 0) || !forkspan_flush(1);
    forkspan_end(s);
    printf("extract %d\n",
           forkspan_extract("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL, &c));
    return any;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
    if (strcmp(what, "absent") == 0)
        return absent();
    if (!forkspan_enabled())
        die("not under forkspan");
    if (strcmp(what, "fields") == 0)
        return fields();
    if (strcmp(what, "threads") == 0)
        return threads();
    if (strcmp(what, "handler") == 0)
        return handler();
    if (strcmp(what, "forks") == 0)
        return forks();
    if (strcmp(what, "server") == 0)
        return server();
    if (strcmp(what, "many") == 0)
        return many();
    if (strcmp(what, "submits") == 0)
        return submits(argv + 2);
    if (strcmp(what, "full") == 0 && argc > 2)
        return full(argv[2]);
    if (strcmp(what, "submit") == 0 && argc > 2)
        return submit(argv[2]);
    die("what?");
}
