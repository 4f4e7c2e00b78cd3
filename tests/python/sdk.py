# SPDX-License-Identifier: Apache-2.0
"""The OpenTelemetry SDK, built in a master that forks, under `forkspan run --python`, as TAP. Each span that the SDK makes
for a request arrives once, no stop waits for it, each worker is an instance of its own.

    sdk.py --collector OTELCOL --forkspan FORKSPAN --requests N [--controls N] --gunicorn CMD NAME:UWSGI-CMD...

With --controls each cell runs that often without forkspan, too: it must fail as its comment says.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
import harness  # noqa: E402
from harness import Tap, answers, attributes, clean_environment, free_port, until  # noqa: E402

WORKERS = 4
EXTRA_STOP_S = 2  # a stop may take so much longer than without any SDK


class Collector(harness.Collector):
    """On the two ports of OTLP, at a loopback address of its own."""

    CONFIG = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{host}:4317"}}, http: {{endpoint: "{host}:4318"}}}}}}}}
exporters: {{file: {{path: "{path}", flush_interval: 200ms}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
"""

    def __init__(self, binary, folder):
        self.host = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self.path = os.path.join(folder, "spans.json")
        config = os.path.join(folder, "collector.yaml")
        pathlib.Path(config).write_text(self.CONFIG.format(host=self.host, path=self.path))
        with open(os.path.join(folder, "collector.log"), "wb") as log:
            self.process = subprocess.Popen([binary, "--config", config], stdout=log, stderr=log, env=clean_environment())
        until(lambda: self.process.poll() is not None or self.listens(), "the Collector listens")

    def listens(self):
        try:
            socket.create_connection((self.host, 4317), 1).close()
            socket.create_connection((self.host, 4318), 1).close()
            return True
        except OSError:
            return False

    def sdk_endpoint(self, exporter):
        return f"http://{self.host}:4317" if exporter == "grpc" else f"http://{self.host}:4318/v1/traces"


Cell = collections.namedtuple("Cell", "name server options exporter master idle fails")
# What fails without forkspan, as measured with the SDK of today: spans are lost or doubled, a stop takes long, instances are one.
CELLS = [
    Cell("gunicorn, gRPC", "gunicorn", (), "grpc", "", 0, ""),
    Cell("gunicorn, HTTP", "gunicorn", (), "http", "", 0, ""),
    Cell("gunicorn, HTTP, spans ended in the master", "gunicorn", (), "http", "spans", 0, "ledger"),
    Cell("gunicorn, gRPC, a thread of the master ends spans, recycling", "gunicorn", ("--max-requests", "20"), "grpc", "thread", 0,
         "ledger stop"),
    Cell("uWSGI, threads, gRPC", "uwsgi", ("--enable-threads",), "grpc", "", 0, "stop instances"),
    Cell("uWSGI, threads, HTTP", "uwsgi", ("--enable-threads",), "http", "", 0, "stop instances"),
    Cell("uWSGI, default options, gRPC, idle", "uwsgi", (), "grpc", "", 12, "ledger instances"),
]


class Run:
    def __init__(self, cell, commands, collector, forkspan, requests, folder, sdk=True):
        self.port = free_port()
        self.log = os.path.join(folder, "server.log")
        command = commands[cell.server].split()
        if cell.server == "gunicorn":
            command += ["--preload", "-w", str(WORKERS), "-b", f"127.0.0.1:{self.port}", *cell.options, "sdk_app:app"]
        else:
            command += ["--http-socket", f"127.0.0.1:{self.port}", "--master", "--processes", str(WORKERS), "--disable-logging",
                        "--die-on-term", "--wsgi-file", str(HERE / "sdk_app.py"), *cell.options]
        env = clean_environment(PYTHONPATH=str(HERE), OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.host}:4318")
        if sdk:
            env.update(SDK_EXPORTER=cell.exporter, SDK_ENDPOINT=collector.sdk_endpoint(cell.exporter), SDK_MASTER=cell.master)
        if forkspan:
            command = [forkspan, "run", "--python", "--", *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
        self.answered = []
        try:
            until(lambda: self.process.poll() is not None or answers(self.port), "the server listens", 30)
            with concurrent.futures.ThreadPoolExecutor(8) as clients:
                for path, good in clients.map(self.ask, range(requests)):
                    if good:
                        self.answered.append(path)
            time.sleep(cell.idle)  # nothing happens for so long: that is the case
            began = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.stop_s = time.monotonic() - began
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()

    def ask(self, number):
        path = f"/{os.path.basename(os.path.dirname(self.log))}/{number}"
        traceparent = f"00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-01"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 30) as s:
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\ntraceparent: {traceparent}\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while more := s.recv(65536):
                    answer += more
            return path, answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok\n")
        except OSError:
            return path, False

    def said(self):
        return pathlib.Path(self.log).read_text(errors="replace")[-3000:]


