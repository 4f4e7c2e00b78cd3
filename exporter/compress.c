/* SPDX-License-Identifier: Apache-2.0 */
#include "compress.h"

#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 32 * 1024, /* compressed between two rest points: less than 1 ms */
    LEVEL = 1,         /* spans repeat themselves: higher ones cost three times as much for a tenth less */
};

static bool make_ready(struct compress *c)
{
    if (c->ready)
        return deflateReset(&c->z) == Z_OK;
    memset(&c->z, 0, sizeof c->z);
    c->ready = deflateInit2(&c->z, LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    return c->ready;
}

size_t compress_gzip(struct exporter *e, struct compress *c, size_t head, const uint8_t *in, size_t len)
{
    if (!make_ready(c))
        return 0;
    size_t bound = head + deflateBound(&c->z, len) + 64;
    if (bound > c->room) {
        uint8_t *p = realloc(c->out, bound);
        if (!p)
            return 0;
        c->out = p;
        c->room = bound;
    }
    c->z.next_out = c->out + head;
    c->z.avail_out = (uInt)(c->room - head);
    int rc = Z_OK;
    for (size_t at = 0; rc == Z_OK;) {
        size_t n = len - at < PIECE ? len - at : PIECE;
        c->z.next_in = (Bytef *)(in + at);
        c->z.avail_in = (uInt)n;
        at += n;
        rc = deflate(&c->z, at == len ? Z_FINISH : Z_NO_FLUSH);
        if (e->host.rest_point)
            e->host.rest_point(e->host.ctx);
    }
    return rc == Z_STREAM_END ? c->z.total_out : 0;
}

void compress_close(struct compress *c)
{
    if (c->ready)
        deflateEnd(&c->z);
    free(c->out);
}

void compress_forget(struct compress *c)
{
    *c = (struct compress){0};
}
