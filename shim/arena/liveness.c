/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/liveness.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One batch thread a process; a child's is registered anew by its own thread. */
static struct robust_list_head head;
static struct robust_list entry;

bool liveness_hold(_Atomic uint32_t *word)
{
    entry.next = &head.list;
    head.list.next = &entry;
    head.list_op_pending = NULL;
    head.futex_offset = (char *)word - (char *)&entry;
    /* This replaces the list glibc registered for the thread: our thread holds no robust mutex of anybody. */
    if (syscall(SYS_set_robust_list, &head, sizeof head) != 0) {
        atomic_store(word, FUTEX_WAITERS); /* somebody is here, but no thread id that the kernel would mark */
        return false;
    }
    atomic_store(word, (uint32_t)syscall(SYS_gettid));
    return true;
}
