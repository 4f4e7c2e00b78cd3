/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena.h"
#include "arena/requests.h"
#include "log.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>

enum { BYTES_A_SPAN = 512, SLOTS_AT_LEAST = 4 };

static uint32_t power_of_two(uint32_t least)
{
    uint32_t n = 1;
    while (n < least)
        n <<= 1;
    return n;
}

static size_t pages(size_t n, size_t page)
{
    return (n + page - 1) / page * page;
}

static void *map_system_v(size_t size)
{
    int id = shmget(IPC_PRIVATE, size, IPC_CREAT | SHM_NORESERVE | 0600);
    if (id < 0)
        return NULL;
    void *p = shmat(id, NULL, 0);
    /* Marked for removal at once: it goes with its last process, whatever kills that. */
    shmctl(id, IPC_RMID, NULL);
    return p == (void *)-1 ? NULL : p;
}

static void *map_shared(size_t size)
{
    void *p = map_system_v(size);
    if (!p) {
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
    }
    madvise(p, size, MADV_NOHUGEPAGE);
    madvise(p, size, MADV_DONTDUMP);
    return p;
}

bool arena_make(struct arena *a, const struct config *config)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t cells = power_of_two(config->max_queue < 64 ? 64 : config->max_queue);
    uint32_t bytes = cells > 65536 ? 65536 * BYTES_A_SPAN : cells * BYTES_A_SPAN;
    if (bytes < 65536)
        bytes = 65536; /* one record may be 64 KiB */
    a->shape = (struct ring_shape){.cells = cells, .units = bytes / RING_UNIT};
    a->max_queued = config->max_queue;
    a->requests_off = (uint32_t)pages(sizeof(struct slot), 64);
    a->ring_off = a->requests_off + (uint32_t)pages(request_table_size(), 64);
    a->slot_size = pages(a->ring_off + ring_size(cells, a->shape.units), page);
    a->slots_off = pages(sizeof(struct arena_header), page);
    a->slots = config->workers < 1 ? 1 : config->workers > SLOTS_MAX ? SLOTS_MAX : config->workers;

    /* At most 1/16 of the address space the host may have: its own mappings come first. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        while (a->slots > SLOTS_AT_LEAST && a->slots_off + a->slots * a->slot_size > limit.rlim_cur / 16)
            a->slots /= 2;

    for (;; a->slots /= 2) {
        a->size = a->slots_off + a->slots * a->slot_size;
        a->header = map_shared(a->size);
        if (a->header)
            break;
        if (a->slots <= SLOTS_AT_LEAST) {
            log_error("no memory for the span arena (%s): tracing is off", strerror(errno));
            return false;
        }
    }
    struct arena_header *h = a->header;
    h->magic = ARENA_MAGIC;
    h->layout = ARENA_LAYOUT;
    memcpy(h->version, FORKSPAN_VERSION, sizeof FORKSPAN_VERSION);
    h->slots = a->slots;
    h->size = a->size;
    h->slot_size = a->slot_size;
    h->slots_off = a->slots_off;
    h->requests_off = a->requests_off;
    h->ring_off = a->ring_off;
    h->ring_cells = cells;
    h->ring_units = a->shape.units;
    h->max_queued = a->max_queued;
    h->maker = getuid();
    return true;
}
