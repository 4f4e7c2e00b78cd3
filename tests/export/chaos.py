# SPDX-License-Identifier: Apache-2.0
"""Servers under load while the collector is at fault, as TAP.

chaos.py --build DIRECTORY [--seconds N]

Runs in network and mount namespaces of its own, where it may: nothing leaves the machine, the name server is ours, and a
file system may be full. gunicorn and nginx serve at once; each fault lasts for N seconds. Then a program that counts says
what became of each span.
"""
import argparse
import atexit
import contextlib
import gzip
import os
import pathlib
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))

from harness import Gunicorn, Tap, answers, clean_environment, fetch, free_port, until  # noqa: E402
from receivers import Certificates, Http  # noqa: E402

tap = Tap()
BOMB = gzip.compress(b"\0" * (100 << 20))


class Chameleon:
    """A receiver whose fault can be changed while connections are open; None is none."""

    FAULTS = ("absent", "refusing", "silent", "slow", "reset", "handshake", "retry-later", "429", "400", "bomb", "garbage")

    def __init__(self, tls=None):
        self.fault, self.tls, self.bodies, self.open, self.server = None, tls, [], set(), None
        self.port = free_port()
        self.listen()

    def listen(self):
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", self.port))
        self.server.listen(128)
        threading.Thread(target=self.accept, args=(self.server,), daemon=True).start()

    def become(self, fault):
        self.fault = fault
        if fault in ("absent", "refusing"):
            server, self.server = self.server, None
            if server:
                server.shutdown(socket.SHUT_RDWR)
                server.close()
            if fault == "refusing":  # the port is taken, nobody listens on it
                self.holder = socket.socket()
                self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.holder.bind(("127.0.0.1", self.port))
        elif self.server is None:
            if getattr(self, "holder", None):
                self.holder.close()
                self.holder = None
            self.listen()
        for peer in list(self.open):  # what was open belongs to the time before
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self, server):
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        self.open.add(peer)
        raw = peer
        try:
            if self.fault == "handshake":
                peer.recv(1)
                peer.sendall(b"\x16\x03\x03\x00\x7a\x02")  # the beginning of a ServerHello
                threading.Event().wait(120)
            if self.tls:
                peer = self.tls.wrap_socket(peer, server_side=True)
                self.open.add(peer)
            stream = peer.makefile("rb")
            while stream.readline():
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                body = stream.read(length)
                if len(body) < length or not self.answer(peer, raw, body):
                    return
        except (OSError, ValueError):
            pass
        finally:
            self.open.discard(peer)
            self.open.discard(raw)
            peer.close()

    def answer(self, peer, raw, body):
        fault = self.fault
        if fault == "silent":
            threading.Event().wait(120)
        if fault == "slow":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
                peer.sendall(bytes([byte]))
                time.sleep(1)
            return False
        if fault == "reset":
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault == "garbage":
            peer.sendall(os.urandom(400))
            return False
        head = {"retry-later": "503 X\r\nRetry-After: 3600", "429": "429 X", "400": "400 X", "bomb": "200 OK\r\nContent-Encoding: gzip"}.get(fault)
        out = BOMB if fault == "bomb" else b""
        if fault is None:
            self.bodies.append(body)
            head = "200 OK"
        peer.sendall(f"HTTP/1.1 {head}\r\nContent-Length: {len(out)}\r\n\r\n".encode() + out)
        return True

    @property
    def endpoint(self):
        return f"http{'s' if self.tls else ''}://localhost:{self.port}"


class Load:
    """Clients that ask without a pause and look at each answer."""

    def __init__(self, port, path, wanted, clients=3):
        self.port, self.path, self.wanted = port, path, wanted
        self.done, self.bad, self.stop = 0, [], threading.Event()
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        while not self.stop.is_set():
            try:
                answer = fetch(self.port, self.path, timeout=20)
                if answer.status != 200 or self.wanted not in answer.body:
                    self.bad.append(f"{answer.status} {answer.body[:80]}")
                self.done += 1
                time.sleep(0.002)
            except OSError as error:
                self.bad.append(repr(error))

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


