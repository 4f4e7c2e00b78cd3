/* SPDX-License-Identifier: Apache-2.0
 * tree.c - the arena of everything that `forkspan run` starts, and its last sweeper: what no process of the
 * tree is left to send is sent here, whatever killed them all.
 */
#include "arena/arena.h"
#include "arena/news.h"
#include "arena/seat.h"
#include "arena/sweep.h"
#include "batch/permanent.h"
#include "batch/process.h"
#include "cli.h"
#include "clock.h"
#include "config/config.h"
#include "futex.h"
#include "log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct arena arena;
static bool made;
static enum summary wanted;

void tree_make(enum summary summary)
{
    wanted = summary;
    const char *set = getenv("FORKSPAN_ARENA");
    if (set && *set && strncmp(set, "shm:", 4) != 0)
        return;                 /* the user's own choice */
    unsetenv("FORKSPAN_ARENA"); /* that of a `forkspan run` outside of this one */
    config_capture(environ);
    log_init();
    const struct config *config = config_get_quietly();
    if (config->disabled || config->exporter.kind == EXPORTER_NONE || !arena_make(&arena, config))
        return;
    char name[32];
    snprintf(name, sizeof name, "shm:%d", arena.id);
    made = arena.id >= 0 && setenv("FORKSPAN_ARENA", name, 1) == 0;
}

static uint32_t ms_until(uint64_t until)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    return now < until ? (uint32_t)((until - now) / 1000000u) : 0;
}

/* Whoever sends for the tree in a process of its own sends all now. */
static void finish_others(uint64_t until)
{
    enum { LOOK_NS = 20000000 };
    sweep_finish(&arena);
    for (;;) {
        uint32_t seen = atomic_load(&arena.header->left);
        enum sweep_others others = sweep_other_consumer(&arena, 0);
        if (others == SWEEP_PERMANENT)
            permanent_flush(&arena, true, ms_until(until));
        if (others != SWEEP_ONE_SHOT || ms_until(until) == 0)
            return;
        futex_wait(&arena.header->left, seen, LOOK_NS);
    }
}

/* Killed together with the command, its processes may have some steps to their own end. Those that live on
 * are waited for in vain: half of the time. */
static void wait_for_the_dying(int status, uint64_t until)
{
    enum { LOOK_NS = 2000000 };
    static _Atomic uint32_t nothing; /* a word nobody wakes */
    bool killed = WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) > 128);
    while (killed && sweep_alive(&arena) && ms_until(until))
        futex_wait(&nothing, 0, LOOK_NS);
}

/* Slots are taken from the first on. */
static bool anybody_served(void)
{
    return atomic_load(&arena_slot(&arena, 0)->epoch) != 0;
}

static void send_the_rest(pid_t command, int status)
{
    const struct config *config = config_get_quietly();
    uint64_t until = clock_ns(CLOCK_MONOTONIC) + (uint64_t)config->exit_flush_ms * 1000000u;
    arena.asks = true;
    news_reaped(&arena, command, status);
    wait_for_the_dying(status, until - (uint64_t)config->exit_flush_ms * 500000u);
    if (sweep_unsent(&arena))
        finish_others(until);
    if (sweep_unsent(&arena) && ms_until(until)) {
        char *exporter = find_exporter();
        struct consume_options options = {.sweep = true, .within_ms = ms_until(until), .exporter = exporter};
        const char *why = consume_rest(&arena, &options);
        if (why)
            log_warn("spans were left unsent: %s", why);
        free(exporter);
    }
    if (sweep_other_consumer(&arena, 0) == SWEEP_NOBODY && sweep_left_behind(&arena))
        log_warn("spans were left unsent: %u ms were not enough", config->exit_flush_ms);
}

void tree_end(pid_t command, int status)
{
    if (!made)
        return;
    bool served = anybody_served();
    if (served)
        send_the_rest(command, status);
    if (sweep_other_consumer(&arena, 0) == SWEEP_NOBODY)
        seat_remove(&arena);
    if (wanted == SUMMARY_ALWAYS || (wanted == SUMMARY_ON_TERMINAL && served && isatty(STDERR_FILENO)))
        summary_print(stderr, &arena);
}
