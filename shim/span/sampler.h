/* SPDX-License-Identifier: Apache-2.0
 * sampler.h - the samplers of OTEL_TRACES_SAMPLER (otel-conformance.md 1.5, 6.5). Pure functions.
 */
#ifndef FORKSPAN_SPAN_SAMPLER_H
#define FORKSPAN_SPAN_SAMPLER_H

#include "config/config.h"
#include "span/context.h"

/* True if a span with this trace id and parent (invalid: root) is to be recorded and sampled. `set` is what
 * was set while the server runs (arena/sampling.h): it may turn tracing off, or be a ratio in place of the
 * configured root sampler. Any handler. */
bool sampler_decide(const struct config *config, uint64_t set, const struct span_context *parent,
                    const uint8_t trace_id[16]);

#endif
