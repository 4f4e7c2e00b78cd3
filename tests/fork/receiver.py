# SPDX-License-Identifier: Apache-2.0
"""A receiver of OTLP/HTTP protobuf that keeps span names and ids; standard library only."""
import gzip
import http.server
import threading


def fields(data):
    """(number, value) of each field of an encoded message."""
    i = 0

    def varint():
        nonlocal i
        value = shift = 0
        while True:
            byte = data[i]
            i += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while i < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 1:
            yield key >> 3, data[i:i + 8]
            i += 8
        elif kind == 2:
            n = varint()
            if i + n > len(data):
                raise ValueError("a field runs out of its message")
            yield key >> 3, data[i:i + n]
            i += n
        elif kind == 5:
            yield key >> 3, data[i:i + 4]
            i += 4
        else:
            raise ValueError(f"wire type {kind}")


def all_of(data, number):
    return [value for n, value in fields(data) if n == number]


class Receiver:
    """Listens on a free port from the start; spans is a list of (name, span id, trace id)."""

    def __init__(self):
        self.spans = []
        self.batches = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.take(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body):
        found = []
        for resource_spans in all_of(body, 1):
            for scope_spans in all_of(resource_spans, 2):
                for span in all_of(scope_spans, 2):
                    part = dict(fields(span))
                    found.append((part[5].decode(), part[2].hex(), part[1].hex()))
        with self.lock:
            self.batches += 1
            self.spans += found
