# SPDX-License-Identifier: Apache-2.0
"""The application under test: plain WSGI, so that the server and nothing else speaks HTTP.

/STATUS/KIND/ANYTHING: STATUS is answered; KIND is fixed (content-length), chunked (no length) or empty.
The body of the request is read to its end and its length and sum come back; X-Pid names the worker, X-Began is
the clock at the call. KIND hang is never
answered. With TEST_HEAD_BODY set a HEAD is answered with a body, for servers that do not take it away.
"""
import os
import time
import zlib

REASONS = {200: "OK", 201: "Created", 204: "No Content", 302: "Found", 304: "Not Modified", 404: "Not Found",
           500: "Internal Server Error", 503: "Service Unavailable"}


def application(environ, start_response):
    began = time.time_ns()
    parts = environ["PATH_INFO"].split("/")
    code = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() and int(parts[1]) in REASONS else 404
    kind = parts[2] if len(parts) > 2 else "fixed"
    if kind == "hang":
        while True:
            time.sleep(60)
    length = total = 0
    while True:
        piece = environ["wsgi.input"].read(65536)
        if not piece:
            break
        length += len(piece)
        total = zlib.crc32(piece, total)
    headers = [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid())), ("X-Began", str(began)),
               ("X-Body", f"{length} {total}")]
    body = [b"path ", environ["PATH_INFO"].encode("latin-1"), b"\n"]
    if kind == "empty" or code in (204, 304):
        body = []
    if kind != "chunked" and code not in (204, 304):
        headers.append(("Content-Length", str(sum(map(len, body)))))
    start_response(f"{code} {REASONS[code]}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" and "TEST_HEAD_BODY" not in os.environ else body
