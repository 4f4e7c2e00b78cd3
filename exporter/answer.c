/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter_internal.h"
#include "otlp.pb-c.h"

#include <string.h>

/* The receiver's words, fit for one line of a log. */
static void printable(char out[160], const char *text)
{
    size_t n = 0;
    for (; text && *text && n < 159; text++)
        out[n++] = (unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text;
    out[n] = '\0';
}

bool answer_read(const uint8_t *body, size_t len, struct answer *out)
{
    memset(out, 0, sizeof *out);
    Otlp__ExportResponse *r = otlp__export_response__unpack(NULL, len, body);
    if (!r)
        return false;
    if (r->partial_success) {
        int64_t n = r->partial_success->rejected_spans;
        out->rejected = n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
        printable(out->message, r->partial_success->error_message);
    }
    otlp__export_response__free_unpacked(r, NULL);
    return true;
}

void answer_error(const uint8_t *body, size_t len, char out[160])
{
    out[0] = '\0';
    Otlp__RpcStatus *s = otlp__rpc_status__unpack(NULL, len, body);
    if (!s)
        return;
    printable(out, s->message);
    otlp__rpc_status__free_unpacked(s, NULL);
}
