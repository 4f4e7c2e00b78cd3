# SPDX-License-Identifier: Apache-2.0
"""Workers die in every way at random moments under load, with a real Collector, as TAP.

matrix.py --collector OTELCOL --forkspan COMMAND --prefork PROGRAM [--kills N] [--only SERVER] [--export process] [--seed N]

Every request that was answered in full is exactly one span; every request that was being served when its worker died
is exactly one, with what killed it, and when; no id comes twice. A request whose connection broke and of which nobody
knows whether it had been read is at most one.
"""
import argparse
import collections
import http.client
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import (Collector, Gunicorn, Tap, attributes, clean_environment, consumers, sent_again, until,  # noqa: E402
                     workspace)

LOAD = 3
# way: (path, signal sent by us while it hangs, what its span says)
WAYS = {
    "kill -9": ("hang", signal.SIGKILL, "SIGKILL"),
    "SIGSEGV": ("hang", signal.SIGSEGV, "SIGSEGV"),
    "abort": ("abort", None, "SIGABRT"),
    "no memory (rlimit)": ("rlimit", None, "SIGABRT"),
    "_exit": ("exit", None, "exit 7"),
    "exec": ("exec", None, "exec"),
}


class Program:
    """A server that prints its port and pid."""

    def __init__(self, folder, command, forkspan, endpoint, env):
        self.log = os.path.join(folder, "server.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([forkspan, "run", "--service", "kill", "--endpoint", endpoint, "--", *command],
                                            stdout=subprocess.PIPE, stderr=log, env=clean_environment(**env), text=True,
                                            start_new_session=True)
        self.port, self.master = map(int, self.process.stdout.readline().split())

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def workers(self):
        return [int(pid) for pid in pathlib.Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()]

    def stop(self):
        os.kill(self.master, signal.SIGTERM)
        self.process.wait(60)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(name, folder, options, endpoint):
    env = {"OTEL_LOG_LEVEL": "debug", "FORKSPAN_LOG": os.path.join(folder, "forkspan.log"), "OTEL_BSP_SCHEDULE_DELAY": "1000", "FORKSPAN_EXIT_FLUSH": "10000",
           "FORKSPAN_EXPORT": options.export}
    if name.startswith("gunicorn"):
        arguments = ["-w", "4"] + (["-k", "gthread", "--threads", "3"] if name.endswith("gthread") else [])
        return Gunicorn(folder, ["--chdir", str(HERE), *arguments], options.forkspan, endpoint, "kill", env,
                        "victim:application")
    command = [options.prefork, "4"] if name == "prefork" else [sys.executable, str(HERE / "processes.py")]
    return Program(folder, command, options.forkspan, endpoint, env)


def fetch(port, path, timeout=30):
    """The body, or None where the connection broke before all of it had come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Load:
    """Requests one after the other from each of some threads; which were answered."""

    def __init__(self, port):
        self.port, self.answered, self.broken, self.stopping = port, [], [], False
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(LOAD)]
        for thread in self.threads:
            thread.start()

    def run(self, which):
        n = 0
        while not self.stopping:
            path = f"/ok/{which}-{n}"
            n += 1
            time.sleep(0.002)  # a load that two cores carry beside the Collector: a full ring drops spans
            (self.broken if fetch(self.port, path) is None else self.answered).append(path)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def established(pid, port):
    """Does this process have a connection to the server's port accepted?"""
    inodes = set()
    try:
        for n in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{n}")
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    except OSError:
        return set()
    peers = set()
    for line in open("/proc/net/tcp"):
        words = line.split()
        if len(words) > 9 and words[9] in inodes and words[3] == "01" and words[1].endswith(f":{port:04X}"):
            peers.add(int(words[2].split(":")[1], 16))
    return peers


def queued(port, client_port):
    """Bytes that the server has not read yet of this connection; None: it is not there."""
    for line in open("/proc/net/tcp"):
        words = line.split()
        if words[1].endswith(f":{port:04X}") and words[2].endswith(f":{client_port:04X}"):
            return int(words[4].split(":")[1], 16)
    return None


