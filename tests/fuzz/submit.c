/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: spans that somebody else has encoded. What is let through is counted as protobuf-c counts
 * it, and two such messages one behind the other are one with the spans of both.
 */
#include "otlp.pb-c.h"
#include "wire/otlp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *twice = malloc(2 * size);
    memcpy(twice, data, size);
    memcpy(twice + size, data, size);
    long spans = otlp_spans(data, size), both = otlp_spans(twice, 2 * size);
    free(twice);
    if (spans < -1 || (spans >= 0 && both != 2 * spans))
        abort();
    Otlp__TracesData *read = otlp__traces_data__unpack(NULL, size, data);
    if (!read)
        return 0;
    long counted = 0;
    for (size_t i = 0; i < read->n_resource_spans; i++)
        for (size_t j = 0; j < read->resource_spans[i]->n_scope_spans; j++)
            counted += (long)read->resource_spans[i]->scope_spans[j]->n_spans;
    if (spans >= 0 && counted != spans)
        abort();
    otlp__traces_data__free_unpacked(read, NULL);
    return 0;
}
