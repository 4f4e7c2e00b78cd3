/* SPDX-License-Identifier: Apache-2.0
 * resolve_storm.c - forks while names are resolved and batches sent; each child resolves a name, opens a
 * library, allocates, prints and exits. A helper thread inside any of these in the parent at the wrong moment
 * leaves the child a lock that nobody opens.
 *
 *     resolve_storm CHILDREN NAME            a thread ends spans, and forkspan's batch thread resolves and
 * sends resolve_storm CHILDREN NAME control    a thread resolves with libc, as an exporter without fork care
 * does
 *
 * Prints "children N hung M".
 */
#include "storm.h"

#include "forkspan.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic bool done;
static const char *wanted;

static void *end_spans(void *arg)
{
    (void)arg;
    while (!atomic_load(&done)) {
        forkspan_end(forkspan_start("resolve", FORKSPAN_INTERNAL, FORKSPAN_ROOT));
        usleep(500);
    }
    return NULL;
}

static bool resolve(const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    if (getaddrinfo(name, "80", &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

static void *resolve_always(void *arg)
{
    (void)arg;
    while (!atomic_load(&done))
        resolve("127.0.0.1");
    return NULL;
}

static void child(void)
{
    bool found = resolve("127.0.0.1") && resolve(wanted);
    void *library = dlopen("libm.so.6", RTLD_NOW);
    void *other = dlopen("libutil.so.1", RTLD_NOW);
    if (other)
        dlclose(other);
    char *p = malloc(100000);
    if (p)
        memset(p, 1, 100000);
    printf("%s %s %d\n", found ? "found" : "not found", library ? "opened" : "not opened", p ? p[99999] : 0);
    free(p);
    exit(found && library ? 0 : 4);
}

int main(int argc, char **argv)
{
    unsigned children = argc > 1 ? (unsigned)atoi(argv[1]) : 100, hung = 0;
    wanted = argc > 2 ? argv[2] : "localhost";
    bool control = argc > 3;
    pthread_t thread;
    forkspan_end(forkspan_start("first", FORKSPAN_INTERNAL, FORKSPAN_ROOT));
    forkspan_flush(1); /* the batch thread is there from here on */
    pthread_create(&thread, NULL, control ? resolve_always : end_spans, NULL);
    for (unsigned i = 0; i < children && !(control && hung); i++) {
        pid_t pid = fork();
        if (pid == 0)
            child();
        hung += pid > 0 && !child_ended(pid, 20000 / (control ? 10 : 1));
    }
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    fprintf(stderr, "children %u hung %u\n", children, hung);
    _exit(hung ? 1 : 0);
}
