/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/seat.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The first semaphore of a set of ours is of nobody: its value is how a later start knows the set again. */
enum { MARK = 0x6653, PROBES = 8 };
/* A set younger than this may be one that is just being made. */
static const time_t YOUNG_S = 60;

/* What the caller of semctl has to declare itself. */
union argument {
    int value;
    struct semid_ds *about;
    struct seminfo *limits;
    unsigned short *values;
};

/* This process's; in a child it is forgotten by the child's own seat_take(). */
static struct {
    uint32_t number; /* + 1; 0: none */
    uint32_t epoch;
} own;

/* Of this user, and marked. */
static bool marked(int id, const struct semid_ds *about)
{
    unsigned long n = about->sem_nsems;
    return about->sem_perm.cuid == geteuid() && about->sem_perm.__key == IPC_PRIVATE && n >= 2 &&
           n <= SLOTS_MAX + 1 && semctl(id, 0, GETVAL) == MARK;
}

/* Left by a tree that was killed whole: nobody sits there. */
static bool abandoned(int id, const struct semid_ds *about)
{
    time_t now = time(NULL), then = about->sem_otime > about->sem_ctime ? about->sem_otime : about->sem_ctime;
    if (now - then < YOUNG_S || !marked(id, about))
        return false;
    for (unsigned long i = 1; i < about->sem_nsems; i++)
        if (semctl(id, (int)i, GETVAL) != 0)
            return false;
    return true;
}

static void remove_abandoned(void)
{
    struct seminfo limits;
    union argument how = {.limits = &limits};
    int last = semctl(0, 0, SEM_INFO, how);
    for (int i = 0; i <= last; i++) {
        struct semid_ds about;
        how.about = &about;
        int id = semctl(i, 0, SEM_STAT, how);
        if (id >= 0 && abandoned(id, &about))
            semctl(id, 0, IPC_RMID);
    }
}

int seat_make(uint32_t slots)
{
    int keep = errno;
    remove_abandoned();
    uint32_t n = slots < SLOTS_MAX ? slots : SLOTS_MAX;
    int id = semget(IPC_PRIVATE, (int)n + 1, IPC_CREAT | 0600);
    union argument how = {.value = MARK};
    if (id >= 0 && semctl(id, 0, SETVAL, how) != 0) {
        semctl(id, 0, IPC_RMID);
        id = -1;
    }
    errno = keep;
    return id;
}

int seat_recognise(int id)
{
    int keep = errno;
    struct semid_ds about = {0};
    union argument how = {.about = &about};
    bool ours = id >= 0 && semctl(id, 0, IPC_STAT, how) == 0 && marked(id, &about);
    errno = keep;
    return ours ? id : -1;
}

void seat_remove(const struct arena *a)
{
    int keep = errno;
    if (a->semaphores >= 0)
        semctl(a->semaphores, 0, IPC_RMID);
    errno = keep;
}

void seat_forget(void)
{
    own.number = 0;
}

void seat_take(const struct arena *a)
{
    seat_forget();
    if (a->semaphores < 0)
        return;
    int keep = errno;
    uint32_t seats = a->slots < SLOTS_MAX ? a->slots : SLOTS_MAX;
    uint32_t first = (uint32_t)syscall(SYS_getpid);
    for (uint32_t k = 0; k < PROBES; k++) {
        uint32_t i = (first + k) % seats;
        unsigned short number = (unsigned short)(i + 1);
        struct sembuf if_free[2] = {{number, 0, IPC_NOWAIT}, {number, 1, IPC_NOWAIT | SEM_UNDO}};
        if (semop(a->semaphores, if_free, 2) == 0) {
            own.epoch = atomic_fetch_add(&a->header->seat_epochs[i], 1) + 1;
            own.number = i + 1;
            break;
        }
        if (errno != EAGAIN)
            break;
    }
    errno = keep;
}

void seat_leave(const struct arena *a)
{
    if (own.number == 0 || a->semaphores < 0)
        return;
    int keep = errno;
    struct sembuf undo = {(unsigned short)own.number, -1, IPC_NOWAIT | SEM_UNDO};
    semop(a->semaphores, &undo, 1); /* refused after a change of user id: it stays taken as long as the pid */
    own.number = 0;
    errno = keep;
}

uint64_t seat_own(void)
{
    return (uint64_t)own.epoch << 32 | own.number;
}

void seat_note(struct slot *s, uint64_t seat)
{
    atomic_store(&s->seat_epoch, (uint32_t)(seat >> 32));
    atomic_store(&s->seat, (uint32_t)seat);
}

enum seat seat_ask(const struct arena *a, struct slot *s)
{
    uint32_t number = atomic_load(&s->seat), seats = a->slots < SLOTS_MAX ? a->slots : SLOTS_MAX;
    if (!a->asks || a->semaphores < 0 || number == 0 || number > seats)
        return SEAT_UNKNOWN;
    if (atomic_load(&a->header->seat_epochs[number - 1]) != atomic_load(&s->seat_epoch))
        return SEAT_LEFT; /* another process has it by now */
    int keep = errno;
    int value = semctl(a->semaphores, (int)number, GETVAL);
    errno = keep;
    return value < 0 ? SEAT_UNKNOWN : value == 0 ? SEAT_LEFT : SEAT_TAKEN;
}
