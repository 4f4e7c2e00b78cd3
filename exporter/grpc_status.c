/* SPDX-License-Identifier: Apache-2.0 */
#include "grpc_status.h"
#include "exporter_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DETAILS_MAX = 8192 };

int grpc_code_of_http(long http)
{
    switch (http) {
    case 400:
    case 431:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN; /* also 200: a status is what makes it a success */
    }
}

const char *grpc_code_name(int code)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    return code >= 0 && code < (int)(sizeof names / sizeof *names) ? names[code] : "UNKNOWN";
}

bool grpc_retryable(int code, bool retry_info)
{
    switch (code) {
    case GRPC_CANCELLED:
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_ABORTED:
    case GRPC_OUT_OF_RANGE:
    case GRPC_UNAVAILABLE:
    case GRPC_DATA_LOSS:
        return true;
    case GRPC_RESOURCE_EXHAUSTED: /* it may recover only where the receiver says so */
        return retry_info;
    default:
        return false;
    }
}

void grpc_timeout(uint64_t ms, char line[40])
{
    if (ms <= 99999999)
        snprintf(line, 40, "grpc-timeout: %" PRIu64 "m", ms);
    else
        snprintf(line, 40, "grpc-timeout: %" PRIu64 "S", ms / 1000 <= 99999999 ? ms / 1000 : 99999999);
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const uint8_t *in, size_t len, char *out)
{
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i;
        uint32_t v = (uint32_t)in[i] << 16 | (n > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (n > 2 ? in[i + 2] : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = n > 1 ? digits[v >> 6 & 63] : '=';
        *out++ = n > 2 ? digits[v & 63] : '=';
    }
    *out = '\0';
}

long base64_decode(const char *in, size_t len, uint8_t *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    long n = 0;
    while (len && in[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        const char *d = in[i] ? strchr(digits, in[i]) : NULL;
        if (!d)
            return -1;
        bits = bits << 6 | (uint32_t)(d - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    return n;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoded leniently: what is not an escape stays. */
static void message(struct grpc_status *s, const char *v, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < sizeof s->message; i++) {
        int high = v[i] == '%' && i + 2 < len ? hex(v[i + 1]) : -1, low = high >= 0 ? hex(v[i + 2]) : -1;
        char c = v[i];
        if (low >= 0) {
            c = (char)(high << 4 | low);
            i += 2;
        }
        s->message[n++] = (unsigned char)c < ' ' || c == 0x7f ? ' ' : c;
    }
    s->message[n] = '\0';
}

static void details(struct grpc_status *s, const char *v, size_t len)
{
    uint8_t bytes[DETAILS_MAX];
    long n = len <= sizeof bytes ? base64_decode(v, len, bytes) : -1;
    uint64_t ms;
    if (n > 0 && answer_retry_info(bytes, (size_t)n, &ms)) {
        s->retry_info = true;
        s->retry_delay_ms = ms;
    }
}

void grpc_status_line(struct grpc_status *s, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (!colon)
        return;
    size_t name_len = (size_t)(colon - line);
    const char *v = colon + 1, *end = line + len;
    while (v < end && (*v == ' ' || *v == '\t'))
        v++;
    while (end > v && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    size_t n = (size_t)(end - v);
    if (name_len == 11 && strncasecmp(line, "grpc-status", 11) == 0) {
        s->present = true;
        s->code = n == 0 || n > 3 ? -1 : 0;
        for (size_t i = 0; i < n && s->code >= 0; i++)
            s->code = v[i] < '0' || v[i] > '9' ? -1 : s->code * 10 + (v[i] - '0');
        if (s->code < 0)
            s->code = GRPC_UNKNOWN;
    } else if (name_len == 12 && strncasecmp(line, "grpc-message", 12) == 0) {
        message(s, v, n);
    } else if (name_len == 23 && strncasecmp(line, "grpc-status-details-bin", 23) == 0) {
        details(s, v, n);
    }
}