def kill_one(server, path, number, rng):
    """A request that hangs, until its worker is killed; (when, pid)."""
    s = socket.create_connection(("127.0.0.1", server.port), 30)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    mine = s.getsockname()[1]

    def holder():  # the worker that has accepted it, and read it
        for pid in server.workers():
            if mine in established(pid, server.port) and queued(server.port, mine) == 0:
                return pid
        return None

    pid = until(holder, "a worker has read the request")
    time.sleep(rng.random() * 0.05)  # a random moment, not a wait
    os.kill(pid, number)
    died = time.time_ns()
    try:
        while s.recv(4096):
            pass
    except OSError:
        pass
    s.close()
    return died, pid


def cell(server, way, number, rng, fatal):
    path, by, type_ = WAYS[way]
    path = f"/{path}/{way.split()[0].strip('_')}-{number}"
    began = time.time_ns()
    if by:
        died, pid = kill_one(server, path, by, rng)
    else:
        body = fetch(server.port, path)
        died, pid = time.time_ns(), None
        if body is not None:
            raise RuntimeError(f"{path} was answered: {body!r}")
    fatal[path] = (type_, began, died, pid)


def check(tap, name, load, fatal, spans, ways, log):
    by_path = collections.defaultdict(list)
    for resource, _, _, span in spans:
        by_path[attributes(span).get("url.path")].append((resource, span))
    ids = collections.Counter(span["spanId"] for _, _, _, span in spans)
    twice = [i for i, n in ids.items() if n > 1]
    again = sum(spans for spans, _ in sent_again(log))
    lost = [path for path in load.answered if len(by_path[path]) == 0]
    tap.check(not lost, f"{name}: none of {len(load.answered)} finished requests is lost", f"{len(lost)}: {lost[:20]}\n{log[-3000:]}")
    more = [path for path in load.answered + load.broken + list(fatal)
            if len({s["spanId"] for _, s in by_path[path]}) > 1]
    tap.check(not more, f"{name}: no request has two spans", more[:20])
    tap.check(len(twice) <= again, f"{name}: what came twice ({len(twice)}) is in a counted re-send ({again})", twice[:20])
    failed = [path for path in load.answered for _, s in by_path[path]
              if attributes(s).get("http.response.status_code") != 200]
    tap.check(not failed, f"{name}: each has its status", failed[:20])
    strange = [path for path in by_path if path not in fatal and path not in load.answered and path not in load.broken]
    tap.check(not strange, f"{name}: no span without a request", strange[:20])
    for way in ways:
        wrong = []
        for path, (type_, began, died, pid) in fatal.items():
            if path.split("/")[2].rsplit("-", 1)[0] != way.split()[0].strip("_") or path.split("/")[1] != WAYS[way][0]:
                continue
            got = by_path[path]
            if len({s["spanId"] for _, s in got}) != 1:
                wrong.append(f"{path}: {len(got)} spans")
                continue
            resource, span = got[0]
            have, end = attributes(span), int(span["endTimeUnixNano"])
            if have.get("error.type") != type_ or span.get("status", {}).get("code") != 2:
                wrong.append(f"{path}: {have.get('error.type')!r} {span.get('status')}")
            if have.get("http.request.method") != "GET" or have.get("url.scheme") != "http":
                wrong.append(f"{path}: {have}")
            if pid and resource.get("process.pid") != pid:
                wrong.append(f"{path}: of {resource.get('process.pid')}, not {pid}")
            # died: when we had killed it, or knew of it; its parent may take a while to look
            if not began - 10**7 <= int(span["startTimeUnixNano"]) <= end <= died + 2 * 10**9 or (by_us(way) and end < died - 10**8):
                wrong.append(f"{path}: ended {(end - died) / 1e6} ms after the death")
        tap.check(not wrong, f"{name}: {way}: the request that was being served is one span, with what ended it",
                  "\n".join(wrong[:20]))


def text_of(path):
    return pathlib.Path(path).read_text(errors="replace") if os.path.exists(path) else ""


def by_us(way):
    return WAYS[way][1] is not None


