/* SPDX-License-Identifier: Apache-2.0
 * close.h - what syscall.S calls.
 */
#ifndef FORKSPAN_IO_CLOSE_H
#define FORKSPAN_IO_CLOSE_H

/* Somebody (libuv) closes this fd by syscall(SYS_close, fd). */
void close_by_syscall(long fd);
/* libc's syscall(); NULL before syscall_resolve(). */
extern void *syscall_next_function __attribute__((visibility("hidden")));
void syscall_resolve(void);

#endif
