# SPDX-License-Identifier: Apache-2.0
"""http.server with ForkingMixIn: a connection is accepted in the master and read in a child made for it, which leaves
by os._exit."""
import http.server
import signal
import socketserver
import sys

from app import application


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))

        class Body:
            left = length

            def read(self, size):
                piece = handler.rfile.read(min(size, self.left))
                self.left -= len(piece)
                return piece

        handler = self
        said = []
        body = application({"PATH_INFO": self.path.split("?")[0], "wsgi.input": Body(), "REQUEST_METHOD": self.command},
                           lambda status, headers: said.extend((status, headers)))
        self.send_response(int(said[0].split()[0]))
        for name, value in said[1]:
            self.send_header(name, value)
        sized = any(name == "Content-Length" for name, _ in said[1])
        if not sized and not said[0].startswith(("204", "304")):
            self.send_header("Connection", "close")
        self.end_headers()
        for piece in body:
            self.wfile.write(piece)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *arguments):
        pass


class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
    max_children = 64
    request_queue_size = 128


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
