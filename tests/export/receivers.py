# SPDX-License-Identifier: Apache-2.0
"""Receivers that answer as they are told: OTLP over HTTP, and gRPC by the frames (the h2 package), also with TLS.

A receiver calls answer(request) for each one; requests are kept. Each connection is a thread of its own.
"""
import gzip
import os
import socket
import ssl
import subprocess
import tempfile
import threading


class Request:
    def __init__(self, connection, path, headers, raw):
        self.connection, self.path, self.headers, self.raw = connection, path, headers, raw

    @property
    def body(self):
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw


class Receiver:
    """`answer` makes an answer of a request; what that is, is the subclass's. None: the connection is cut."""

    def __init__(self, answer=None, tls=None, address=("127.0.0.1", 0)):
        self.requests = []
        self.answer = answer or self.fine
        self.connections = 0
        self.failed_handshakes = 0
        self.lock = threading.Lock()
        self.open = set()
        if isinstance(address, str):
            self.server = socket.socket(socket.AF_UNIX)
            self.server.bind(address)
        else:
            self.server = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.server.bind(address)
            self.port = self.server.getsockname()[1]
        self.server.listen(64)
        self.tls = tls
        self.scheme = "https" if tls else "http"
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def endpoint(self):
        return f"{self.scheme}://localhost:{self.port}"

    def accept(self):
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                number = self.connections
            threading.Thread(target=self.serve, args=(peer, number), daemon=True).start()

    def serve(self, peer, number):
        try:
            if self.tls:
                try:
                    peer = self.tls.wrap_socket(peer, server_side=True)
                except (ssl.SSLError, OSError):
                    self.failed_handshakes += 1
                    return
            with self.lock:
                self.open.add(peer)
            self.talk(peer, number)
        except (OSError, ValueError, IndexError):
            pass
        finally:
            with self.lock:
                self.open.discard(peer)
            peer.close()

    def take(self, request):
        with self.lock:
            self.requests.append(request)
        return self.answer(request)

    def stop(self):
        try:
            self.server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.server.close()
        with self.lock:
            for peer in self.open:
                try:
                    peer.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Http(Receiver):
    """An answer: (status, {header: value}, body)."""

    @staticmethod
    def fine(_request):
        return 200, {"Content-Type": "application/x-protobuf"}, b""

    def talk(self, peer, number):
        stream = peer.makefile("rb")
        while True:
            line = stream.readline()
            if not line:
                return
            path = line.split()[1].decode()
            headers = {}
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", 0))
            body = stream.read(length)
            if len(body) < length:
                return  # cut off: no request
            answer = self.take(Request(number, path, headers, body))
            if answer is None:
                return
            status, more, out = answer
            head = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            peer.sendall(f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(out)}\r\n\r\n".encode() + out)


class Grpc(Receiver):
    """An answer: (headers, messages, trailers or None), each a list; without trailers the headers end it."""

    OK = ([(":status", "200"), ("content-type", "application/grpc")], [b""], [("grpc-status", "0")])

    @classmethod
    def fine(cls, _request):
        return cls.OK

    @staticmethod
    def only(*trailers, status="200"):
        return [(":status", status), ("content-type", "application/grpc"), *trailers], [], None

    def talk(self, peer, number):
        import h2.config
        import h2.connection
        import h2.events
        if self.tls and peer.selected_alpn_protocol() != "h2":
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        peer.sendall(connection.data_to_send())
        streams = {}
        while data := peer.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    streams[event.stream_id] = (dict(event.headers), bytearray())
                elif isinstance(event, h2.events.DataReceived):
                    streams[event.stream_id][1].extend(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    headers, body = streams.pop(event.stream_id)
                    answer = self.take(Request(number, headers[":path"], headers, bytes(body)))
                    if answer is None:
                        return
                    head, messages, trailers = answer
                    connection.send_headers(event.stream_id, head, end_stream=trailers is None)
                    for message in messages:
                        frame = b"\0" + len(message).to_bytes(4, "big") + message
                        while frame:
                            room = min(connection.local_flow_control_window(event.stream_id), 16384, len(frame))
                            if room:
                                connection.send_data(event.stream_id, frame[:room])
                                frame = frame[room:]
                            peer.sendall(connection.data_to_send())
                            if not room:
                                connection.receive_data(peer.recv(65536))
                    if trailers is not None:
                        connection.send_headers(event.stream_id, trailers, end_stream=True)
            peer.sendall(connection.data_to_send())


def message_of(request):
    """The message of a unary call's body, decompressed."""
    flag, length = request.raw[0], int.from_bytes(request.raw[1:5], "big")
    if length != len(request.raw) - 5:
        raise ValueError(f"frame of {length} bytes in {len(request.raw)}")
    return gzip.decompress(request.raw[5:]) if flag else request.raw[5:]


class Certificates:
    """An authority, a server's certificate for localhost, a client's, an expired one, another authority's."""

    def __init__(self):
        self.holder = tempfile.TemporaryDirectory(prefix="forkspan-certificates-")
        self.folder = self.holder.name
        for authority in ("ca", "other-ca"):
            self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
                         "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        self.leaf("server", "subjectAltName=DNS:localhost,DNS:collector.test,IP:127.0.0.1")
        self.leaf("wrong-name", "subjectAltName=DNS:elsewhere.test")
        self.leaf("client", "extendedKeyUsage=clientAuth")
        self.leaf("expired", "subjectAltName=DNS:localhost", days=("-not_before", "20200101000000Z", "-not_after", "20200102000000Z"))

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def leaf(self, name, extension, days=("-days", "2")):
        with open(self.path(f"{name}.ext"), "w", encoding="ascii") as out:
            out.write(extension + "\n")
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        if days[0] == "-days":
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                         *days, "-extfile", f"{name}.ext", "-out", f"{name}.pem")
            return
        # x509 of OpenSSL 3.0 takes no dates: the authority's own command does
        for file, text in (("index.txt", ""), ("serial", "7001\n"), ("ca.cnf", (
                "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\ndefault_md=sha256\npolicy=p\n"
                "[p]\ncommonName=supplied\n"))):
            with open(self.path(file), "w", encoding="ascii") as out:
                out.write(text)
        self.openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", f"{name}.csr", "-out",
                     f"{name}.pem", "-notext", "-startdate", days[1], "-enddate", days[3], "-extfile", f"{name}.ext")

    def path(self, name):
        return os.path.join(self.folder, name)

    def server(self, name="server", client=False, alpn=(), most=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path("ca.pem"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if most:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = most
            context.set_ciphers("ALL:@SECLEVEL=0")
        return context