class Nginx:
    def __init__(self, folder, endpoint, env):
        self.port = free_port()
        os.makedirs(os.path.join(folder, "www"), exist_ok=True)
        pathlib.Path(folder, "www/index.html").write_text("nginx was here")
        os.chmod(folder, 0o755)
        config = os.path.join(folder, "nginx.conf")
        pathlib.Path(config).write_text(f"""
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
 scgi_temp_path {folder}/s; server {{ listen 127.0.0.1:{self.port}; root {folder}/www; }} }}
""")
        more = {"LD_PRELOAD": PRELOAD, "OTEL_SERVICE_NAME": "nginx", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **env} if endpoint else {}
        self.process = subprocess.Popen(["nginx", "-e", f"{folder}/nginx.log", "-c", config], env=clean_environment(**more),
                                        stdout=open(os.path.join(folder, "nginx.out"), "wb"), stderr=subprocess.STDOUT)
        self.master = self.process.pid
        until(lambda: self.process.poll() is not None or answers(self.port), "nginx listens")

    def workers(self):
        return [int(p) for p in pathlib.Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()]

    def stop(self):
        began = time.monotonic()
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None
        return time.monotonic() - began


def leave_nothing():
    """Also when a test goes wrong in its middle."""
    for server in started:
        for pid in [*server.workers(), server.master] if server.process.poll() is None else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


started = []
atexit.register(leave_nothing)


def memory(pids):
    most = 0
    for pid in pids:
        try:
            most = max(most, int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]))
        except (OSError, TypeError):
            pass
    return most


def reload(server):
    """How long until there are other workers."""
    before = set(server.workers())
    began = time.monotonic()
    os.kill(server.master, signal.SIGHUP)
    until(lambda: not before & set(server.workers()) and len(server.workers()) >= 2, "a reload", 60)
    return time.monotonic() - began


class Pair:
    """gunicorn and nginx, each under load."""

    def __init__(self, folder, endpoint, env=None):
        env = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_EXPORTER_OTLP_TIMEOUT": "1000", **(env or {})}
        self.servers = {"gunicorn": Gunicorn(folder, ["--workers", "2"], FORKSPAN if endpoint else None, endpoint, "chaos", env),
                        "nginx": Nginx(folder, endpoint, env)}
        started.extend(self.servers.values())
        self.loads = {"gunicorn": Load(self.servers["gunicorn"].port, "/200/fixed/chaos", b"path /200/fixed/chaos"),
                      "nginx": Load(self.servers["nginx"].port, "/index.html", b"nginx was here")}

    def check(self, what, seconds, most_kib):
        before = {name: load.done for name, load in self.loads.items()}
        time.sleep(seconds)
        for name, load in self.loads.items():
            used = memory(self.servers[name].workers())
            tap.check(not load.bad and load.done > before[name] and used < most_kib, f"chaos: {name}, {what}: no request fails, memory stays bounded",
                      f"{load.done - before[name]} requests, {used} KiB, {load.bad[:3]}")
            load.bad.clear()

    def end(self):
        """How long each took to stop."""
        for load in self.loads.values():
            load.end()
        return {name: server.stop() for name, server in self.servers.items()}


def stops(pair, control, what):
    for name, took in pair.end().items():
        tap.check(took is not None and took <= control[name] + FLUSH + SLACK, f"chaos: {name}, {what}: a stop takes no longer than without it and the flush",
                  f"{took} s, {control[name]:.2f} s without")


FLUSH = 1.0   # FORKSPAN_EXIT_FLUSH
SLACK = 1.5   # another machine load than the control's: seconds


