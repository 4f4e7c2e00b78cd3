/* SPDX-License-Identifier: Apache-2.0
 *
 * Where connections begin. A caller that does not ask for the peer gets nothing of it; we do, in the same
 * call.
 */
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

EXPORT int accept(int fd, struct sockaddr *restrict peer, socklen_t *restrict len)
{
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;
    socklen_t room = peer && len ? *len : own_len;
    int got = peer ? NEXT(accept)(fd, peer, len) : NEXT(accept)(fd, (struct sockaddr *)&own, &own_len);
    if (got >= 0) {
        /* a peer cut to the caller's room is not known to us */
        bool whole = !peer || (len && *len <= room);
        connection_accepted(got, whole ? (peer ? peer : (struct sockaddr *)&own) : NULL,
                            peer && len ? *len : own_len);
    }
    return got;
}

EXPORT int accept4(int fd, struct sockaddr *restrict peer, socklen_t *restrict len, int flags)
{
    struct sockaddr_storage own;
    socklen_t own_len = sizeof own;
    socklen_t room = peer && len ? *len : own_len;
    int got = peer ? NEXT(accept4)(fd, peer, len, flags)
                   : NEXT(accept4)(fd, (struct sockaddr *)&own, &own_len, flags);
    if (got >= 0) {
        bool whole = !peer || (len && *len <= room);
        connection_accepted(got, whole ? (peer ? peer : (struct sockaddr *)&own) : NULL,
                            peer && len ? *len : own_len);
    }
    return got;
}
