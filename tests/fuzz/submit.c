/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: spans that somebody else has encoded. What is let through is counted as protobuf-c counts
 * it, and two such messages one behind the other are one with the spans of both.
 */
#include "span/submit.h"
#include "otlp.pb-c.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

bool process_makes_spans(bool signal_safe_only)
{
    (void)signal_safe_only;
    return false;
}
struct ring *process_ring(void)
{
    return NULL;
}
void process_count(enum counter c, uint64_t n)
{
    (void)c, (void)n;
}
void process_committed(void)
{
}
bool ring_reserve(struct ring *ring, uint32_t room, struct ring_place *place)
{
    (void)ring, (void)room, (void)place;
    return false;
}
void ring_commit(const struct ring_place *place, uint32_t len, uint16_t scope)
{
    (void)place, (void)len, (void)scope;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *twice = malloc(2 * size);
    memcpy(twice, data, size);
    memcpy(twice + size, data, size);
    long spans = submit_spans(data, size), both = submit_spans(twice, 2 * size);
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
