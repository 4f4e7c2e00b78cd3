/* SPDX-License-Identifier: Apache-2.0
 * memory.c - malloc and its family for the exporter and the libraries linked into it (hidden: the host keeps
 * its own), so that the batch thread never waits for a lock of the host's allocator, nor holds it when
 * somebody forks.
 *
 * One thread at a time, as all of the exporter; no lock. Blocks of a size class come from a list of free
 * ones, else off the end of a chunk; large ones are mappings of their own. Each step is one store to one
 * word, made after what it points to is complete: a child that is forked at any moment by another thread has
 * a heap that holds together, and has lost one block at most.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum {
    HEAD = 16,
    CHUNK = 256 * 1024,
    SMALL_MAX = 1024,      /* in steps of 16 */
    CLASS_MAX = 64 * 1024, /* from there on four classes a power of two */
    SMALL_CLASSES = SMALL_MAX / 16,
    CLASSES = SMALL_CLASSES + 4 * 6,
    PAGE = 4096,
};

struct block {
    size_t size; /* of the mapping with its head, or 0 */
    uint32_t class;
    uint32_t pad;
};
_Static_assert(sizeof(struct block) == HEAD, "blocks are aligned to 16");

struct free_block {
    struct free_block *next;
};

static struct free_block *_Atomic free_list[CLASSES];
static char *_Atomic chunk; /* the rest of it */
static char *_Atomic chunk_end;

void *malloc(size_t size);
void free(void *p);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);
size_t exporter_memory_mapped(void);

static size_t mapped;

/* For tests: all that was asked of the kernel and not given back. */
size_t exporter_memory_mapped(void)
{
    return mapped;
}

static uint32_t class_of(size_t size)
{
    if (size <= SMALL_MAX)
        return size ? (uint32_t)((size - 1) / 16) : 0;
    unsigned top = 63 - (unsigned)__builtin_clzll(size - 1); /* 10 for 1025 to 2048 */
    return SMALL_CLASSES + (top - 10) * 4 + (uint32_t)((size - 1) >> (top - 2) & 3);
}

static size_t size_of(uint32_t class)
{
    if (class < SMALL_CLASSES)
        return ((size_t) class + 1) * 16;
    unsigned top = 10 + (class - SMALL_CLASSES) / 4, quarter = (class - SMALL_CLASSES) % 4;
    return ((size_t)1 << top) + ((size_t)quarter + 1) * ((size_t)1 << (top - 2));
}

static void *map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        errno = ENOMEM;
        return NULL;
    }
    mapped += size;
    return p;
}

static void *large(size_t size)
{
    if (size > PTRDIFF_MAX - HEAD - PAGE) {
        errno = ENOMEM;
        return NULL;
    }
    size_t whole = (size + HEAD + PAGE - 1) / PAGE * PAGE;
    struct block *b = map(whole);
    if (!b)
        return NULL;
    b->size = whole;
    return b + 1;
}

static void *carve(uint32_t class)
{
    size_t whole = HEAD + size_of(class);
    char *end = chunk_end;
    if (!end || (size_t)(end - chunk) < whole) {
        char *fresh = map(CHUNK);
        if (!fresh)
            return NULL;
        /* the old one's rest is left; without an end nobody takes from what is between two states */
        atomic_store_explicit(&chunk_end, NULL, memory_order_release);
        atomic_store_explicit(&chunk, fresh, memory_order_release);
        atomic_store_explicit(&chunk_end, fresh + CHUNK, memory_order_release);
    }
    struct block *b = (struct block *)(void *)chunk;
    atomic_store_explicit(&chunk, chunk + whole, memory_order_release);
    b->size = 0;
    b->class = class;
    return b + 1;
}

/* Not malloc itself: a compiler that knows that name makes a call of calloc out of malloc and memset, also in
 * calloc. */
static void *take(size_t size)
{
    if (size > CLASS_MAX)
        return large(size);
    uint32_t class = class_of(size);
    struct free_block *f = free_list[class];
    if (!f)
        return carve(class);
    atomic_store_explicit(&free_list[class], f->next, memory_order_release);
    return f;
}

void *malloc(size_t size)
{
    return take(size);
}

void free(void *p)
{
    if (!p)
        return;
    struct block *b = (struct block *)p - 1;
    if (b->size) {
        int keep = errno;
        mapped -= b->size;
        munmap(b, b->size);
        errno = keep;
        return;
    }
    struct free_block *f = p;
    f->next = free_list[b->class];
    atomic_store_explicit(&free_list[b->class], f, memory_order_release);
}

void *calloc(size_t n, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(n, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    void *p = take(all);
    if (p && all <= CLASS_MAX) /* a mapping is zero */
        memset(p, 0, all);
    return p;
}

void *realloc(void *p, size_t size)
{
    if (!p)
        return take(size);
    struct block *b = (struct block *)p - 1;
    size_t have = b->size ? b->size - HEAD : size_of(b->class);
    if (size <= have && size >= have / 2)
        return p;
    if (b->size && size > CLASS_MAX && size <= PTRDIFF_MAX - HEAD - PAGE) {
        size_t whole = (size + HEAD + PAGE - 1) / PAGE * PAGE;
        struct block *moved = mremap(b, b->size, whole, MREMAP_MAYMOVE);
        if (moved == MAP_FAILED) {
            errno = ENOMEM;
            return NULL;
        }
        mapped += whole - moved->size;
        moved->size = whole;
        return moved + 1;
    }
    void *q = take(size);
    if (!q)
        return NULL;
    memcpy(q, p, size < have ? size : have);
    free(p);
    return q;
}
