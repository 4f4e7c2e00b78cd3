/* SPDX-License-Identifier: Apache-2.0 */
#include "span/submit.h"
#include "arena/ring.h"
#include "arena/sampling.h"
#include "process.h"
#include "wire/otlp.h"

#include <string.h>

bool submit_request(const uint8_t *p, size_t len)
{
    if (!p || len == 0 || len > SUBMIT_MAX)
        return false;
    long spans = otlp_spans(p, len);
    if (spans <= 0 || !process_makes_spans(false))
        return false;
    if (sampling_off(process_sampling()))
        return true; /* as a sampler leaves a span out: nobody is to be told of a failure */
    process_count(COUNT_STARTED, (uint64_t)spans);
    struct ring_place place;
    if (!ring_reserve(process_ring(), (uint32_t)len, &place)) {
        process_count(COUNT_DROPPED, (uint64_t)spans);
        return false;
    }
    memcpy(place.p, p, len);
    ring_commit(&place, (uint32_t)len, RING_SCOPE_RAW);
    process_count(COUNT_QUEUED, (uint64_t)spans);
    process_committed();
    return true;
}
