# SPDX-License-Identifier: Apache-2.0
"""Servers that make a process for each request, with a real Collector and default settings, as TAP.

run_each.py --collector OTELCOL --forkspan COMMAND --each PROGRAM [--requests N] [--all] [--only REGEX]

However the process is made and however it leaves: each request is exactly one span at the Collector, the master gets
no thread, and nothing hangs that does not hang without forkspan, too.
"""
import argparse
import collections
import http.client
import os
import pathlib
import re
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Collector, Tap, attributes, clean_environment, consumers, until, workspace  # noqa: E402

HOW = ("fork", "_Fork", "clone", "raw-clone", "clone3", "double", "thread")
LEAVE = ("exit", "_exit", "kill", "abort", "exec", "return")
BUSY = (0, 3)
# Each way to make one and each way to leave, once without and once beside threads.
SHORT = [(how, LEAVE[(i + busy) % len(LEAVE)], busy) for busy in BUSY for i, how in enumerate(HOW)]


class Each:
    def __init__(self, options, cell, command=(), **env):
        self.process = subprocess.Popen([*command, options.each, *map(str, cell)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=clean_environment(**env), start_new_session=True)
        self.port, self.pid = map(int, self.process.stdout.readline().split())

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()

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
        """How many processes hung, and what was said."""
        os.kill(self.pid, signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def hangs_without(options, cell):
    server = Each(options, cell)
    try:
        for i in range(options.requests):
            server.get(f"/{i}")
        return server.stop()[0]
    finally:
        server.kill()


def name_of(cell):
    how, leave, busy = cell
    return f"{how}, {leave}, {busy} busy threads"


def run(options, cell, collector, mark):
    """(threads of the master, hangs, what was said)"""
    server = Each(options, cell, [options.forkspan, "run", "--service", "each", "--endpoint", collector.endpoint, "--"],
                  OTEL_RESOURCE_ATTRIBUTES=f"mark={mark}")
    try:
        for i in range(options.requests):
            server.get(f"/{'-'.join(map(str, cell))}/{i}")
        threads = server.threads(1 + cell[2])
        hung, said = server.stop()
        return threads, hung, said
    finally:
        server.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector", required=True)
    parser.add_argument("--forkspan", required=True)
    parser.add_argument("--each", required=True)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--all", action="store_true", help="every cell, not one of each kind")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    tap = Tap()
    cells = [(how, leave, busy) for how in HOW for leave in LEAVE for busy in BUSY] if options.all else SHORT
    with workspace() as folder:
        mark = os.path.basename(folder)
        collector = Collector(options.collector, folder)
        ran = {}
        try:
            for cell in cells:
                if re.search(options.only, name_of(cell)):
                    try:
                        ran[cell] = run(options, cell, collector, mark)
                    except Exception as error:
                        ran[cell] = (1 + cell[2], 0, f"{error!r}")
            until(lambda: not consumers(mark), "what sends for them goes when they have gone", 60)
        finally:
            collector.stop()
        found = collections.Counter(attributes(span).get("url.path") for _, _, _, span in collector.spans())
    for cell, (threads, hung, said) in ran.items():
        prefix = f"/{'-'.join(map(str, cell))}/"
        wrong = {i: found[f"{prefix}{i}"] for i in range(options.requests) if found[f"{prefix}{i}"] != 1}
        tap.check(not wrong, f"{name_of(cell)}: each of {options.requests} requests is one span", f"{wrong}\n{said}")
        tap.check(threads == 1 + cell[2], f"{name_of(cell)}: no thread in the master", threads)
        if hung:
            without = hangs_without(options, cell)
            tap.check(without, f"{name_of(cell)}: {hung} hang, and {without} without forkspan", said)
        else:
            tap.check(True, f"{name_of(cell)}: nothing hangs")
        tap.check("forkspan:" not in said, f"{name_of(cell)}: nothing to complain of", said)
    tap.end()


main()
