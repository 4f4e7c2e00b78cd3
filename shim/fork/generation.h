/* SPDX-License-Identifier: Apache-2.0
 * generation.h - a word that changes in every new process, also in one made behind libc's back.
 *
 * It lies on a page that the kernel wipes in a child (MADV_WIPEONFORK, Linux 4.14; not with CLONE_VM). Where
 * that is missing (qemu-user says yes to everything: probed with an advice that must fail), only the forks
 * seen by the other two layers change it.
 */
#ifndef FORKSPAN_FORK_GENERATION_H
#define FORKSPAN_FORK_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

struct generation_page {
    _Atomic uint64_t generation; /* 0: wiped, nobody has looked yet */
    _Atomic uint64_t id_ready;   /* 1 when the key below is set */
    _Atomic uint64_t id_key[3];  /* random, of this process alone */
    _Atomic uint64_t id_counter;
};
extern struct generation_page *generation_page;

/* The number of this process's generation, never 0. Sets a new one where the page was wiped. Any handler. */
uint64_t generation_now(void);
/* Called in a child by the layers that saw the fork. */
void generation_renew(void);
/* Constructor only. */
void generation_init(void);

#endif
