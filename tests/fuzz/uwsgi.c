/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: the first byte says how the rest is cut. Whole and in pieces it must give the same
 * events, and every slice lies within the buffer.
 */
#include "wire/uwsgi.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t run(const uint8_t *data, size_t size, size_t piece)
{
    struct uwsgi p;
    uwsgi_init(&p);
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        /* a copy, so that a read beyond the piece is seen */
        uint8_t *copy = malloc(n);
        memcpy(copy, data + at, n);
        struct http1_slice in = {copy, n}, out;
        enum uwsgi_event e;
        do {
            e = uwsgi_next(&p, &in, &out);
            if (out.len && (e != UWSGI_VALUE || out.p < copy || out.p + out.len > copy + n))
                abort();
            uint8_t event[2] = {(uint8_t)e, p.var};
            if (e == UWSGI_VALUE)
                h = hash_bytes(h, out.p, out.len);
            else if (e != UWSGI_NEED_MORE)
                h = hash_bytes(h, event, e == UWSGI_VALUE_END ? 2 : 1);
        } while (e != UWSGI_NEED_MORE && e != UWSGI_NOT_UWSGI);
        if (in.len)
            abort();
        free(copy);
        if (e == UWSGI_NOT_UWSGI)
            break;
        at += n;
    }
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint64_t whole = run(data + 1, size - 1, size);
    if (run(data + 1, size - 1, 1) != whole || run(data + 1, size - 1, 2u + data[0]) != whole)
        abort();
    return 0;
}
