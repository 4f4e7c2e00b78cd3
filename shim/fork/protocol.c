/* SPDX-License-Identifier: Apache-2.0
 * protocol.c - calls every module's X_prefork, X_postfork_parent, X_postfork_child in order; nothing else.
 */
#include "fork/protocol.h"
#include "batch/loader.h"
#include "batch/queue.h"
#include "batch/rest.h"
#include "batch/thread.h"
#include "config/config.h"
#include "fork/generation.h"
#include "fork/knobs.h"
#include "io/connection.h"
#include "process.h"
#include "process_fork.h"
#include "tls.h"

#include <errno.h>
#include <pthread.h>

enum { TRY_HOLD_MS = 1 }; /* in a prepare handler: others' handlers may hold the very lock the thread needs */

void fork_before(struct fork_call *call, bool repaired)
{
    *call = (struct fork_call){.hold = REST_NO_THREAD};
    if (KNOB_OFF(wrappers))
        return;
    if (repaired && !tls.own)
        process_forks();
    process_will_fork();
    if (tls.fork_depth++ == 0) {
        call->hold = rest_hold(process_fork_wait_ms());
        if (call->hold == REST_NOT_HELD)
            process_count(COUNT_FORK_UNHELD, 1);
    }
    if (KNOB_OFF(leaf_lock))
        queue_lock();
    call->ticket = process_ticket();
    call->threads = !repaired && process_has_arena() && thread_others();
}

void fork_after_parent(const struct fork_call *call, pid_t pid)
{
    if (KNOB_OFF(wrappers))
        return;
    if (KNOB_OFF(leaf_lock))
        queue_unlock();
    rest_release(call->hold);
    process_drained();
    fork_after_vfork(call, pid);
}

void fork_after_vfork(const struct fork_call *call, pid_t pid)
{
    tls.fork_depth--;
    process_postfork_parent(pid, call->ticket);
}

void fork_after_child(const struct fork_call *call, bool repaired)
{
    tls.fork_depth = 0;
    if (!repaired && !KNOB_OFF(wrappers)) {
        generation_renew();
        queue_reinit();
        process_postfork_child(call->threads || call->shares_files);
        connection_postfork_child();
        thread_postfork_child();
        if (!call->shares_files && !KNOB_OFF(close_copies))
            loader_after_fork_child();
        if (KNOB_OFF(lazy_thread))
            process_serves(false);
    }
    process_born(call->ticket);
}

/* libc keeps errno of a fork that fails, not across the handlers of one that does not. */
static void prepare(void)
{
    int keep = errno;
    /* daemon() and forkpty() reach libc's fork without our wrapper */
    if (tls.fork_depth == 0) {
        process_will_fork();
        tls.hold = rest_hold(TRY_HOLD_MS);
        if (tls.hold == REST_NOT_HELD)
            process_count(COUNT_FORK_UNHELD, 1);
    }
    if (queue_lock())
        process_drain();
    errno = keep;
}

static void parent(void)
{
    int keep = errno;
    queue_unlock();
    rest_release(tls.hold);
    tls.hold = REST_NOT_HELD;
    if (tls.fork_depth == 0)
        process_drained();
    process_postfork_parent(0, 0);
    errno = keep;
}

static void child(void)
{
    int keep = errno;
    tls.hold = REST_NOT_HELD;
    generation_renew();
    queue_reinit();
    process_postfork_child(false);
    connection_postfork_child();
    thread_postfork_child();
    if (!KNOB_OFF(close_copies))
        loader_after_fork_child();
    errno = keep;
}

void fork_protocol_init(void)
{
    if (!KNOB_OFF(atfork))
        pthread_atfork(prepare, parent, child);
}
