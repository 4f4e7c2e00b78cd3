/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena.h"
#include "arena/bounds.h"
#include "arena/file.h"
#include "arena/requests.h"
#include "arena/seat.h"
#include "log.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
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

static void *map_system_v(size_t size, int *id)
{
    *id = shmget(IPC_PRIVATE, size, IPC_CREAT | SHM_NORESERVE | 0600);
    if (*id < 0)
        return NULL;
    void *p = shmat(*id, NULL, 0);
    /* Marked for removal at once: it goes with its last process, whatever kills that. */
    shmctl(*id, IPC_RMID, NULL);
    return p == (void *)-1 ? NULL : p;
}

static void *map_shared(size_t size, int *id)
{
    void *p = map_system_v(size, id);
    if (!p) {
        *id = -1;
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
    }
    madvise(p, size, MADV_NOHUGEPAGE);
    madvise(p, size, MADV_DONTDUMP);
    return p;
}

void arena_describe(const struct arena *a)
{
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
    h->ring_cells = a->shape.cells;
    h->ring_units = a->shape.units;
    h->max_queued = a->max_queued;
    h->maker = geteuid();
    h->semaphores = a->semaphores;
    h->destination = config_destination();
}

static bool in_file(struct arena *a, const char *path)
{
    struct arena there = *a;
    const char *why = arena_file_open(&there, path, true);
    if (why) {
        log_warn("FORKSPAN_ARENA=%.160s: %s: spans lie in memory only", path, why);
        return false;
    }
    if (there.slots < a->slots)
        log_info("FORKSPAN_ARENA=%.160s was made for %u processes, not %u", path,
                 there.slots - CONSUMER_SLOTS, a->slots - CONSUMER_SLOTS);
    *a = there;
    if (!map_system_v(1, &a->life))
        a->life = -1;
    return true;
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
    uint32_t workers = config->workers < 1 ? 1 : config->workers;
    a->slots = workers > SLOTS_MAX - CONSUMER_SLOTS ? SLOTS_MAX : workers + CONSUMER_SLOTS;

    const size_t bound = arena_bound();
    while (a->slots > SLOTS_AT_LEAST && a->slots_off + a->slots * a->slot_size > bound)
        a->slots--;

    if (config->arena && strncmp(config->arena, "shm:", 4) != 0 && in_file(a, config->arena))
        return true;
    a->file = NULL;
    for (;; a->slots /= 2) {
        a->size = a->slots_off + a->slots * a->slot_size;
        a->header = map_shared(a->size, &a->id);
        if (a->header)
            break;
        if (a->slots <= SLOTS_AT_LEAST) {
            log_error("no memory for the span arena (%s): tracing is off", strerror(errno));
            return false;
        }
    }
    a->semaphores = config->export_process && a->id >= 0 ? seat_make(a->slots) : -1;
    arena_describe(a);
    ring_trust(&a->shape, a->max_queued);
    return true;
}

bool arena_admits(const struct arena *a, const struct config *config)
{
    uid_t user = geteuid();
    if (user == a->header->maker || config->share == SHARE_ALWAYS)
        return true;
    uint64_t first = 0;
    return config->share != SHARE_NEVER &&
           (atomic_compare_exchange_strong(&a->header->user, &first, (uint64_t)user + 1) ||
            first == (uint64_t)user + 1);
}

bool arena_renew(struct arena *a)
{
    /* Over it, not elsewhere: another thread may just be looking. No System V call: after a drop of rights or
     * in a sandbox it may be refused, or worse. */
    void *p = mmap(a->header, a->size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (p == MAP_FAILED)
        return false;
    a->id = a->semaphores = -1;
    a->file = NULL;
    madvise(p, a->size, MADV_DONTDUMP);
    arena_describe(a);
    return true;
}

bool arena_make_alone(struct arena *alone, const struct arena *like)
{
    *alone = *like;
    alone->id = alone->semaphores = -1;
    alone->file = NULL;
    alone->slots = 1 + CONSUMER_SLOTS;
    alone->size = alone->slots_off + alone->slots * alone->slot_size;
    void *p =
        mmap(NULL, alone->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    alone->header = p == MAP_FAILED ? NULL : p;
    return alone->header != NULL;
}

static bool shape_sound(const struct arena *a, size_t segment)
{
    uint32_t cells = a->shape.cells, units = a->shape.units;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return cells >= 64 && cells <= 1u << 20 && (cells & (cells - 1)) == 0 && units >= 65536 / RING_UNIT &&
           units <= 65536 * BYTES_A_SPAN / RING_UNIT && (units & (units - 1)) == 0 && a->max_queued >= 1 &&
           a->max_queued <= cells && a->slots > CONSUMER_SLOTS && a->slots <= SLOTS_MAX &&
           a->requests_off == pages(sizeof(struct slot), 64) &&
           a->ring_off == a->requests_off + pages(request_table_size(), 64) &&
           a->slot_size == pages(a->ring_off + ring_size(cells, units), page) &&
           a->slots_off == pages(sizeof(struct arena_header), page) &&
           a->size == a->slots_off + a->slots * a->slot_size && a->size <= segment;
}

const char *arena_recognise(struct arena *a, const struct arena_header *h, size_t size)
{
    if (size < sizeof *h || h->magic != ARENA_MAGIC)
        return "it is not an arena of forkspan";
    if (h->layout != ARENA_LAYOUT || strncmp(h->version, FORKSPAN_VERSION, sizeof h->version) != 0)
        return "it was made by another version of forkspan";
    a->slots = h->slots;
    a->slot_size = h->slot_size;
    a->slots_off = h->slots_off;
    a->size = h->size;
    a->requests_off = h->requests_off;
    a->ring_off = h->ring_off;
    a->max_queued = h->max_queued;
    a->shape = (struct ring_shape){.cells = h->ring_cells, .units = h->ring_units};
    return shape_sound(a, size) ? NULL : "its header is spoilt";
}

const char *arena_attach(struct arena *a, int id)
{
    struct shmid_ds about;
    void *p = shmat(id, NULL, 0);
    if (p == (void *)-1)
        return errno == EACCES ? "it is another user's" : "it is not there";
    *a = (struct arena){.header = p, .id = id, .life = -1, .semaphores = -1};
    const char *why = shmctl(id, IPC_STAT, &about) != 0 ? "it is not an arena of forkspan"
                                                        : arena_recognise(a, p, about.shm_segsz);
    if (why) {
        shmdt(p);
    } else {
        a->semaphores = seat_recognise(a->header->semaphores);
        madvise(p, a->size, MADV_NOHUGEPAGE);
        madvise(p, a->size, MADV_DONTDUMP);
        ring_trust(&a->shape, a->max_queued);
    }
    return why;
}

void arena_detach(struct arena *a)
{
    shmdt(a->header);
    *a = (struct arena){.id = -1, .life = -1, .semaphores = -1};
}

void arena_join(struct arena *a, int life)
{
    a->life = life >= 0 && shmat(life, NULL, 0) != (void *)-1 ? life : -1;
}

unsigned arena_mappings(const struct arena *a)
{
    struct shmid_ds about;
    int id = arena_segment(a);
    return id >= 0 && shmctl(id, IPC_STAT, &about) == 0 ? (unsigned)about.shm_nattch : 0;
}
