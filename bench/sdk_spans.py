# SPDX-License-Identifier: Apache-2.0
"""sdk_spans.py none|batch|forkspan|forkspan-python BURSTS: what a span with 8 attributes costs in a process with the
OpenTelemetry SDK, without a processor, with its own and with forkspan's. Prints nanoseconds a span: of the calling
thread's CPU from start to end, and of the process's CPU in all, exported in batches of 512."""
import sys
import time

from opentelemetry.sdk.trace import TracerProvider

BURST = 512
ATTRIBUTES = {"url.path": "/users/4711", "http.request.method": "GET", "http.response.status_code": 200, "server.address": "localhost",
              "server.port": 8000, "network.protocol.version": "1.1", "user_agent.original": "curl/8.5.0", "client.address": "127.0.0.1"}


def provider(kind):
    made = TracerProvider()
    if kind == "batch":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    elif kind.startswith("forkspan"):
        import forkspan

        processor = forkspan.ForkspanSpanProcessor()
        if not forkspan.preloaded():
            sys.exit("forkspan is not preloaded")
        if forkspan._span.__module__ != ("forkspan._encode" if kind == "forkspan-python" else "forkspan._native"):
            sys.exit("not the encoder that was asked for")
        made.add_span_processor(processor)
    return made


def main():
    kind, bursts = sys.argv[1], int(sys.argv[2])
    if kind == "forkspan-python":
        sys.modules["forkspan._native"] = None
    made = provider(kind)
    tracer = made.get_tracer("bench")

    def burst():
        for _ in range(BURST):
            tracer.start_span("GET", attributes=ATTRIBUTES).end()

    burst()
    made.force_flush(30000)  # what is done once is not counted
    thread = 0
    process = time.process_time_ns()
    for _ in range(bursts):
        began = time.thread_time_ns()
        burst()
        thread += time.thread_time_ns() - began
        if not made.force_flush(30000):
            sys.exit("not flushed")
    process = time.process_time_ns() - process
    print(thread / (bursts * BURST), process / (bursts * BURST))


main()
