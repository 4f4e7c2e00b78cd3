# SPDX-License-Identifier: Apache-2.0
"""CPU time a request of real servers, with and without the preload.

All variants run at once and get their load one after the other in random order, round for round, so that what the
machine does meanwhile falls on all of them. A request's CPU is that of all threads of all processes of the server from
one turn to the next, exporting included, divided by the requests answered in that turn.

Two kinds of load. "closed": wrk asks again as soon as it is answered. On a machine that client and server share this
overstates what a slower server costs: it leaves the client more pauses to fall asleep in, and waking it is the server's
CPU. "paced": as many requests a second to each variant, half of what the first answers at most (load.c).
"""
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
WORKERS = {"gunicorn": 4, "nginx": 2}
CONNECTIONS = 8
VARIANTS = ("none", "none2", "preload")

NGINX = """
daemon off; worker_processes {workers}; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000; default_type text/plain;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {folder}/root; }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, kind, variant, folder, preload, endpoint, env=None, app="app:application"):
        """`env`: in place of what the variant says."""
        more = env or {}
        self.variant = variant
        self.port = free_port()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_")) and k != "LD_PRELOAD"}
        env.update(more)
        if variant == "preload":
            env.update(LD_PRELOAD=preload, OTEL_SERVICE_NAME="bench", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        if kind == "gunicorn":
            command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--workers", str(WORKERS[kind]),
                       "--preload", "--chdir", str(HERE), app]
            self.path = "/"
        else:
            root = pathlib.Path(folder, "root")
            root.mkdir(parents=True)
            (root / "file.txt").write_bytes(b"x" * 1024)
            conf = pathlib.Path(folder, "nginx.conf")
            conf.write_text(NGINX.format(workers=WORKERS[kind], folder=folder, port=self.port))
            command = ["nginx", "-p", str(folder), "-c", str(conf)]
            self.path = "/file.txt"
        self.log = open(os.path.join(folder, "log"), "wb")
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"{kind} does not start: {pathlib.Path(folder, 'log').read_text()[-1000:]}") from None
                time.sleep(0.02)

    def cpu(self):
        """Nanoseconds on a CPU of all threads of the process and its children."""
        total, pids = 0, [self.process.pid]
        for pid in pids:
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
                pids += map(int, (task / "children").read_text().split())
        return total

    def wrk(self, seconds, connections, *options):
        out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *options, f"http://127.0.0.1:{self.port}{self.path}"],
                             capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in out:
            raise RuntimeError(f"errors: {out}")
        return out

    def load(self, seconds, connections):
        """Requests answered."""
        return int(re.search(r"(\d+) requests in", self.wrk(seconds, connections))[1])

    def paced(self, program, rate, seconds):
        """Requests answered of `rate` a second."""
        command = [program, str(self.port), self.path, str(CONNECTIONS), str(rate), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{self.variant}: {done.stderr}")
        answered = int(done.stdout)
        if answered < 0.95 * rate * seconds:
            raise RuntimeError(f"{self.variant} answers {answered} of {rate * seconds} requests: the machine does something else")
        return answered

    def tail(self, seconds, connections):
        """The 99th percentile of the latency, in microseconds."""
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", self.wrk(seconds, connections, "--latency")).groups()
        return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()


def middle(values):
    """Median, half the range, quartiles."""
    low, mid, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": mid, "half_range": (max(values) - min(values)) / 2, "low": low, "high": high}


def measure(kind, pacer, folder, preload, sink, rounds, seconds, rng):
    """What is known of each variant: microseconds of CPU a request, and its ratio to "none" round by round. `pacer`: the
    program of a paced load; None: closed."""
    servers, took, sent, spans, rate = [], {v: [] for v in VARIANTS}, 0, 0, None
    try:
        for variant in VARIANTS:
            own = pathlib.Path(folder, f"{kind}-{variant}")
            own.mkdir()
            os.chmod(own, 0o755)
            servers.append(Server(kind, variant, str(own), preload, sink.endpoint))
        most = [server.load(1, CONNECTIONS) for server in servers]  # warm
        if pacer:
            rate = most[0] // 2
        spans = sink.spans()
        before = {s.variant: s.cpu() for s in servers}
        answered = dict.fromkeys(before, 0)
        for turn in range(rounds + 1):
            for server in rng.sample(servers, len(servers)):
                now, name = server.cpu(), server.variant
                if turn:
                    took[name].append((now - before[name]) / answered[name] / 1000)
                before[name] = now
                if turn < rounds:
                    answered[name] = server.paced(pacer, rate, seconds) if pacer else server.load(seconds, CONNECTIONS)
                    sent += answered[name] if name == "preload" else 0
    finally:
        for server in servers:
            server.stop()
    return {"cpu_us": {v: statistics.median(took[v]) for v in VARIANTS},
            "ratio": {v: middle([a / b for a, b in zip(took[v], took["none"])]) for v in VARIANTS[1:]},
            "requests": sent, "spans": sink.spans() - spans, "rate": rate}
