/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: the first byte says request or response, what it answers, and how the rest is cut. Whole
 * and in pieces it must give the same events, and every slice lies within the buffer.
 */
#include "wire/http1.h"

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

static uint64_t run(const uint8_t *data, size_t size, uint8_t how, size_t piece)
{
    struct http1 p;
    if (how & 1)
        http1_init_response(&p);
    else
        http1_init_request(&p);
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    /* A piece lies at the end of memory of its own, so that a read beyond it is seen. */
    uint8_t *block = malloc(piece);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        uint8_t *copy = block + (piece - n);
        memcpy(copy, data + at, n);
        struct http1_slice in = {copy, n}, out;
        for (;;) {
            enum http1_event e = http1_next(&p, &in, &out);
            if (e == HTTP1_START)
                http1_set_request_kind(&p, (enum http1_request_kind)((how >> 1) % 3));
            if (e == HTTP1_NEED_MORE || e == HTTP1_NOT_HTTP) {
                if (in.len)
                    abort();
                if (e == HTTP1_NOT_HTTP && !http1_final(&p))
                    abort();
                break;
            }
            if (out.len) {
                h = hash_bytes(h, out.p, out.len);
            } else {
                uint8_t event[4] = {(uint8_t)e, p.field, (uint8_t)p.status, http1_odd(&p)};
                h = hash_bytes(h, event, sizeof event);
            }
        }
        at += n;
    }
    free(block);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t how = data[0];
    uint64_t whole = run(data + 1, size - 1, how, size);
    if (run(data + 1, size - 1, how, 1) != whole || run(data + 1, size - 1, how, 2u + (how >> 3)) != whole)
        abort();
    return 0;
}
