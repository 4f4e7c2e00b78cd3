# SPDX-License-Identifier: Apache-2.0
"""Where a request brings no context of its own, the parent of the application's spans is forkspan's span of that request."""
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator

from . import _library


def with_request(context):
    """`context` (None: the root), if it has no span with forkspan's current one."""
    if context is None:
        context = Context()
    if trace.get_current_span(context).get_span_context().is_valid:
        return context
    found = _library.current()
    if found is None:
        return context
    try:
        state = trace.TraceState.from_header([found.tracestate[:found.tracestate_len].decode("ascii")]) if found.tracestate_len else None
    except ValueError:
        state = None
    parent = trace.SpanContext(int.from_bytes(bytes(found.trace_id), "big"), int.from_bytes(bytes(found.span_id), "big"), True,
                               trace.TraceFlags(found.flags), state)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), context)


class ForkspanPropagator(TextMapPropagator):
    """OTEL_PROPAGATORS=tracecontext,baggage,forkspan. After the others, whose context wins; it sends nothing on."""

    def extract(self, carrier, context=None, getter=None):
        return with_request(context)

    def inject(self, carrier, context=None, setter=None):
        pass

    @property
    def fields(self):
        return set()
