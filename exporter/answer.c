/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter_internal.h"
#include "otlp.pb-c.h"

#include <string.h>

void answer_printable(char out[160], const char *text)
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
        answer_printable(out->message, r->partial_success->error_message);
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
    answer_printable(out, s->message);
    otlp__rpc_status__free_unpacked(s, NULL);
}

bool answer_retry_info(const uint8_t *status, size_t len, uint64_t *ms)
{
    bool found = false;
    Otlp__RpcStatus *s = otlp__rpc_status__unpack(NULL, len, status);
    if (!s)
        return false;
    for (size_t i = 0; i < s->n_details && !found; i++) {
        const Otlp__Any *any = s->details[i];
        const char *slash = strrchr(any->type_url, '/');
        if (!slash || strcmp(slash, "/google.rpc.RetryInfo") != 0)
            continue;
        Otlp__RetryInfo *info = otlp__retry_info__unpack(NULL, any->value.len, any->value.data);
        if (!info)
            continue;
        found = true;
        int64_t seconds = info->retry_delay ? info->retry_delay->seconds : 0;
        int32_t nanos = info->retry_delay ? info->retry_delay->nanos : 0;
        *ms = retry_after_ms(seconds) + (seconds >= 0 && nanos > 0 ? (uint64_t)nanos / 1000000u : 0);
        otlp__retry_info__free_unpacked(info, NULL);
    }
    otlp__rpc_status__free_unpacked(s, NULL);
    return found;
}
