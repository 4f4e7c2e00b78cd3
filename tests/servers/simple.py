# SPDX-License-Identifier: Apache-2.0
"""http.server, one process and one thread: answers with the path it was asked for; /echo with the traceparent it saw."""
import http.server
import signal
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(length)) if length.isdigit() else b""
        text = f"path {self.path} body {len(body)}\n"
        if self.path == "/echo":
            text = f"{self.headers.get('traceparent')}\n"
        text = text.encode("latin-1", "replace")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *arguments):
        pass


signal.signal(signal.SIGTERM, lambda *arguments: sys.exit(0))
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
