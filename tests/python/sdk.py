# SPDX-License-Identifier: Apache-2.0
"""The OpenTelemetry SDK, built in a master that forks, as TAP: under `forkspan run --python`, or with forkspan's package.
Each span that the SDK makes for a request arrives once and is a child of that request's span, whether or not the client
sent a traceparent; no stop waits for it; each worker is an instance of its own.

    sdk.py --collector OTELCOL --forkspan FORKSPAN --requests N [--controls N] [--parallel N] [--kept FILE] [--seconds N]
           --gunicorn CMD [--old-gunicorn CMD] NAME:UWSGI-CMD...

With --controls each cell runs that often without forkspan, too: it must fail as its comment says. --kept: runs that are
written there are not made again; --seconds: after so many no more are begun, and the end is a failure.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
import harness  # noqa: E402
import package_wheel  # noqa: E402
from harness import Tap, answers, attributes, clean_environment, free_port, until  # noqa: E402

WORKERS = 4
MASTER_SPANS = 600  # of sdk_app.py
EXTRA_STOP_S = 2  # a stop may take so much longer than without any SDK
CONTROL_REQUESTS = 6000


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


# exporter: of sdk_app.py, or "env": the application knows no tracing, `opentelemetry-instrument` and the package do it all.
# "http-elsewhere": forkspan's own spans go to a file. requests: as many as asked for, or so many at most. fails: what is
# wrong without forkspan, as measured; "" is nothing. of: the server of which that was
# measured, where it is not all.
Cell = collections.namedtuple("Cell", "name server options exporter master idle requests fails of", defaults=[""])
MANY = sys.maxsize
THREADS = ("--enable-threads",)
RECYCLED = ("--max-requests", "20")
CELLS = [
    Cell("gunicorn, gRPC", "gunicorn", (), "grpc", "", 0, MANY, ""),
    Cell("gunicorn, HTTP", "gunicorn", (), "http", "", 0, MANY, ""),
    Cell("A: gunicorn, HTTP, spans ended in the master", "gunicorn", (), "http", "spans", 0, MANY, "ledger"),
    Cell("A: the same, to a collector that is not forkspan's", "gunicorn", (), "http-elsewhere", "spans", 0, MANY, ""),
    Cell("B: gunicorn, gRPC, a thread of the master ends spans, recycling", "gunicorn", RECYCLED, "grpc", "thread", 0, MANY, "ledger stop"),
    Cell("C: uWSGI, threads, gRPC, one request", "uwsgi", THREADS, "grpc", "", 0, 1, "stop"),
    Cell("D: uWSGI, default options, gRPC, idle", "uwsgi", (), "grpc", "", 12, MANY, "ledger", "Debian"),
    Cell("E: uWSGI, threads, gRPC", "uwsgi", THREADS, "grpc", "", 0, MANY, "instances"),
    Cell("E: uWSGI, threads, HTTP", "uwsgi", THREADS, "http", "", 0, MANY, "instances"),
    Cell("E: uWSGI, spans ended in the master, the package", "uwsgi", (), "package", "spans", 0, 200, "master"),
    Cell("H: SDK 1.3, Python 3.8, gunicorn, gRPC", "old-gunicorn", (), "grpc", "", 0, MANY, "ledger"),
    Cell("H: the same, a thread of the master ends spans", "old-gunicorn", (), "grpc", "thread", 0, MANY, "ledger"),
    Cell("opentelemetry-instrument, the package, gunicorn sync", "gunicorn", (), "env", "", 0, 2000, ""),
    Cell("opentelemetry-instrument, the package, gunicorn gthread", "gunicorn", ("-k", "gthread", "--threads", "4"), "env", "", 0, 2000, ""),
    Cell("opentelemetry-instrument, the package, uWSGI", "uwsgi", THREADS, "env", "", 0, 2000, ""),
    Cell("opentelemetry-instrument, OTLP, gunicorn", "gunicorn", (), "env-otlp", "", 0, 2000, ""),
]


class Run:
    """One server, its load and its stop. `site`: where the package is; `sdk`: False is the server alone."""

    def __init__(self, cell, commands, collector, forkspan, requests, folder, site, sdk=True):
        self.port = free_port()
        self.log = os.path.join(folder, "server.log")
        command = commands[cell.server].split()
        if cell.server == "uwsgi":
            command += ["--http-socket", f"127.0.0.1:{self.port}", "--master", "--processes", str(WORKERS), "--disable-logging",
                        "--die-on-term", "--wsgi-file", str(HERE / "sdk_app.py"), *cell.options]
        else:
            command += ["--preload", "-w", str(WORKERS), "-b", f"127.0.0.1:{self.port}", *cell.options, "sdk_app:app"]
        env = clean_environment(PYTHONPATH=os.pathsep.join([str(HERE), site]), OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.host}:4318")
        run = [forkspan, "run"]
        if cell.exporter.startswith("env"):
            command = [os.path.join(os.path.dirname(sys.executable), "opentelemetry-instrument"), *command]
            env.update(OTEL_SERVICE_NAME="api-service")
        if cell.exporter == "env":
            env.update(OTEL_TRACES_EXPORTER="forkspan", OTEL_PROPAGATORS="tracecontext,baggage,forkspan", OTEL_METRICS_EXPORTER="none",
                       OTEL_LOGS_EXPORTER="none")
        elif cell.exporter == "env-otlp":
            env.update(OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")
            run.append("--python")
        elif sdk:
            exporter = {"http-elsewhere": "http", "package": "package" if forkspan else "grpc"}.get(cell.exporter, cell.exporter)
            env.update(SDK_EXPORTER=exporter, SDK_ENDPOINT=collector.sdk_endpoint(exporter), SDK_MASTER=cell.master)
            run.append("--python")
        if cell.exporter == "http-elsewhere":
            env.update(OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE=os.path.join(folder, "forkspan's"))
        if forkspan:
            command = [*run, "--", *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
        self.answered = []
        try:
            until(lambda: self.process.poll() is not None or answers(self.port), "the server listens", 30)
            with concurrent.futures.ThreadPoolExecutor(8) as clients:
                for path, good in clients.map(self.ask, range(requests)):
                    if good:
                        self.answered.append(path)
            if cell.server == "uwsgi":
                # One that is told to stop before it waits for requests may miss it or leave in the middle of one.
                until(lambda: len(self.workers_at_rest()) == WORKERS, "all workers wait for requests")
            time.sleep(cell.idle)  # nothing happens for so long: that is the case
            began = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                pass  # a stop that takes too long
            self.stop_s = time.monotonic() - began
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()

    def workers_at_rest(self):
        below = self.process.pid
        while len(harness.children(below)) == 1:  # forkspan run, then the master
            below = harness.children(below)[0]
        return [pid for pid in harness.children(below) if "poll" in pathlib.Path(f"/proc/{pid}/wchan").read_text()]

    def ask(self, number):
        """Every other client has a trace of its own already."""
        path = f"/{os.path.basename(os.path.dirname(self.log))}/{number}"
        traceparent = f"traceparent: 00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-01\r\n" if number % 2 else ""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 30) as s:
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{traceparent}Connection: close\r\n\r\n".encode())
                answer = b""
                while more := s.recv(65536):
                    answer += more
            return path, answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok\n")
        except OSError:
            return path, False

    def said(self):
        return pathlib.Path(self.log).read_text(errors="replace")[-3000:]


class Judgement:
    """What the Collector has of a run."""

    def __init__(self, run, collector):
        of_request, seen, master = {}, collections.Counter(), collections.Counter()
        self.instances, sdk = set(), []
        for resource, _, scope, span in collector.spans():
            a = attributes(span)
            path = a.get("url.path") or a.get("http.target")
            if scope.get("name") == "forkspan.http":
                of_request[span["spanId"]] = (span["traceId"], path)
            elif "instrumentation.flask" in scope.get("name", ""):
                seen[path] += 1
                self.instances.add(resource.get("service.instance.id"))
                sdk.append((span.get("parentSpanId"), (span["traceId"], path)))
            elif span["name"].startswith("master "):
                master[span["name"]] += 1
        self.lost = [path for path in run.answered if seen[path] == 0]
        self.wrong = self.lost + [path for path, n in seen.items() if n > 1]
        self.orphans = [path for parent, (trace, path) in sdk if of_request.get(parent) != (trace, path)]
        self.master = [n for n in range(MASTER_SPANS) if master[f"master {n}"] != 1]


def one(cell, commands, otelcol, forkspan, requests, site, plain_stop_s):
    """(what was wrong, as words, the texts for a report)"""
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(otelcol, folder)
        try:
            run = Run(cell, commands, collector, forkspan, requests, folder, site)
        finally:
            collector.stop()
        found = Judgement(run, collector)
        faults, why = [], [f"{len(run.answered)} of {requests} answered, stop {run.stop_s:.2f} s (without SDK {plain_stop_s:.2f} s)"]
        if len(run.answered) != requests and "--max-requests" not in cell.options:
            faults.append("answers")
        if found.wrong:
            faults.append("ledger" if found.lost or not forkspan else "twice")
            why.append(f"{len(found.lost)} spans lost, {len(found.wrong) - len(found.lost)} doubled: {found.wrong[:5]}")
        if run.stop_s > plain_stop_s + EXTRA_STOP_S:
            faults.append("stop")
        if requests >= 100 and len(found.instances) < 2 and cell.server != "old-gunicorn":  # the old SDK knows no instances
            faults.append("instances")
            why.append(f"instances: {found.instances}")
        if cell.master == "spans" and found.master:
            faults.append("master")
            why.append(f"of the {MASTER_SPANS} spans of the master {len(found.master)} are not there once: {found.master[:5]}")
        if forkspan and found.orphans and cell.exporter != "http-elsewhere":  # the parents are elsewhere
            faults.append("parents")
            why.append(f"{len(found.orphans)} spans are no children of their request's span: {found.orphans[:5]}")
        return faults, "\n".join(why + ([run.said()] if faults else []))


def twice(cell, commands, args, requests, site, stop_s):
    """A stop is too long where it is so twice: uWSGI looks for its workers once a second, and a busy machine makes it miss one.
    A batch may come twice where the stop kills a worker in the middle of it (gunicorn repeats its SIGTERM): not in two runs."""
    faults, why = one(cell, commands, args.collector, args.forkspan, requests, site, stop_s)
    return one(cell, commands, args.collector, args.forkspan, requests, site, stop_s) if faults and set(faults) <= {"stop", "twice"} else (faults, why)


def plain_stop(cell, commands, otelcol, site):
    alone = cell._replace(idle=0, master="", exporter="")
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(otelcol, folder)
        try:
            return Run(alone, commands, collector, None, 20, folder, site, sdk=False).stop_s
        finally:
            collector.stop()


class Kept:
    """Results by name, one a line of a file."""

    def __init__(self, path, seconds):
        self.path, self.found, self.until, self.lock = path, {}, time.monotonic() + seconds, threading.Lock()
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as lines:
                self.found.update(json.loads(line) for line in lines)

    def get(self, name, make, worth=lambda result: True):
        if name not in self.found:
            if time.monotonic() > self.until:
                raise TimeoutError(f"to be continued at: {name}")
            result = make()
            with self.lock:
                self.found[name] = result
                if self.path and worth(result):
                    with open(self.path, "a", encoding="utf-8") as lines:
                        lines.write(json.dumps([name, result]) + "\n")
        return self.found[name]


def check(cell, version, command, args, site, kept):
    """[(good, what, why)]"""
    name, commands = f"{cell.name}{', ' + version if version else ''}", {cell.server: command}
    requests, done = min(args.requests, cell.requests), []
    try:
        stop_s = kept.get(f"{cell.server} {version} {' '.join(cell.options)}: a stop without SDK", lambda: plain_stop(cell, commands, args.collector, site))
        faults, why = kept.get(f"{name}: {requests} requests", lambda: twice(cell, commands, args, requests, site, stop_s),
                               lambda result: not result[0])
        done.append((not faults, f"{name}: {requests} requests, each SDK span once, below its request's", f"{faults}\n{why}"))
        if args.controls and cell.fails and cell.of in name:
            fewer = min(cell.requests, CONTROL_REQUESTS if "ledger" in cell.fails else 200)
            times = collections.Counter()
            for n in range(args.controls):
                times.update(kept.get(f"{name}: control {n}", lambda: one(cell, commands, args.collector, None, fewer, site, stop_s))[0])
            done.append((set(cell.fails.split()) & set(times),
                         f"{name}: the control, {fewer} requests without forkspan, fails: of {args.controls} runs {dict(times)}", ""))
    except TimeoutError as late:
        done.append((False, name, late))
    return done


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector", required=True)
    parser.add_argument("--forkspan", required=True, type=os.path.abspath)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--controls", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--kept")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--gunicorn", required=True)
    parser.add_argument("--old-gunicorn")
    parser.add_argument("uwsgi", nargs="*")
    args = parser.parse_args()
    tap, kept = Tap(), Kept(args.kept, args.seconds)
    with tempfile.TemporaryDirectory() as site, concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
        built = package_wheel.install(site)
        tap.check(built.returncode == 0, "the package builds and installs", built.stderr[-2000:])
        work = []
        for cell in CELLS:
            if args.only not in cell.name:
                continue
            if cell.server == "old-gunicorn" and not args.old_gunicorn:
                tap.skip(cell.name, "no Python 3.8 here")
                continue
            which = {"gunicorn": [f":{args.gunicorn}"], "old-gunicorn": [f":{args.old_gunicorn}"], "uwsgi": args.uwsgi}[cell.server]
            for version, command in (named.split(":", 1) for named in which):
                if args.controls or cell.of in version:
                    work.append(pool.submit(check, cell, version, command, args, site, kept))
        for each in work:
            for good, what, why in each.result():
                tap.check(good, what, why)
    tap.end()


main()
