/* SPDX-License-Identifier: Apache-2.0
 * sockets.h - the exporter's sockets in a process that may close every fd and use the numbers again.
 *
 * A socket is numbered high, close-on-exec from its first moment, and known by device and inode. In the
 * static build the calls that curl and c-ares make on sockets pass through checks of this (-Wl,--wrap): on a
 * number that is somebody else's by now they fail with EBADF, as on a closed one, and close() only forgets
 * it.
 */
#ifndef FORKSPAN_EXPORTER_SOCKETS_H
#define FORKSPAN_EXPORTER_SOCKETS_H

#include <stdbool.h>

/* As socket(2). */
int sockets_make(int family, int type, int protocol);
/* Is the number one of sockets_make()'s, and still the same socket? */
bool sockets_ours(int fd);
/* Is it one of sockets_make()'s that was not closed since, by whomever it is taken now? */
bool sockets_known(int fd);
/* Closes it if it is still ours; 0 otherwise. */
int sockets_close(int fd);
/* One of them was taken from us and not closed since. */
bool sockets_lost(void);
/* In a fork's child: closes the copies, without a goodbye, and knows none. */
void sockets_forget(void);

#endif
