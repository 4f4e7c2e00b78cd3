# SPDX-License-Identifier: Apache-2.0
"""Receivers that keep a batch thread where a test wants it until the file `release` is there; `arrived` says that it is."""
import ctypes
import http.server
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

from receiver import all_of, fields
import gzip

SO_ATTACH_FILTER = 26


def make_certificate(folder):
    """A certificate for 127.0.0.1 and its key, signed by itself."""
    key, certificate = os.path.join(folder, "key.pem"), os.path.join(folder, "certificate.pem")
    if not os.path.exists(certificate):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "2", "-subj", "/CN=matrix", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
                        certificate], check=True, capture_output=True)
    return certificate, key


class Span:
    def __init__(self, name, span_id, trace_id, pid, path):
        self.name, self.span_id, self.trace_id, self.pid, self.path = name, span_id, trace_id, pid, path


def _attributes(message, number):
    found = {}
    for attribute in all_of(message, number):
        part = dict(fields(attribute))
        value = dict(fields(part.get(2, b"")))
        found[part[1].decode()] = value.get(1, b"").decode("utf-8", "replace") if 1 in value else value.get(3)
    return found


def read_spans(body):
    found = []
    for resource_spans in all_of(body, 1):
        resource = (all_of(resource_spans, 1) or [b""])[0]
        pid = _attributes(resource, 1).get("process.pid")
        for scope_spans in all_of(resource_spans, 2):
            for span in all_of(scope_spans, 2):
                part = {n: v for n, v in fields(span) if n in (1, 2, 5)}
                name = part[5].decode()
                of_http = _attributes(span, 9) if name == "GET" else {}
                path = of_http.get("url.path")
                found.append(Span(f"GET {path} {of_http.get('http.response.status_code')}" if path else name, part[2].hex(), part[1].hex(), pid, path))
    return found


def queued(listening):
    """Connections that are waiting to be accepted: tcpi_unacked of a listening socket."""
    return struct.unpack_from("I", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64), 24)[0]


class Refused:
    """A connection to a port of this machine that nobody listens at was refused. For root, who sees the packet itself;
    for others any reset that the machine has sent, be it somebody else's."""

    def __init__(self, port):
        self.raw = None
        if os.geteuid() == 0:
            self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
            # the source port, behind an IP header of 20 bytes; everything that port sends is a reset
            steps = ((0x28, 0, 0, 20), (0x15, 0, 1, port), (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0))
            program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
            self.raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(steps), ctypes.addressof(program)))
            self.raw.settimeout(0.05)
        else:
            self.before = self.sent()

    @staticmethod
    def sent():
        lines = open("/proc/net/snmp").read().splitlines()
        names, values = [line.split()[1:] for line in lines if line.startswith("Tcp:")]
        return int(dict(zip(names, values))["OutRsts"])

    def seen(self):
        if not self.raw:
            return self.sent() != self.before
        try:
            return bool(self.raw.recv(64))
        except TimeoutError:
            return False

    def wait(self, stopped):
        while not stopped.is_set() and not self.seen():
            stopped.wait(0 if self.raw else 0.005)
        if self.raw:
            self.raw.close()


class StallingReceiver:
    def __init__(self, mode, folder, certificate=None):
        self.mode, self.folder = mode, folder
        self.bodies, self.lock = [], threading.Lock()
        self.stalled = False
        self.stopped = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                stall = mode in ("poll", "midresponse") and outer.first(b"p.stalled", body)
                if stall and mode == "poll":
                    outer.hold()
                outer.take(body)  # before the answer: who has it may end, and then they are counted
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                answer = b"\x0a\x00"
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if stall and mode == "midresponse":
                    self.wfile.write(answer[:1])
                    self.wfile.flush()
                    outer.hold()
                    answer = answer[1:]
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                pass  # a client that was killed: nothing is wrong with that here

            def finish_request(self, request, client_address):
                if outer.mode == "tls":
                    if not outer.stalled:
                        request.recv(1, socket.MSG_PEEK)  # the ClientHello is there
                        outer.stalled = True
                        outer.hold()
                    request = outer.tls.wrap_socket(request, server_side=True)
                super().finish_request(request, client_address)

        self.server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server.server_bind()
        self.port = self.server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.threads = []
        if mode == "tls":
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
            self.endpoint = f"https://127.0.0.1:{self.port}"
        if mode == "dead":
            self.refused = Refused(self.port)
            self.start(self._dead)
        elif mode == "connecting":
            self._fill_backlog()
            self.start(self._full_backlog)
        else:
            self.server.server_activate()
            self.serve()
        if mode == "dns":
            self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.dns_address = f"127.{os.getpid() >> 16 & 255}.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
            self.dns.bind((self.dns_address, 53))
            self.endpoint = f"http://collector.matrix.test:{self.port}"
            self.start(self._dns)

    def start(self, target):
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        self.threads.append(thread)

    def serve(self):
        self.start(lambda: self.server.serve_forever(0.05))

    def first(self, name, body):
        """Is this the batch to stall at?"""
        with self.lock:
            if self.stalled or name not in body:
                return False
            self.stalled = True
            return True

    def path(self, name):
        return os.path.join(self.folder, name)

    def arrived(self):
        open(self.path("arrived"), "w").close()

    def wait_release(self):
        while not os.path.exists(self.path("release")) and not self.stopped.wait(0.01):
            pass

    def hold(self):
        self.arrived()
        self.wait_release()

    def take(self, body):
        with self.lock:
            self.bodies.append(body)
        if b"p.during-0" in body:
            open(self.path("during"), "w").close()

    def _dead(self):
        """Bound and not listening: every connection is refused."""
        self.refused.wait(self.stopped)
        self.hold()
        self.server.server_activate()
        self.serve()

    def _fill_backlog(self):
        """From now on a connection stays in SYN_SENT: the queue has room for one, and one is there."""
        self.server.socket.listen(0)
        self.filler = socket.create_connection(("127.0.0.1", self.port), 5)
        until = time.monotonic() + 5
        while not queued(self.server.socket):  # it is connected on its own side before it is in the queue
            if time.monotonic() > until:
                raise RuntimeError("the queue of connections stays empty")
            time.sleep(0.001)

    def _full_backlog(self):
        wanted = f"0100007F:{self.port:04X} 02 "
        while not self.stopped.wait(0.005):
            lines = [line.split() for line in open("/proc/net/tcp")]
            if any(line[2] + " " + line[3] + " " == wanted for line in lines[1:]):
                break
        self.hold()
        self.filler.close()
        self.server.socket.listen(256)
        self.serve()

    def _dns(self):
        while not self.stopped.is_set():
            query, who = self.dns.recvfrom(512)
            if not query:
                continue  # stop()
            if not self.stalled:
                self.stalled = True
                self.hold()
            name_end = query.index(b"\0", 12) + 1
            kind = struct.unpack(">H", query[name_end:name_end + 2])[0]
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton("127.0.0.1") if kind == 1 else b""
            self.dns.sendto(query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1 if answer else 0, 0, 0) + query[12:name_end + 4] + answer,
                            who)

    def spans(self):
        with self.lock:
            return [span for body in self.bodies for span in read_spans(body)]

    def stop(self):
        self.stopped.set()
        if self.mode == "dns":  # the next receiver of this process has the same address
            self.dns.sendto(b"", (self.dns_address, 53))
            self.threads[-1].join(5)
            self.dns.close()
        if self.mode not in ("dead", "connecting") or os.path.exists(self.path("release")):
            try:
                self.server.server_close()
            except OSError:
                pass
