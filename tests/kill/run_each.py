# SPDX-License-Identifier: Apache-2.0
"""Servers that make a process for each request, with a real Collector and default settings, as TAP.

run_each.py --collector OTELCOL --forkspan COMMAND --preload LIBRARY --each PROGRAM [--requests N] [--only REGEX]

However the process is made and however it leaves: each request is exactly one span at the Collector, the master gets
no thread, and nothing hangs that does not hang without forkspan, too. 84 cells with nothing but the preload, some of
them once more by `forkspan run` and with FORKSPAN_EXPORT=process.
"""
import argparse
import collections
import os
import pathlib
import re
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Collector, Tap, attributes, clean_environment, consumers, fetch, until, workspace  # noqa: E402

HOW = ("fork", "_Fork", "clone", "raw-clone", "clone3", "double", "thread")
LEAVE = ("exit", "_exit", "kill", "abort", "exec", "return")
BUSY = (0, 3)
# Each way to make one and each way to leave, once without and once beside threads.
SOME = [(how, LEAVE[(i + busy) % len(LEAVE)], busy) for busy in BUSY for i, how in enumerate(HOW)]
CELLS = [("preload", *cell) for cell in ((how, leave, busy) for how in HOW for leave in LEAVE for busy in BUSY)] + \
        [(home, *cell) for home in ("run", "process") for cell in SOME]
# A process that ends does so within milliseconds; on a machine that has something else to do, later.
HANGS_S = 5


def living(group):
    """pids of a process group."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, its = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(its) == group and state not in "ZX":
            found.append(int(pid))
    return found


class Each:
    def __init__(self, options, cell, folder, command=(), **env):
        self.said = os.path.join(folder, "said")
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen([*command, options.each, *map(str, cell)], stdout=subprocess.PIPE, stderr=said,
                                            text=True, env=clean_environment(**env), start_new_session=True)
        self.port, self.pid = map(int, self.process.stdout.readline().split())

    def get(self, path):
        fetch(self.port, path)

    def threads(self, wanted):
        """How many it has; one that was joined may be there for a moment."""
        def count():
            return len(os.listdir(f"/proc/{self.pid}/task"))
        try:
            until(lambda: count() == wanted, "the threads are its own", 5)
        except TimeoutError:
            pass
        return count()

    def stop(self):
        """How many processes hang: they are left when the others have gone. The master leaves last, as one that waits for its
        children would."""
        def left():
            return set(living(self.process.pid)) - {self.process.pid, self.pid}
        try:
            until(lambda: not left(), "no child is left", HANGS_S)
        except TimeoutError:
            pass
        hung = len(left())
        os.kill(self.pid, signal.SIGTERM)
        self.process.wait(60)
        return hung

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()

    def text(self):
        return pathlib.Path(self.said).read_text(errors="replace")


def hang_without(options, cell, folder):
    """How many of the same cell hang; it is chance, so more than once where none does."""
    for _ in range(4):
        server = Each(options, cell, folder)
        try:
            for i in range(options.requests):
                server.get(f"/{i}")
            hung = server.stop()
        finally:
            server.kill()
        if hung:
            return hung
    return 0


def name_of(cell):
    home, how, leave, busy = cell
    return f"{home}: {how}, {leave}, {busy} busy threads"


def run(options, cell, collector, folder, mark):
    """(threads of the master, hangs, what was said)"""
    home, *cell = cell
    command, env = (), {"OTEL_RESOURCE_ATTRIBUTES": f"mark={mark}", "OTEL_SERVICE_NAME": "each",
                        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    if home == "run":
        command = [options.forkspan, "run", "--"]
    else:
        env["LD_PRELOAD"] = os.path.abspath(options.preload)
    if home == "process":
        env["FORKSPAN_EXPORT"] = "process"
    server = Each(options, cell, folder, command, **env)
    try:
        for i in range(options.requests):
            server.get(f"/{home}-{'-'.join(map(str, cell))}/{i}")
        return server.threads(1 + cell[2]), server.stop(), server.text()
    finally:
        server.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector", required=True)
    parser.add_argument("--forkspan", required=True)
    parser.add_argument("--preload", required=True)
    parser.add_argument("--each", required=True)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    tap = Tap()
    with workspace() as folder:
        mark = os.path.basename(folder)
        collector = Collector(options.collector, folder)
        ran = {}
        try:
            for cell in CELLS:
                if re.search(options.only, name_of(cell)):
                    try:
                        ran[cell] = run(options, cell, collector, folder, mark)
                    except Exception as error:
                        ran[cell] = (1 + cell[3], 0, f"{error!r}")
            until(lambda: not consumers(mark), "what sends for them goes when they have gone", 60)
        finally:
            collector.stop()
        found = collections.Counter(attributes(span).get("url.path") for _, _, _, span in collector.spans())
        for cell, (threads, hung, said) in ran.items():
            name, prefix = name_of(cell), f"/{'-'.join(map(str, cell))}/"
            wrong = {i: found[f"{prefix}{i}"] for i in range(options.requests) if found[f"{prefix}{i}"] != 1}
            tap.check(not wrong, f"{name}: each of {options.requests} requests is one span", f"{wrong}\n{said}")
            tap.check(threads == 1 + cell[3], f"{name}: no thread in the master", threads)
            without = hang_without(options, cell[1:], folder) if hung else 0
            tap.check(without or not hung, f"{name}: {hung or 'nothing'} hangs" + (f", and {without} without forkspan" if hung else ""), said)
            tap.check("forkspan:" not in said, f"{name}: nothing to complain of", said)
    tap.end()


main()
