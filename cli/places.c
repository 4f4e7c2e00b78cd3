/* SPDX-License-Identifier: Apache-2.0
 * places.c - which arenas there are.
 */
#include "cli.h"
#include "look.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

#ifndef SHM_DEST
#define SHM_DEST 01000 /* linux/shm.h: goes with the last process that has it */
#endif

/* Attached only where it may well be ours: some programs (PostgreSQL) take a mapping of their memory for a
 * process of theirs. */
static bool may_be_ours(const struct shmid_ds *about)
{
    return about->shm_perm.__key == IPC_PRIVATE && about->shm_perm.mode & SHM_DEST &&
           about->shm_perm.cuid == geteuid() && about->shm_nattch > 0 &&
           about->shm_segsz > sizeof(struct arena_header);
}

static bool begins_as_ours(int id)
{
    void *p = shmat(id, NULL, SHM_RDONLY);
    if (p == (void *)-1)
        return false;
    uint64_t magic;
    memcpy(&magic, p, sizeof magic);
    shmdt(p);
    return magic == ARENA_MAGIC;
}

size_t places_find(struct arena_place **places)
{
    struct shm_info info;
    size_t n = 0;
    *places = NULL;
    int last = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
    for (int i = 0; i <= last; i++) {
        struct shmid_ds about;
        int id = shmctl(i, SHM_STAT, &about); /* refused where it is another user's */
        if (id < 0 || !may_be_ours(&about) || !begins_as_ours(id))
            continue;
        struct arena_place *more = realloc(*places, (n + 1) * sizeof *more);
        if (!more)
            break;
        *places = more;
        more[n++] = (struct arena_place){.id = id};
    }
    return n;
}

bool place_read(const char *text, struct arena_place *place)
{
    *place = (struct arena_place){.id = -1};
    if (strchr(text, '/')) {
        place->path = text;
        return true;
    }
    const char *digits = strncmp(text, "shm:", 4) == 0 ? text + 4 : text; /* as FORKSPAN_ARENA has it */
    char *end;
    errno = 0;
    long id = strtol(digits, &end, 10);
    if (errno || end == digits || *end || id < 0 || id > INT_MAX) {
        complain("%s is neither the number of a segment nor a path with a slash in it", text);
        return false;
    }
    place->id = (int)id;
    return true;
}
