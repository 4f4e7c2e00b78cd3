/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: what a receiver answers. Whatever it is, what goes to the log is one printable line that
 * ends within its room.
 */
#include "exporter_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char message[160])
{
    const char *end = memchr(message, '\0', 160);
    if (!end)
        abort();
    for (const char *p = message; p < end; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct answer a;
    char message[160];
    /* what is not written is not printable */
    memset(message, 1, sizeof message);
    answer_read(data, size, &a);
    check_line(a.message);
    answer_error(data, size, message);
    check_line(message);
    return 0;
}
