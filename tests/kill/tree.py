# SPDX-License-Identifier: Apache-2.0
"""Whole trees die under load, whoever sends for them included, with the arena in a file and a real Collector, as TAP.

tree.py --collector OTELCOL --forkspan COMMAND --prefork PROGRAM [--rounds N] [--down SECONDS] [--only SERVER] [--seed N]

After a start on the same file every request that was answered in full is exactly one span; what came twice is in a
counted re-send.
"""
import argparse
import collections
import os
import pathlib
import random
import re
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
sys.path.insert(0, str(HERE))
from harness import Collector, Gunicorn, Tap, attributes, children, commands, fetch_unless_broken, gone, sent_again, until, workspace  # noqa: E402
from matrix import Load, text_of  # noqa: E402
from targets import Printed  # noqa: E402


class Case:
    """A file, a log, one Collector after the other on one port, and all that was asked."""

    def __init__(self, name, folder, options, in_file=True):
        self.name, self.folder, self.options = name, folder, options
        self.arena, self.log = os.path.join(folder, "arena"), os.path.join(folder, "forkspan.log")
        self.answered, self.broken, self.collectors, self.servers, self.loads = [], [], [], [], []
        self.port, self.in_file = None, in_file
        self.collector()

    def collector(self):
        place = os.path.join(self.folder, f"collector-{len(self.collectors)}")
        os.mkdir(place)
        self.collectors.append(Collector(self.options.collector, place, self.port))
        self.port = self.collectors[-1].port

    def start(self):
        env = {"OTEL_LOG_LEVEL": "debug", "FORKSPAN_LOG": self.log, "FORKSPAN_EXIT_FLUSH": "20000",
               "OTEL_BSP_SCHEDULE_DELAY": "300", "OTEL_EXPORTER_OTLP_TIMEOUT": "3000", "FORKSPAN_WORKERS": "32"}
        if self.in_file:
            env["FORKSPAN_ARENA"] = self.arena
        endpoint = self.collectors[-1].endpoint
        place = os.path.join(self.folder, f"server-{len(self.servers)}")
        os.mkdir(place)
        if self.name.startswith("gunicorn"):
            server = Gunicorn(place, ["--chdir", str(HERE), "-w", "4"], self.options.forkspan, endpoint, "tree", env,
                              "victim:application")
        else:
            server = Printed(place, [self.options.prefork, "4"], self.options.forkspan, endpoint, env)
        self.servers.append(server)
        return server

    def load(self, server):
        number = len(self.loads)
        load = Load(server.port)
        self.loads.append((f"{number}", load))
        return load

    def consumers(self):
        return commands(lambda words: b"export" in words and self.arena.encode() in words)

    def kill(self, server):
        """forkspan run, the master, its workers and whoever sends: all at once, as far as a loop can."""
        pids = [server.process.pid, server.master, *children(server.master), *self.consumers()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        server.kill()
        for pid in self.consumers():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not self.consumers() and all(map(gone, pids)), "all of the tree is dead")

    def settle(self):
        for _, load in self.loads:
            load.stop()

    def stop(self):
        until(lambda: not self.consumers(), "every consumer goes by itself", 30)
        for collector in self.collectors:
            collector.stop()

    def end(self):
        self.settle()
        for server in self.servers:
            if server.process.poll() is None:
                server.kill()
        for pid in self.consumers():
            os.kill(pid, signal.SIGKILL)
        for collector in self.collectors:
            collector.stop()


def count(case):
    """(how many of each path were answered, and the spans of each)."""
    answered, asked = collections.Counter(case.answered), collections.Counter(case.answered + case.broken)
    for _, load in case.loads:  # the same paths in each
        answered.update(load.answered)
        asked.update(load.answered + load.broken)
    spans, twice = collections.Counter(), 0
    ids = set()
    for collector in case.collectors:
        for _, _, _, span in collector.spans():
            if span["spanId"] in ids:
                twice += 1
                continue
            ids.add(span["spanId"])
            spans[attributes(span).get("url.path")] += 1
    return answered, asked, spans, twice


