/* SPDX-License-Identifier: Apache-2.0 */
#include "io/export.h"
#include "next.h"
#include "process.h"

#include <errno.h>

EXPORT int listen(int fd, int backlog)
{
    int rc = NEXT(listen)(fd, backlog);
    if (rc == 0 && !process_own_thread()) {
        int saved = errno;
        process_listens();
        errno = saved;
    }
    return rc;
}
