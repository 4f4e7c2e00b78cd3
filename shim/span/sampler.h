/* SPDX-License-Identifier: Apache-2.0
 * sampler.h - the samplers of OTEL_TRACES_SAMPLER (otel-conformance.md 1.5, 6.5). Pure functions.
 */
#ifndef FORKSPAN_SPAN_SAMPLER_H
#define FORKSPAN_SPAN_SAMPLER_H

#include "config/config.h"
#include "span/context.h"

/* True if a span with this trace id and parent (invalid: root) is to be recorded and sampled. Any handler. */
bool sampler_decide(const struct config *config, const struct span_context *parent,
                    const uint8_t trace_id[16]);

#endif
