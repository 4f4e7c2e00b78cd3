/* SPDX-License-Identifier: Apache-2.0
 * inherited.h - sockets that somebody else has made listen: systemd, the server before an upgrade or an exec.
 */
#ifndef FORKSPAN_IO_INHERITED_H
#define FORKSPAN_IO_INHERITED_H

#include <stdbool.h>

/* A socket among the lower file descriptors listens. System calls only; errno is not kept. */
bool inherited_listener(void);

#endif
