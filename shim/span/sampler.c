/* SPDX-License-Identifier: Apache-2.0 */
#include "span/sampler.h"
#include "arena/sampling.h"

/* TraceIdRatioBased as Go and Rust have it: the low 64 bits of the id, halved, against ratio * 2^63. */
static bool ratio_keeps(double ratio, const uint8_t trace_id[16])
{
    if (ratio >= 1.0)
        return true;
    if (!(ratio > 0.0))
        return false;
    uint64_t x = 0;
    for (int i = 8; i < 16; i++)
        x = x << 8 | trace_id[i];
    return (x >> 1) < (uint64_t)(ratio * 9223372036854775808.0);
}

bool sampler_decide(const struct config *config, uint64_t set, const struct span_context *parent,
                    const uint8_t trace_id[16])
{
    struct sampling over;
    if (__builtin_expect(set != 0, 0) && sampling_read(set, &over)) {
        if (over.off)
            return false;
        if (over.by_ratio && !(config->parent_based && parent && parent->valid))
            return ratio_keeps(over.ratio, trace_id);
    }
    if (config->parent_based && parent && parent->valid)
        return parent->flags & TRACE_SAMPLED;
    switch (config->sampler) {
    case SAMPLER_ALWAYS_OFF:
        return false;
    case SAMPLER_RATIO:
        return ratio_keeps(config->ratio, trace_id);
    case SAMPLER_ALWAYS_ON:
    default:
        return true;
    }
}
