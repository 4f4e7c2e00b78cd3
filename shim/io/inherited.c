/* SPDX-License-Identifier: Apache-2.0 */
#include "io/inherited.h"

#include <poll.h>
#include <sys/socket.h>

/* Where activation, an upgrade or a reload by exec leaves its sockets: the first numbers that are free. */
enum { FIRST = 3, LOOKED_AT = 48 };

bool inherited_listener(void)
{
    /* one system call tells which numbers are in use at all: a shell has none */
    struct pollfd fds[LOOKED_AT];
    for (int i = 0; i < LOOKED_AT; i++)
        fds[i] = (struct pollfd){.fd = FIRST + i};
    if (poll(fds, LOOKED_AT, 0) < 0)
        return false;
    for (int i = 0; i < LOOKED_AT; i++) {
        int listens = 0;
        socklen_t len = sizeof listens;
        if (!(fds[i].revents & POLLNVAL) &&
            getsockopt(fds[i].fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
            return true;
    }
    return false;
}
