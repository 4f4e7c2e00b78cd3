/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of a body that go from file to socket without passing through the process.
 */
#include "io/connection.h"
#include "io/export.h"
#include "next.h"

/* Not <sys/sendfile.h>: with _FILE_OFFSET_BITS=64 it makes one name of the two. */
ssize_t sendfile(int, int, off_t *, size_t);
ssize_t sendfile64(int, int, off64_t *, size_t);

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
