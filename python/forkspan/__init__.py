# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry SDK spans into forkspan's ring.

Both classes may be made at import, before the server forks. Without the preloaded library they warn once and use OTLP
over HTTP, where opentelemetry-exporter-otlp-proto-http is installed.
"""
import logging

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from . import _library
from ._encode import Encoder
from ._propagator import ForkspanPropagator

try:
    from ._native import span as _span  # the same in C
except ImportError:
    from ._encode import span as _span

__all__ = ["ForkspanPropagator", "ForkspanSpanExporter", "ForkspanSpanProcessor", "preloaded"]

_log = logging.getLogger(__name__)
_warned = False


def preloaded():
    """forkspan's library is in this process."""
    return _library.api is not None


def _warn_once(text, *arguments):
    global _warned
    if not _warned:
        _warned = True
        _log.warning(text, *arguments)


def _otlp():
    """What to use where the library is not there; None: nothing is."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        _warn_once("forkspan is not preloaded and opentelemetry-exporter-otlp-proto-http is not installed: spans are lost")
        return None
    _warn_once("forkspan is not preloaded (forkspan run -- COMMAND): spans are sent by OTLP over HTTP")
    return OTLPSpanExporter()


class _Handed:
    """What both have; _instead is what stands in where the library is not preloaded."""

    _instead = None

    def shutdown(self):
        """What was ended is forkspan's; it is sent at the process's exit, or by another process of the server."""
        if self._instead:
            self._instead.shutdown()

    def force_flush(self, timeout_millis=30000):
        if self._instead:
            return self._instead.force_flush(timeout_millis)
        return _library.flush(timeout_millis)


class ForkspanSpanProcessor(_Handed, SpanProcessor):
    """Writes each sampled span, as it ends, where forkspan sends it from. No thread, no queue, nothing to do at a fork."""

    def __init__(self):
        self._encoder = Encoder(_span)
        _library.prepare()
        if not preloaded():
            exporter = _otlp()
            self._instead = BatchSpanProcessor(exporter) if exporter else SpanProcessor()

    def on_start(self, span, parent_context=None):
        if self._instead:
            self._instead.on_start(span, parent_context)

    def on_end(self, span):
        if self._instead:
            self._instead.on_end(span)
        elif span.context.trace_flags.sampled:
            try:
                if not _library.submit(self._encoder.request(span)):
                    _log.debug("no room for a span")  # forkspan counts it
            except Exception:
                _log.exception("a span could not be handed to forkspan")


class ForkspanSpanExporter(_Handed, SpanExporter):
    """For BatchSpanProcessor and OTEL_TRACES_EXPORTER=forkspan."""

    def __init__(self):
        self._encoder = Encoder(_span)
        _library.prepare()
        self._instead = None if preloaded() else _otlp()

    def export(self, spans):
        if self._instead:
            return self._instead.export(spans)
        if not preloaded():
            return SpanExportResult.FAILURE
        taken = [_library.submit(request) for request in self._encoder.requests(spans)]
        return SpanExportResult.SUCCESS if all(taken) else SpanExportResult.FAILURE
