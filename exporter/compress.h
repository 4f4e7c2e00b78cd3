/* SPDX-License-Identifier: Apache-2.0
 * compress.h - gzip, in pieces with a rest point after each.
 */
#ifndef FORKSPAN_EXPORTER_COMPRESS_H
#define FORKSPAN_EXPORTER_COMPRESS_H

#include "exporter_internal.h"

#include <zlib.h>

struct compress {
    z_stream z; /* kept: its tables are a quarter of a megabyte to make */
    bool ready;
    uint8_t *out;
    size_t room;
};

/* Compresses; the result lies at c->out + head, `head` bytes before it are the caller's. 0 without memory. */
size_t compress_gzip(struct exporter *e, struct compress *c, size_t head, const uint8_t *in, size_t len);
void compress_close(struct compress *c);
/* After a fork in the middle of anything: as new. What it had is left behind. */
void compress_forget(struct compress *c);

#endif
