# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry's documented Flask application with its provider, processor and exporter built at import: no hook of
Gunicorn, none of uWSGI. SDK_EXPORTER: grpc or http, or package, which is ForkspanSpanProcessor; without it the application
knows no tracing. SDK_ENDPOINT: where to. What else the master does is in SDK_MASTER: "spans" ends 600 spans two seconds
before it forks, "thread" ends them all the time."""
import os
import threading
import time

from flask import Flask
app = application = Flask(__name__)

if os.environ.get("SDK_EXPORTER"):
    from opentelemetry import trace
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "api-service"}))
    trace.set_tracer_provider(provider)
    if os.environ["SDK_EXPORTER"] == "package":
        from forkspan import ForkspanSpanProcessor

        provider.add_span_processor(ForkspanSpanProcessor())
    else:
        if os.environ["SDK_EXPORTER"] == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["SDK_ENDPOINT"])))
    FlaskInstrumentor().instrument_app(app)
    tracer = trace.get_tracer("master")

    if os.environ.get("SDK_MASTER") == "spans":
        for number in range(600):
            tracer.start_span(f"master {number}").end()
        time.sleep(2)
    elif os.environ.get("SDK_MASTER") == "thread":
        def always():
            while True:
                tracer.start_span("master").end()
                time.sleep(0.001)

        threading.Thread(target=always, daemon=True).start()


@app.route("/<path:what>")
def any_path(what):
    return "ok\n"