def run(tap, name, options):
    rng = random.Random(f"{options.seed}-{name}")
    with workspace() as folder:
        collector = Collector(options.collector, folder)
        server = None
        try:
            server = start(name, folder, options, collector.endpoint)
            load, fatal = Load(server.port), {}
            try:
                kills = [way for way in WAYS for _ in range(options.kills)]
                rng.shuffle(kills)
                for number, way in enumerate(kills):
                    cell(server, way, number, rng, fatal)
            finally:
                load.stop()
            server.stop()
            until(lambda: not consumers(folder), "what sends for the server goes when that has gone")
            collector.stop()
            print(f"# {name}: {len(kills)} kills, {len(load.answered)} requests answered, {len(load.broken)} broken", flush=True)
            check(tap, name, load, fatal, collector.spans(), WAYS, text_of(os.path.join(folder, "forkspan.log")))
        except Exception as error:
            tap.check(False, f"{name}: runs", f"{error!r}\n{server.text()[-3000:] if server else ''}")
        finally:
            if server and server.process.poll() is None:
                server.kill()
            collector.stop()


class Quiet(Tap):
    def check(self, good, name, why=""):
        self.failed += not good
        return good


class Books:
    answered = [f"/ok/0-{n}" for n in range(20)]
    broken = ["/ok/1-0"]


def self_test(tap):
    """The control: a check that finds nothing wrong in wrong books is no check."""
    fatal = {"/hang/kill-0": ("SIGKILL", 10**18, 10**18 + 10**9, 7), "/exit/exit-1": ("exit 7", 10**18, 10**18 + 10**9, None)}

    def span(path, error=None):
        values = [{"key": "url.path", "value": {"stringValue": path}}, {"key": "url.scheme", "value": {"stringValue": "http"}},
                  {"key": "http.request.method", "value": {"stringValue": "GET"}}]
        values.append({"key": "error.type", "value": {"stringValue": error}} if error else
                      {"key": "http.response.status_code", "value": {"intValue": "200"}})
        return ({"process.pid": 7}, "", {}, {"spanId": f"{hash(path) & (1 << 64) - 1:016x}", "attributes": values,
                                             "startTimeUnixNano": str(10**18), "endTimeUnixNano": str(10**18 + 10**9),
                                             **({"status": {"code": 2}} if error else {})})

    def spoil(what, change, log=""):
        spans = [span(path) for path in Books.answered] + [span(path, fatal[path][0]) for path in fatal]
        change(spans)
        quiet = Quiet()
        check(quiet, "", Books, fatal, spans, WAYS, log)
        tap.check((quiet.failed > 0) == (what[0] == "!"), f"the kill matrix's control: {what.strip('!')}", quiet.failed)

    again = "1 spans of process 7 are sent again: process 8 began to and had no answer"
    spoil("right books are right", lambda spans: None)
    spoil("a counted re-send is right", lambda spans: spans.append(spans[3]), again)
    spoil("!a span lost is found", lambda spans: spans.pop(3))
    spoil("!a span twice is found", lambda spans: spans.append(spans[3]))
    spoil("!two spans of one request are found", lambda spans: spans.append((*spans[3][:3], dict(spans[3][3], spanId="1" * 16))), again)
    spoil("!a fatal request without a span is found", lambda spans: spans.pop(20))
    spoil("!a wrong signal is found", lambda spans: spans[20][3]["attributes"][-1].update(value={"stringValue": "SIGTERM"}))
    spoil("!a wrong worker is found", lambda spans: spans[20][0].update({"process.pid": 8}))
    spoil("!a wrong end is found", lambda spans: spans[20][3].update(endTimeUnixNano=str(10**18 + 10**8)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector")
    parser.add_argument("--forkspan")
    parser.add_argument("--prefork")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--kills", type=int, default=1, help="a cell")
    parser.add_argument("--only", default="")
    parser.add_argument("--export", choices=("thread", "process"), default="thread", help="FORKSPAN_EXPORT")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    tap = Tap()
    if options.self_test:
        self_test(tap)
        tap.end()
    print(f"# seed {options.seed}", flush=True)
    for name in ("prefork", "gunicorn sync", "gunicorn gthread", "multiprocessing"):
        if options.only in name:
            run(tap, name, options)
    tap.end()


main()