def check(tap, what, case):
    answered, asked, spans, twice = count(case)
    again = sum(n for n, _ in sent_again(text_of(case.log)))
    lost = [path for path in answered if spans[path] < answered[path]]
    more = [path for path in spans if spans[path] > asked[path]]
    if not case.in_file:
        tap.check(sum(answered.values()) > 100 and lost, f"{case.name}: control: in memory, {what}, spans are lost", len(lost))
        return
    print(f"# {case.name}: {what}: {sum(answered.values())} requests answered, {again} spans sent again", flush=True)
    tap.check(sum(answered.values()) > 100 and not lost, f"{case.name}: {what}: no finished span is lost",
              f"{len(lost)}: {lost[:20]}\n{text_of(case.log)[-3000:]}")
    tap.check(not more and twice <= again, f"{case.name}: {what}: each comes once, or is in a counted re-send ({twice} of {again})",
              f"{more[:20]} {twice} {again}")


def killed(case, rng):
    """The tree dies while its Collector is there."""
    server = case.start()
    for _ in range(case.options.rounds):
        load = case.load(server)
        until(lambda: len(load.answered) > 150, "the server is at work")
        time.sleep(rng.random() * 0.6)  # at some moment of the 300 ms between two batches
        case.kill(server)
        load.stop()
        server = case.start()
    leave(case, server)
    return "the whole tree is killed under load, then a start"


def receiver_down(case, rng):
    """The Collector goes first, then the tree; both come back, the tree first."""
    server = case.start()
    load = case.load(server)
    until(lambda: len(load.answered) > 150, "the server is at work")
    case.collectors[-1].stop()
    was = len(load.answered)
    until(lambda: len(load.answered) > was + 150, "and goes on without it")
    time.sleep(rng.random() * 0.3)  # as above
    case.kill(server)
    load.stop()
    before = text_of(case.log).count("kept for later")
    server = case.start()
    for n in range(40):
        path = f"/ok/down-{n}"
        (case.broken if fetch_unless_broken(server.port, path) is None else case.answered).append(path)
    until(lambda: text_of(case.log).count("kept for later") > before, "it has tried, and keeps what it has", 30)
    time.sleep(case.options.down)  # what is asked for is a time
    case.collector()
    leave(case, server)
    return f"the same with the Collector down meanwhile ({case.options.down} s more)"


def upgraded(case, rng):
    """gunicorn's USR2: two masters share the file; then the old tree is killed."""
    server = case.start()
    load = case.load(server)
    until(lambda: len(load.answered) > 100, "the server is at work")
    os.kill(server.master, signal.SIGUSR2)
    successor = int(until(lambda: re.findall(r"Listening at: \S+ \((\d+)\)", server.text())[1:], "the new master listens")[0])
    until(lambda: len(children(successor)) >= 4, "the new master has workers")
    was = len(load.answered)
    until(lambda: len(load.answered) > was + 100, "both are at work")
    shared = [any(case.arena in line for line in open(f"/proc/{pid}/maps")) for pid in (server.master, successor)]
    time.sleep(rng.random() * 0.3)  # as above
    for pid in [server.process.pid, server.master, *(p for p in children(server.master) if p != successor)]:
        os.kill(pid, signal.SIGKILL)
    was = len(load.answered)
    until(lambda: len(load.answered) > was + 50, "the new tree goes on")
    load.stop()
    os.kill(successor, signal.SIGTERM)
    until(lambda: gone(successor), "the new master has left")
    server.process.wait(30)
    case.stop()
    return "two masters share the file (USR2) and one tree is killed" if all(shared) else f"they do not share it: {shared}"


def leave(case, server):
    server.stop()
    case.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector")
    parser.add_argument("--forkspan")
    parser.add_argument("--prefork")
    parser.add_argument("--rounds", type=int, default=1, help="deaths in a row on one file")
    parser.add_argument("--down", type=float, default=0, help="seconds that the Collector stays away")
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    tap = Tap()
    print(f"# seed {options.seed}", flush=True)
    cases = (("prefork", killed, False), ("prefork", killed, True), ("prefork", receiver_down, True),
             ("gunicorn", killed, True), ("gunicorn", receiver_down, True), ("gunicorn", upgraded, True))
    for name, way, in_file in cases:
        if options.only in name:
            with workspace() as folder:
                case = Case(name, os.path.realpath(folder), options, in_file)
                try:
                    check(tap, way(case, random.Random(f"{options.seed}-{name}-{way.__name__}")), case)
                except Exception as error:
                    tap.check(False, f"{name}: {way.__name__}: runs",
                              f"{error!r}\n{case.servers[-1].text()[-2000:] if case.servers else ''}\n{text_of(case.log)[-2000:]}")
                finally:
                    case.end()
    tap.end()


main()
