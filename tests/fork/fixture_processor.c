/* SPDX-License-Identifier: Apache-2.0
 * fixture_processor.c - the control: a batch processor of the usual kind (mutex, condition variable, thread)
 * that takes no care of fork, under a storm of forks with threads that end spans. At least one child must
 * hang: that is the bug forkspan exists for, and it shows that the storm is strong enough to find it.
 *
 * Prints "children N hung M".
 */
#include "storm.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUEUE = 2048, ENDERS = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static unsigned queued;
static _Atomic bool done;

static void on_end(void)
{
    pthread_mutex_lock(&lock);
    if (queued < QUEUE)
        queued++;
    if (queued > 512)
        pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
}

static void *export_batches(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    while (!atomic_load(&done)) {
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 1000000;
        if (soon.tv_nsec >= 1000000000)
            soon.tv_nsec -= 1000000000, soon.tv_sec++;
        pthread_cond_timedwait(&more, &lock, &soon);
        queued = 0;
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void *end_spans(void *arg)
{
    (void)arg;
    while (!atomic_load(&done))
        on_end();
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned children = argc > 1 ? (unsigned)atoi(argv[1]) : 200, hung = 0;
    pthread_t exporter, enders[ENDERS];
    pthread_create(&exporter, NULL, export_batches, NULL);
    for (int i = 0; i < ENDERS; i++)
        pthread_create(&enders[i], NULL, end_spans, NULL);
    for (unsigned i = 0; i < children && hung == 0; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int n = 0; n < 3; n++)
                on_end();
            _exit(0);
        }
        hung += !child_ended(pid, 2000);
    }
    atomic_store(&done, true);
    printf("children %u hung %u\n", children, hung);
    fflush(stdout);
    _exit(hung ? 1 : 0);
}
