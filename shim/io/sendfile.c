/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of a body that go between a socket and a file or pipe without passing through the process.
 */
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

/* Not <sys/sendfile.h>: with _FILE_OFFSET_BITS=64 it makes one name of the two. */
ssize_t sendfile(int, int, off_t *, size_t);
ssize_t sendfile64(int, int, off64_t *, size_t);
ssize_t splice(int, off64_t *, int, off64_t *, size_t, unsigned);

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t n)
{
    if (!connection_write_watched(out))
        return NEXT(sendfile)(out, in, offset, n);
    ssize_t sent = NEXT(sendfile)(out, in, offset, n);
    connection_written_unseen(out, sent);
    return sent;
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t n)
{
    if (!connection_write_watched(out))
        return NEXT(sendfile64)(out, in, offset, n);
    ssize_t sent = NEXT(sendfile64)(out, in, offset, n);
    connection_written_unseen(out, sent);
    return sent;
}

EXPORT ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
    ssize_t moved = NEXT(splice)(in, in_at, out, out_at, n, flags);
    if (connection_read_watched(in))
        connection_read_unseen(in, moved);
    if (connection_write_watched(out))
        connection_written_unseen(out, moved);
    return moved;
}
