/* SPDX-License-Identifier: Apache-2.0
 * vfork.c - are we the child of a vfork, in our parent's memory?
 */
#include "fork/knobs.h"
#include "process.h"
#include "tls.h"

#include <sys/syscall.h>
#include <unistd.h>

/* The mark is the id of the thread that called vfork (UINT32_MAX: of none, where ids can not be compared):
 * who has another id, and yet finds the mark in its memory, is the child. */
bool process_in_vfork_child(void)
{
    if (__builtin_expect(tls.vfork_mark == 0, 1) || KNOB_OFF(vfork_mark))
        return false;
    if ((uint32_t)syscall(SYS_gettid) != tls.vfork_mark)
        return true;
    tls.vfork_mark = 0;
    return false;
}
