/* SPDX-License-Identifier: Apache-2.0
 * grpc_status.h - what a gRPC answer's head and trailers say. Pure functions.
 */
#ifndef FORKSPAN_EXPORTER_GRPC_STATUS_H
#define FORKSPAN_EXPORTER_GRPC_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GRPC_OK,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED,
};

struct grpc_status {
    bool present;
    int code;
    char message[160]; /* decoded, printable, cut */
    bool retry_info;   /* the receiver said when to come again */
    uint64_t retry_delay_ms;
};

/* A header line of the answer ("name: value\r\n"), of its head or its trailers. */
void grpc_status_line(struct grpc_status *s, const char *line, size_t len);
int grpc_code_of_http(long http);
const char *grpc_code_name(int code);
bool grpc_retryable(int code, bool retry_info);
/* "grpc-timeout: 10000m": at most eight digits and a unit. */
void grpc_timeout(uint64_t ms, char line[40]);

/* `out` has room for len / 3 * 4 + 5. */
void base64_encode(const uint8_t *in, size_t len, char *out);
/* Padded or not; the number of bytes, or -1. `out` has room for len bytes. */
long base64_decode(const char *in, size_t len, uint8_t *out);

#endif