@contextlib.contextmanager
def dead_name_server():
    """An endpoint whose name is asked of somebody who never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 53))
        yield "http://collector.test:4318"


def full_disk(folder):
    """What makes servers write their spans to a file that soon finds no room."""
    os.makedirs(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=777", "none", folder], check=True)
    return {"OTEL_TRACES_EXPORTER": "otlp/stdout", "FORKSPAN_FILE": os.path.join(folder, "spans.jsonl")}


def servers(folder, certificates, seconds):
    pair = Pair(folder, None)
    time.sleep(0.5)
    plain = {name: memory(server.workers()) for name, server in pair.servers.items()}
    control_reload = {name: reload(server) for name, server in pair.servers.items()}
    control = pair.end()
    most = max(plain.values()) + 40 * 1024
    receiver = Chameleon()
    pair = Pair(folder, receiver.endpoint)
    for fault in Chameleon.FAULTS:
        if fault == "handshake":
            continue
        receiver.become(fault)
        pair.check(fault, seconds, most)
        if fault == "silent":
            for name, server in pair.servers.items():
                took = reload(server)
                tap.check(took <= control_reload[name] + FLUSH + SLACK and not pair.loads[name].bad, f"chaos: {name}, a reload while the collector is silent",
                          f"{took:.2f} s, {control_reload[name]:.2f} s without; {pair.loads[name].bad[:3]}")
    receiver.become(None)
    time.sleep(1.2)
    before = len(receiver.bodies)
    pair.check("collector well again", 2, most)
    services = {body[body.index(b"service.name") + 16:][:8] for body in receiver.bodies[before:]}
    tap.check(len(receiver.bodies) > before and len(services) == 2, "chaos: export resumes by itself, from both", services)
    receiver.become("silent")
    time.sleep(0.5)
    stops(pair, control, "collector silent")

    receiver = Chameleon(tls=certificates.server())
    receiver.become("handshake")
    pair = Pair(folder, receiver.endpoint, {"OTEL_EXPORTER_OTLP_CERTIFICATE": certificates.path("ca.pem")})
    pair.check("half a TLS handshake", seconds, most)
    receiver.tls = certificates.server("expired")
    receiver.become(None)
    pair.check("certificate expired", seconds, most)
    tap.check(not receiver.bodies, "chaos: nothing is sent to who has an expired certificate")
    receiver.tls = certificates.server()
    receiver.become(None)
    pair.check("certificate renewed", 3, most)
    tap.check(receiver.bodies, "chaos: export resumes with a good certificate")
    stops(pair, control, "TLS")

    if options.inside:
        with dead_name_server() as endpoint:
            pair = Pair(folder, endpoint)
            pair.check("the name server is dead", seconds, most)
            stops(pair, control, "the name server is dead")
        env = full_disk(os.path.join(options.inside, "small"))
        file = env["FORKSPAN_FILE"]
        pair = Pair(folder, "http://unused.test", {**env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50"})
        pair.check("disk full for the file", seconds, most)
        lines = pathlib.Path(file).read_bytes()
        tap.check(len(lines) > 1000 and all(line.endswith(b"]}") for line in lines.split(b"\n")[:-1]) and lines.endswith(b"\n"),
                  "chaos: a file on a full disk has whole lines only", lines[-300:])
        stops(pair, control, "disk full for the file")
    else:
        tap.skip("chaos: the name server is dead; disk full for the file", "needs root and namespaces")


def p99(port, path):
    """Milliseconds, by wrk."""
    out = subprocess.run(["wrk", "-t1", "-c1", "-d2s", "--latency", f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


class Tails:
    """The 99th percentile of servers under a fault against two of each without the preload, interleaved."""

    PATHS = {"gunicorn": "/200/fixed/x", "nginx": "/index.html"}

    def __init__(self, folder):
        self.folder = folder
        self.without = {name: (self.start(name), self.start(name)) for name in self.PATHS}

    def start(self, name, endpoint=None, env=None):
        folder = tempfile.mkdtemp(dir=self.folder)
        if name == "nginx":
            server = Nginx(folder, endpoint, env or {})
        else:
            server = Gunicorn(folder, ["--workers", "2"], FORKSPAN if endpoint else None, endpoint, "chaos", env or {})
        started.append(server)
        return server

    def traced(self, endpoint, **env):
        return {name: self.start(name, endpoint, env) for name in self.PATHS}

    def compare(self, traced, what):
        for name, path in self.PATHS.items():
            rounds = [[p99(server.port, path) for server in (*self.without[name], traced[name])] for _ in range(9)]
            control = [second / first for first, second, _ in rounds]
            half = (max(control) - min(control)) / 2
            ratio = statistics.median(third / first for first, _, third in rounds)
            tap.check(ratio <= 1.05 + half, f"chaos: {name}, {what}: the 99th percentile of latency",
                      f"{ratio:.3f} of that without; the control's half-range is {half:.3f}")
            print(f"# {name}, {what}: p99 {ratio:.3f} of that without, control's half-range {half:.3f}", flush=True)

    @staticmethod
    def stop(servers):
        for server in servers:
            server.stop()


def latency(folder, certificates):
    tails = Tails(folder)
    receiver = Chameleon()
    traced = tails.traced(receiver.endpoint)
    for fault in Chameleon.FAULTS:
        if fault == "handshake":
            continue
        receiver.become(fault)
        tails.compare(traced, fault)
    tails.stop(traced.values())

    receiver = Chameleon(tls=certificates.server())
    receiver.become("handshake")
    traced = tails.traced(receiver.endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE=certificates.path("ca.pem"))
    tails.compare(traced, "half a TLS handshake")
    receiver.tls = certificates.server("expired")
    receiver.become(None)
    tails.compare(traced, "certificate expired")
    tails.stop(traced.values())

    if options.inside:
        with dead_name_server() as endpoint:
            traced = tails.traced(endpoint)
            tails.compare(traced, "the name server is dead")
            tails.stop(traced.values())
        traced = tails.traced("http://unused.test", **full_disk(os.path.join(options.inside, "tails")))
        tails.compare(traced, "disk full for the file")
        tails.stop(traced.values())
    for servers in tails.without.values():
        tails.stop(servers)


class Counter:
    def __init__(self, **env):
        env = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "800", "OTEL_BSP_MAX_QUEUE_SIZE": "2048", **env}
        self.process = subprocess.Popen([os.path.join(options.build, "tests/export/export_counts")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=clean_environment(OTEL_SERVICE_NAME="counts", **env), text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        return dict(zip(words[1::2], map(int, words[2::2]))) if words[0] == "counts" else int(words[1])

    def settled(self):
        """The counts when every span has met its end."""
        def look():
            counts = self.ask("counts")
            return counts if counts["exported"] + counts["dropped"] + counts["failed"] == counts["started"] else None
        return until(look, "every span is counted", 60)


def spans_in(body):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    return sum(len(ss.spans) for rs in ExportTraceServiceRequest.FromString(body).resource_spans for ss in rs.scope_spans)


def counts():
    receiver = Chameleon()
    counter = Counter(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    counter.ask("make 1000")
    before = counter.settled()
    sizes = [spans_in(body) for body in receiver.bodies]
    tap.check(sum(sizes) == 1000 and max(sizes) <= 512, "counts: no batch is larger than the limit", sizes)
    tap.check(before["exported"] == 1000 and not before["failed"] and not before["dropped"], "counts: what is delivered is exported", before)
    for fault in Chameleon.FAULTS:
        if fault == "handshake":
            continue
        receiver.become(fault)
        counter.ask("make 600")
        after = counter.settled()
        lost = after["failed"] - before["failed"]
        tap.check(lost == 600 and after["dropped"] == before["dropped"] and after["exported"] == before["exported"], f"counts: {fault}: all of it has failed",
                  f"{before}\n{after}")
        before = after
    receiver.become("silent")
    after = counter.ask("make 30000")
    receiver.become(None)
    done = counter.settled()
    tap.check(done["dropped"] > before["dropped"] and done["started"] == before["started"] + 30000, "counts: what the queue has no room for is dropped", done)
    tap.check(after["rss"] < before["rss"] + 8192, "counts: a queue that is full takes no more memory", f"{before} {after}")
    receiver.become(None)
    before = done
    counter.ask("make 500")
    after = counter.settled()
    tap.check(after["exported"] == before["exported"] + 500, "counts: and then spans are exported again", after)
    counter.process.stdin.close()
    counter.process.wait(20)


def flush():
    """A flush whose time is over has failed; the spans have not."""
    receiver = Chameleon()
    receiver.become("refusing")
    counter = Counter(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="10000", OTEL_BSP_SCHEDULE_DELAY="60000")
    counter.ask("make 10")
    flushed, after = counter.ask("flush 300"), counter.ask("counts")
    tap.check(not flushed and not after["failed"] and not after["dropped"], "flush: of no receiver, in less time than a second attempt waits: nothing is lost", after)
    receiver.become(None)
    flushed, after = counter.ask("flush 8000"), counter.ask("counts")
    tap.check(flushed and after["exported"] == 10, "flush: and is sent by the next one", after)
    counter.process.stdin.close()
    counter.process.wait(20)


def main():
    certificates = Certificates()
    with tempfile.TemporaryDirectory(prefix="forkspan-chaos-") as folder:
        servers(folder, certificates, options.seconds)
        if options.latency:
            latency(folder, certificates)
    counts()
    flush()
    tap.end()


parser = argparse.ArgumentParser()
parser.add_argument("--build", required=True)
parser.add_argument("--seconds", type=float, default=3)
parser.add_argument("--latency", action="store_true", help="the 99th percentile, too: half an hour")
parser.add_argument("--inside")
options = parser.parse_args()
options.build = os.path.abspath(options.build)
PRELOAD, FORKSPAN = os.path.join(options.build, "shim/libforkspan.so"), os.path.join(options.build, "cli/forkspan")
if options.inside:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolv = os.path.join(options.inside, "resolv.conf")
    pathlib.Path(resolv).write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
elif os.geteuid() == 0 and subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True).returncode == 0:
    with tempfile.TemporaryDirectory(prefix="forkspan-chaos-") as inside:
        sys.exit(subprocess.run(["unshare", "-n", "-m", sys.executable, __file__, *sys.argv[1:], "--inside", inside]).returncode)
main()
