# SPDX-License-Identifier: Apache-2.0
"""Workers die in every way at random moments under load, with a real Collector, as TAP.

matrix.py --collector OTELCOL --forkspan COMMAND --build DIRECTORY [--kills N] [--only SERVER] [--export process] [--seed N]
          [--self-test]

Every request that was answered in full is exactly one span; every request that was being served when its worker died
is exactly one, with what killed it, and when; what comes twice is in a counted re-send. A request whose connection
broke and of which nobody knows whether it had been read is at most one. targets.py has the servers and the ways.
"""
import argparse
import collections
import contextlib
import dataclasses
import http.client
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from cgroup import NoCgroup, memory_cgroup  # noqa: E402
from harness import Collector, Tap, attributes, consumers, fetch_unless_broken, sent_again, until, workspace  # noqa: E402
from targets import TARGETS  # noqa: E402

LOAD = 3
CGROUP_BYTES = 32 << 20


@dataclasses.dataclass
class Fatal:
    """A request that ended its worker."""
    way: str
    type: str
    began: int
    died: int  # when we had killed it, or knew of it
    pid: int = 0  # of the worker, where we know it
    by_us: bool = False  # it died at `died`
    or_type: str = ""


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
            (self.broken if fetch_unless_broken(self.port, path) is None else self.answered).append(path)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def connection(port, client_port):
    """(bytes that the server has not read yet, inode) of this connection's end in the server; None: it is not accepted."""
    out = subprocess.run(["ss", "-tnHe", "state", "established", f"( sport = :{port} and dport = :{client_port} )"],
                         capture_output=True, text=True, check=True).stdout
    inode = re.search(r"ino:(\d+)", out)
    return (int(out.split()[0]), inode[1]) if inode and inode[1] != "0" else None


def has_open(pid, inode):
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{n}") == f"socket:[{inode}]" for n in os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # it closes one meanwhile, or ends
        return False


def read_answer(s):
    """The status, or None."""
    answer = http.client.HTTPResponse(s)
    try:
        answer.begin()
        answer.read()
        return answer.status
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException):
        return None
    finally:
        answer.close()


def kill_one(server, way, path, rng, group):
    """A request that hangs, until its worker is killed: (when, pid, status that was answered)."""
    with socket.create_connection(("127.0.0.1", server.port), 30) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        mine = s.getsockname()[1]

        def holder():  # the worker that has accepted it, and read it
            unread, inode = connection(server.port, mine) or (1, 0)
            return next((pid for pid in server.workers() if has_open(pid, inode)), None) if not unread else None

        pid = server.worker_behind(path) if way.behind else until(holder, "a worker has read the request")
        if way.in_cgroup:
            (group / "cgroup.procs").write_text(str(pid))
            status = read_answer(s)
            return time.time_ns(), pid, status
        time.sleep(rng.random() * 0.05)  # a random moment, not a wait
        os.kill(pid, way.signal)
        return time.time_ns(), pid, read_answer(s)


def cell(server, name, way, number, rng, group, fatal):
    path = f"/{way.path}/{number}"
    began = time.time_ns()
    pid = 0
    if way.signal or way.in_cgroup:
        died, pid, status = kill_one(server, way, path, rng, group)
    else:
        status = getattr(fetch_unless_broken(server.port, path), "status", None)
        died = time.time_ns()
    if status != (way.status or None):
        raise RuntimeError(f"{path} was answered {status}")
    fatal[path] = Fatal(name, way.type, began, died, 0 if way.behind else pid, bool(way.signal) and not way.behind,
                        way.or_type)


def wrong_with(path, f, got):
    """What is wrong with the spans of the request that ended its worker, as words."""
    if len({s["spanId"] for _, s in got}) != 1:
        return [f"{path}: {len(got)} spans"]
    resource, span = got[0]
    have, start, end, wrong = attributes(span), int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), []
    if have.get("error.type") not in (f.type, f.or_type or f.type) or span.get("status", {}).get("code") != 2:
        wrong.append(f"{path}: {have.get('error.type')!r} {span.get('status')}")
    if have.get("http.request.method") != "GET" or have.get("url.scheme") != "http":
        wrong.append(f"{path}: {have}")
    if f.pid and resource.get("process.pid") != f.pid:
        wrong.append(f"{path}: of {resource.get('process.pid')}, not {f.pid}")
    # its parent may take a while to look
    if not f.began - 10**7 <= start <= end <= f.died + 2 * 10**9 or (f.by_us and end < f.died - 10**8):
        wrong.append(f"{path}: ended {(end - f.died) / 1e6} ms after the death")
    return wrong


def check(tap, name, load, fatal, spans, log, own=frozenset()):
    """`own`: paths that the server asks itself for."""
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
    # it was served beside one that ended its worker, or its answer had been written and did not arrive
    endings = {type for f in fatal.values() for type in (f.type, f.or_type)}
    unlike = [f"{path}: {attributes(s)}" for path in load.broken for _, s in by_path[path]
              if attributes(s).get("error.type") not in endings and attributes(s).get("http.response.status_code") != 200]
    tap.check(not unlike, f"{name}: of {len(load.broken)} that broke those that have a span say what ended them", "\n".join(unlike[:20]))
    strange = [path for path in by_path if path not in fatal and path not in load.answered and path not in load.broken]
    tap.check(set(strange) <= own, f"{name}: no span without a request", strange[:20])
    for way in dict.fromkeys(f.way for f in fatal.values()):
        wrong = [word for path, f in fatal.items() if f.way == way for word in wrong_with(path, f, by_path[path])]
        tap.check(not wrong, f"{name}: {way}: the request that was being served is one span, with what ended it",
                  "\n".join(wrong[:20]))


