# SPDX-License-Identifier: Apache-2.0
"""A WSGI application that makes four spans a request. BENCH_SDK: none, batch or forkspan."""
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
if os.environ["BENCH_SDK"] == "batch":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
elif os.environ["BENCH_SDK"] == "forkspan":
    from forkspan import ForkspanSpanProcessor

    provider.add_span_processor(ForkspanSpanProcessor())
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("bench")


def application(environ, start_response):
    with tracer.start_as_current_span("GET /", attributes={"url.path": environ["PATH_INFO"], "http.request.method": "GET"}):
        for name in ("look up", "compute", "render"):
            with tracer.start_as_current_span(name, attributes={"step": name, "n": 7}):
                pass
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
