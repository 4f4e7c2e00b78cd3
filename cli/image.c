/* SPDX-License-Identifier: Apache-2.0
 * image.c - copying pieces of an arena out of a segment or a file.
 *
 * A file is read, never mapped: one that is cut short under our eyes must not kill us.
 */
#include "arena/arena.h"
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

const char *place_name(const struct arena_place *place, char room[16])
{
    if (place->path)
        return place->path;
    snprintf(room, 16, "%d", place->id);
    return room;
}

const char image_gone[] = "it is not there";

static const char *open_segment(struct image *image, int flags)
{
    struct shmid_ds about;
    int id = image->place.id;
    void *p = shmat(id, NULL, flags);
    if (p == (void *)-1)
        return errno == EACCES ? "it is another user's" : image_gone;
    image->from = p;
    image->attached = true;
    if (shmctl(id, IPC_STAT, &about) != 0)
        return image_gone;
    image->size = about.shm_segsz;
    image->maker = about.shm_cpid;
    return NULL;
}

static const char *open_file(struct image *image, int flags)
{
    struct stat st;
    image->fd = open(image->place.path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (image->fd < 0)
        return errno == EACCES ? "it is another user's" : strerror(errno);
    if (fstat(image->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return "it is not an arena of forkspan";
    image->size = (size_t)st.st_size;
    return NULL;
}

static void copy(const struct image *image, void *to, size_t off, size_t len)
{
    if (image->from) {
        memcpy(to, image->from + off, len);
        return;
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(image->fd, (char *)to + done, len - done, (off_t)(off + done));
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            memset((char *)to + done, 0, len - done);
            return;
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

/* The version that a stranger's header tells of itself, fit for a line of text. */
static const char *other_version(const struct arena_header *h)
{
    static char why[128];
    char version[sizeof h->version + 1] = "";
    for (size_t i = 0; i < sizeof h->version && h->version[i] > ' ' && h->version[i] < 127; i++)
        version[i] = h->version[i];
    snprintf(why, sizeof why, "it was made by forkspan %s (layout %u), this is %s (layout %u)",
             *version ? version : "of another version", h->layout, FORKSPAN_VERSION, ARENA_LAYOUT);
    return why;
}

/* Takes the header out and room for the rest. */
static const char *begin(struct image *image)
{
    struct arena_header *h = NULL;
    if (image->size >= sizeof *h && !(h = aligned_alloc(_Alignof(struct arena_header), sizeof *h)))
        return "no memory";
    if (h)
        copy(image, h, 0, sizeof *h);
    image->arena = (struct arena){.id = image->place.path ? -1 : image->place.id};
    const char *why = h ? arena_recognise(&image->arena, h, image->size) : "it is not an arena of forkspan";
    if (why && h && h->magic == ARENA_MAGIC &&
        (h->layout != ARENA_LAYOUT || strncmp(h->version, FORKSPAN_VERSION, sizeof h->version) != 0))
        why = other_version(h);
    if (!why) {
        void *p = mmap(NULL, image->arena.size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            why = "no memory";
        } else {
            image->mapped = image->arena.size;
            image->arena.header = memcpy(p, h, sizeof *h);
        }
    }
    free(h);
    return why;
}

static const char *open_at(struct image *image, const struct arena_place *place, bool to_write)
{
    *image = (struct image){.place = *place, .fd = -1};
    const char *why = place->path ? open_file(image, to_write ? O_RDWR : O_RDONLY)
                                  : open_segment(image, to_write ? 0 : SHM_RDONLY);
    if (!why)
        why = begin(image);
    if (why)
        image_close(image);
    return why;
}

const char *image_open(struct image *image, const struct arena_place *place)
{
    return open_at(image, place, false);
}

const char *image_over(struct image *image, void *memory, size_t size)
{
    *image = (struct image){.place = {.id = -1}, .from = memory, .size = size, .fd = -1};
    return begin(image);
}

void image_fetch(struct image *image, size_t off, size_t len)
{
    if (off < image->mapped && len <= image->mapped - off && (image->from || image->fd >= 0))
        copy(image, (char *)image->arena.header + off, off, len);
}

void image_detach(struct image *image)
{
    if (image->attached)
        shmdt(image->from);
    image->attached = false;
    if (image->fd >= 0)
        close(image->fd);
    image->from = NULL;
    image->fd = -1;
}

void image_close(struct image *image)
{
    image_detach(image);
    if (image->mapped)
        munmap(image->arena.header, image->mapped);
    image->mapped = 0;
}

/* One that was written over is begun anew. */
static uint64_t changed(uint64_t word, const struct set *set)
{
    struct sampling s;
    sampling_read(word, &s);
    if (set->tracing != SET_NOTHING)
        s.off = set->tracing == SET_OFF;
    if (set->ratio_is != SET_NO_RATIO) {
        s.by_ratio = set->ratio_is == SET_RATIO;
        s.ratio = set->ratio;
    }
    return sampling_write(&s);
}

const char *arena_set(const struct arena_place *place, const struct set *set, struct sampling *result)
{
    const size_t at = offsetof(struct arena_header, sampling);
    struct image image;
    const char *why = open_at(&image, place, true);
    if (why)
        return why;
    uint64_t now = atomic_load(&image.arena.header->sampling), then;
    if (image.from) {
        _Atomic uint64_t *word = &((struct arena_header *)image.from)->sampling;
        do
            then = changed(now, set);
        while (!atomic_compare_exchange_weak(word, &now, then));
    } else {
        then = changed(now, set);
        if (pwrite(image.fd, &then, sizeof then, (off_t)at) != sizeof then)
            why = "it can not be written";
    }
    sampling_read(then, result);
    image_close(&image);
    return why;
}
