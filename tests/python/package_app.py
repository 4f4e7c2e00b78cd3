# SPDX-License-Identifier: Apache-2.0
"""An application that sets the SDK up at import, in the master, and knows nothing of forks."""
import os

from forkspan import ForkspanSpanProcessor
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
provider.add_span_processor(ForkspanSpanProcessor())
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("package_app")


def application(environ, start_response):
    with tracer.start_as_current_span("handle", attributes={"path": environ["PATH_INFO"]}):
        with tracer.start_as_current_span("inside", attributes={"path": environ["PATH_INFO"]}):
            body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