def judge(run, collector):
    """(paths not there once, service instances, workers that made spans, spans whose parent is not forkspan's, the log)"""
    seen, instances, pids, request_spans, orphans = collections.Counter(), set(), set(), set(), 0
    spans = collector.spans()
    for _, _, scope, span in spans:
        if scope.get("name") == "forkspan.http":
            request_spans.add(span["spanId"])
    for resource, _, scope, span in spans:
        if not scope.get("name", "").endswith("instrumentation.flask"):
            continue
        a = attributes(span)
        path = a.get("url.path") or a.get("http.target")
        seen[path] += 1
        instances.add(resource.get("service.instance.id"))
        orphans += span.get("parentSpanId") not in request_spans
    wrong = [path for path in run.answered if seen[path] != 1]
    doubled = [path for path, n in seen.items() if n > 1]
    return wrong + doubled, instances, orphans


def one(cell, commands, otelcol, forkspan, requests, plain_stop_s):
    """What was wrong, as words, and the texts for a report."""
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(otelcol, folder)
        try:
            run = Run(cell, commands, collector, forkspan, requests, folder)
        finally:
            collector.stop()
        wrong, instances, orphans = judge(run, collector)
        faults, why = [], [f"{len(run.answered)} of {requests} answered, stop {run.stop_s:.2f} s (without SDK {plain_stop_s:.2f} s)"]
        if len(run.answered) != requests and "max-requests" not in " ".join(cell.options):
            faults.append("answers")
        if wrong:
            faults.append("ledger")
            why.append(f"{len(wrong)} spans lost or doubled: {wrong[:5]}")
        if run.stop_s > plain_stop_s + EXTRA_STOP_S:
            faults.append("stop")
        if len(instances) < 2:
            faults.append("instances")
            why.append(f"instances: {instances}")
        if forkspan and orphans:
            faults.append("parents")
            why.append(f"{orphans} spans are no children of their request's span")
        return faults, "\n".join(why + ([run.said()] if faults else []))


def plain_stop(cell, commands, otelcol, again=2):
    """How long a stop takes without the SDK and without forkspan. uWSGI forgets one that comes before its workers wait for
    requests, now and then: then it is asked anew."""
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(otelcol, folder)
        try:
            return Run(cell._replace(idle=0, master=""), commands, collector, None, 20, folder, sdk=False).stop_s
        except subprocess.TimeoutExpired:
            if not again:
                raise
        finally:
            collector.stop()
    return plain_stop(cell, commands, otelcol, again - 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector", required=True)
    parser.add_argument("--forkspan", required=True)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--controls", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--gunicorn", required=True)
    parser.add_argument("uwsgi", nargs="*")
    args = parser.parse_args()
    tap = Tap()
    forkspan = os.path.abspath(args.forkspan)
    for cell in CELLS:
        if args.only not in cell.name:
            continue
        servers = [("", args.gunicorn)] if cell.server == "gunicorn" else [named.split(":", 1) for named in args.uwsgi]
        for which, command in servers:
            commands = {cell.server: command}
            name = f"{cell.name}{', ' + which if which else ''}"
            stop_s = plain_stop(cell, commands, args.collector)
            faults, why = one(cell, commands, args.collector, forkspan, args.requests, stop_s)
            tap.check(not faults, f"{name}: {args.requests} requests, each SDK span once", f"{faults}\n{why}")
            found = collections.Counter()
            for _ in range(args.controls if cell.fails else 0):
                found.update(one(cell, commands, args.collector, None, args.requests, stop_s)[0])
            if args.controls and cell.fails:
                tap.check(set(cell.fails.split()) & set(found), f"{name}: without forkspan of {args.controls} runs {dict(found)}")
    tap.end()


main()