def text_of(path):
    return pathlib.Path(path).read_text(errors="replace") if os.path.exists(path) else ""


def run(tap, target, options, group):
    """How many were killed, and how many requests answered."""
    name, fatal, load = target.name, {}, None
    rng = random.Random(f"{options.seed}-{name}")
    ways = {way: what for way, what in target.ways.items() if group or not what.in_cgroup}
    with workspace() as folder:
        os.chmod(folder, 0o755)  # for workers that give up root
        said = pathlib.Path(folder, "forkspan.log")
        said.touch()
        said.chmod(0o666)
        env = {"OTEL_LOG_LEVEL": "debug", "FORKSPAN_LOG": str(said), "OTEL_BSP_SCHEDULE_DELAY": "1000",
               "FORKSPAN_EXIT_FLUSH": "10000", "FORKSPAN_EXPORT": options.export}
        collector = Collector(options.collector, folder)
        server = None
        try:
            server = target.start(folder, options, collector.endpoint, env)
            load, began = Load(server.port), time.monotonic()
            try:
                kills = list(ways) * options.kills
                rng.shuffle(kills)
                for number, way in enumerate(kills):
                    cell(server, way, ways[way], number, rng, group, fatal)
            finally:
                load.stop()
            print(f"# {name}: {len(kills)} kills, {len(load.answered)} requests answered, {len(load.broken)} broken, "
                  f"requests in {time.monotonic() - began:.1f} s", flush=True)
            took = server.stop()
            tap.check(took is not None, f"{name}: stops", server.tail())
            until(lambda: not consumers(folder), "what sends for the server goes when that has gone")
            collector.stop()
            check(tap, name, load, fatal, collector.spans(), text_of(said), target.own)
        except Exception as error:
            tap.check(False, f"{name}: runs", f"{error!r}\n{server.tail() if server else ''}")
        finally:
            if server and server.process.poll() is None:
                server.kill()
            collector.stop()
    return len(fatal), len(load.answered) if load else 0


class Quiet(Tap):
    def check(self, good, name, why=""):
        self.failed += not good
        return good


class Books:
    answered = [f"/ok/0-{n}" for n in range(20)]
    broken = ["/ok/1-0"]


def self_test(tap):
    """The control: a check that finds nothing wrong in wrong books is no check."""
    fatal = {"/hang/0": Fatal("kill -9", "SIGKILL", 10**18, 10**18 + 10**9, 7, True),
             "/exit/1": Fatal("_exit", "exit 7", 10**18, 10**18 + 10**9)}

    def span(path, error=None):
        values = [{"key": "url.path", "value": {"stringValue": path}}, {"key": "url.scheme", "value": {"stringValue": "http"}},
                  {"key": "http.request.method", "value": {"stringValue": "GET"}}]
        values.append({"key": "error.type", "value": {"stringValue": error}} if error else
                      {"key": "http.response.status_code", "value": {"intValue": "200"}})
        return ({"process.pid": 7}, "", {}, {"spanId": f"{hash(path) & (1 << 64) - 1:016x}", "attributes": values,
                                             "startTimeUnixNano": str(10**18), "endTimeUnixNano": str(10**18 + 10**9),
                                             **({"status": {"code": 2}} if error else {})})

    def spoil(what, change, log=""):
        spans = [span(path) for path in Books.answered] + [span(path, fatal[path].type) for path in fatal]
        change(spans)
        quiet = Quiet()
        check(quiet, "", Books, fatal, spans, log)
        tap.check((quiet.failed > 0) == (what[0] == "!"), f"the kill matrix's control: {what.strip('!')}", quiet.failed)

    again = "1 spans of process 7 are sent again: process 8 began to and had no answer"
    spoil("right books are right", lambda spans: None)
    spoil("a counted re-send is right", lambda spans: spans.append(spans[3]), again)
    spoil("one that broke beside another that was killed is right", lambda spans: spans.append(span(Books.broken[0], "SIGKILL")))
    spoil("!a span lost is found", lambda spans: spans.pop(3))
    spoil("!a span twice is found", lambda spans: spans.append(spans[3]))
    spoil("!two spans of one request are found", lambda spans: spans.append((*spans[3][:3], dict(spans[3][3], spanId="1" * 16))), again)
    spoil("!a fatal request without a span is found", lambda spans: spans.pop(20))
    spoil("!a wrong signal is found", lambda spans: spans[20][3]["attributes"][-1].update(value={"stringValue": "SIGTERM"}))
    spoil("!a wrong signal of one that broke is found", lambda spans: spans.append(span(Books.broken[0], "SIGTERM")))
    spoil("!a wrong worker is found", lambda spans: spans[20][0].update({"process.pid": 8}))
    spoil("!a wrong end is found", lambda spans: spans[20][3].update(endTimeUnixNano=str(10**18 + 10**8)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector")
    parser.add_argument("--forkspan")
    parser.add_argument("--build", help="the folder of the programs of this one")
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
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(memory_cgroup(CGROUP_BYTES))
        except NoCgroup as why:
            group = None
            tap.skip("the kernel kills a worker for memory", why)
        done = []
        for target in TARGETS:
            missing = [file for file in target.needs if not os.path.exists(file)]
            if options.only not in target.name:
                continue
            if missing:
                tap.skip(f"{target.name}: kills", f"no {missing[0]}")
            else:
                done.append(run(tap, target, options, group))
        kills, answered = (sum(numbers) for numbers in zip(*done)) if done else (0, 0)
        print(f"# in all {kills} kills, beside {answered} requests in {len(done)} servers", flush=True)
    tap.end()


if __name__ == "__main__":
    main()
