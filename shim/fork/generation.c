/* SPDX-License-Identifier: Apache-2.0 */
#include "fork/generation.h"
#include "fork/knobs.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static struct generation_page fallback = {.generation = 1};
struct generation_page *generation_page = &fallback;
static _Atomic uint64_t last = 1; /* on an ordinary page: goes on counting in the child */

void generation_init(void)
{
    const size_t size = sizeof *generation_page; /* the kernel makes it a page */
    if (KNOB_OFF(generation))
        return;
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    /* Without wiping (before Linux 4.14; qemu-user agrees to any advice, hence the one that must fail) the
     * page changes only where the other two layers see the fork. */
    if (madvise(page, size, -1) == 0 || madvise(page, size, MADV_WIPEONFORK) != 0) {
        munmap(page, size);
        return;
    }
    generation_page = page;
    atomic_store_explicit(&generation_page->generation, 1, memory_order_relaxed);
}

void generation_renew(void)
{
    uint64_t next = atomic_fetch_add(&last, 1) + 1;
    /* where nothing wipes the page, the parent's key is still there */
    if (!KNOB_OFF(reseed)) {
        for (int i = 0; i < 3; i++)
            atomic_store(&generation_page->id_key[i], 0);
        atomic_store(&generation_page->id_ready, 0);
    }
    atomic_store(&generation_page->generation, next);
}

uint64_t generation_now(void)
{
    uint64_t now = atomic_load_explicit(&generation_page->generation, memory_order_acquire);
    if (__builtin_expect(now != 0, 1))
        return now;
    /* A child nobody told us of. Two threads of it may come here at once: one number wins. */
    uint64_t next = atomic_fetch_add(&last, 1) + 1;
    if (atomic_compare_exchange_strong(&generation_page->generation, &now, next))
        return next;
    return now;
}
