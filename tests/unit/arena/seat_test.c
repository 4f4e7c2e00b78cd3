/* SPDX-License-Identifier: Apache-2.0
 *
 * Who lives, told by semaphores; and whose semaphores they are.
 */
#include "arena/seat.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct config small = {.workers = 4, .max_queue = 64, .max_batch = 16, .export_process = true};
static struct arena arena;
static int strangers;

static void make(void)
{
    cr_assert(arena_make(&arena, &small));
    cr_assert(arena.id >= 0 && arena.semaphores >= 0, "no System V here");
    strangers = semget(IPC_PRIVATE, 5, IPC_CREAT | 0600);
}

static void clean(void)
{
    semctl(strangers, 0, IPC_RMID);
    seat_remove(&arena);
}

TestSuite(seat, .init = make, .fini = clean);

Test(seat, only_a_set_of_ours_is_taken)
{
    cr_assert_eq(seat_recognise(arena.semaphores), arena.semaphores);
    cr_assert_eq(seat_recognise(strangers), -1);
    cr_assert_eq(seat_recognise(-1), -1);
    struct arena again;
    cr_assert_null(arena_attach(&again, arena.id));
    cr_assert_eq(again.semaphores, arena.semaphores);
    arena_detach(&again);
    arena.header->semaphores = strangers;
    cr_assert_null(arena_attach(&again, arena.id));
    cr_assert_eq(again.semaphores, -1);
    seat_take(&again);
    cr_assert_eq(semctl(strangers, 1, GETVAL), 0);
    seat_remove(&again);
    cr_assert_eq(semctl(strangers, 0, GETVAL), 0, "a stranger's set was removed");
}

/* A process that sits there until a byte comes. */
static pid_t sitter(struct slot *s, int wait_fd, int told_fd)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char byte = 0;
    seat_take(&arena);
    seat_note(s, seat_own());
    if (write(told_fd, &byte, 1) != 1 || read(wait_fd, &byte, 1) != 1)
        _exit(9);
    if (byte == 'l')
        seat_leave(&arena);
    if (byte == 'l' && (write(told_fd, &byte, 1) != 1 || read(wait_fd, &byte, 1) != 1))
        _exit(9);
    _exit(0);
}

static enum seat asked(struct slot *s)
{
    arena.asks = true;
    return seat_ask(&arena, s);
}

Test(seat, the_living_sit_and_the_dead_have_left)
{
    struct slot *s = arena_slot(&arena, 0);
    int to[2], from[2];
    char byte;
    cr_assert(pipe(to) == 0 && pipe(from) == 0);
    cr_assert_eq(asked(s), SEAT_UNKNOWN);

    pid_t pid = sitter(s, to[0], from[1]);
    cr_assert_eq(read(from[0], &byte, 1), 1);
    cr_assert_eq(asked(s), SEAT_TAKEN);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert_eq(asked(s), SEAT_LEFT);

    pid = sitter(s, to[0], from[1]);
    cr_assert_eq(read(from[0], &byte, 1), 1);
    cr_assert_eq(asked(s), SEAT_TAKEN);
    cr_assert_eq(write(to[1], "l", 1), 1);
    cr_assert_eq(read(from[0], &byte, 1), 1);
    cr_assert_eq(asked(s), SEAT_LEFT, "before its exec");
    cr_assert_eq(write(to[1], "e", 1), 1);
    waitpid(pid, NULL, 0);
}

Test(seat, who_does_not_ask_knows_nothing)
{
    struct slot *s = arena_slot(&arena, 0);
    seat_take(&arena);
    seat_note(s, seat_own());
    cr_assert_eq(asked(s), SEAT_TAKEN);
    arena.asks = false;
    cr_assert_eq(seat_ask(&arena, s), SEAT_UNKNOWN);
    seat_leave(&arena);
}
