# SPDX-License-Identifier: Apache-2.0
"""A Flask application that traces itself: the SDK, its Flask instrumentation, an exporter of its own."""
import os

from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "sdk"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=os.environ["SDK_ENDPOINT"] + "/v1/traces")))
trace.set_tracer_provider(provider)
app = application = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.get("/chain/<number>")
def chain(number):
    with trace.get_tracer("app").start_as_current_span("work"):
        return f"{number}\n"
