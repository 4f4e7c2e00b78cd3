# SPDX-License-Identifier: Apache-2.0
"""Answers with the traceparent that the application sees."""


def application(environ, start_response):
    body = f"{environ.get('HTTP_TRACEPARENT')}\n".encode("latin-1")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
