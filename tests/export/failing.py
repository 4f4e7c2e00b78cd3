# SPDX-License-Identifier: Apache-2.0
"""A receiver that refuses everything, and is well again, as TAP.

failing.py --build DIRECTORY

Beside it: a server with a process for each request, whose dead would keep all places while it fails; and workers whose
OTEL_BSP_SCHEDULE_DELAY is longer than the pause that such a receiver is given.
"""
import argparse
import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Tap, clean_environment, consumers, fetch, until, workspace  # noqa: E402
from receivers import Http  # noqa: E402

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--build", required=True)
BUILD = os.path.abspath(parser.parse_args().build)
tap = Tap()


class Fickle(Http):
    """Counts the paths of what it takes."""

    def __init__(self):
        super().__init__(self.answer_as_it_is)
        self.well, self.refused, self.paths = False, 0, collections.Counter()

    def answer_as_it_is(self, request):
        if not self.well:
            self.refused += 1
            return 400, {}, b""
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.paths.update(a.value.string_value for a in span.attributes if a.key == "url.path")
        return self.fine(request)


class Server:
    def __init__(self, folder, program, receiver, **env):
        self.said = os.path.join(folder, "said")
        self.env = clean_environment(OTEL_SERVICE_NAME="failing", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, MARK=folder, **env)
        with open(self.said, "ab") as said:
            self.process = subprocess.Popen([f"{BUILD}/tests/kill/{program[0]}", *program[1:]], stdout=subprocess.PIPE, stderr=said, text=True,
                                            env=dict(self.env, LD_PRELOAD=f"{BUILD}/shim/libforkspan.so"), start_new_session=True)
        self.port, self.pid = map(int, self.process.stdout.readline().split())
        self.folder = folder

    def get(self, path):
        fetch(self.port, path)

    def arena(self):
        """What `forkspan status` says of it."""
        done = subprocess.run([f"{BUILD}/cli/forkspan", "status", "--json", "--interval", "0"], env=self.env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return next(arena for arena in json.loads(done.stdout)["arenas"] if arena["maker_pid"] == self.pid)

    def dead(self):
        return sum(process["state"] == "dead" for process in self.arena()["processes"])

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)
        self.process.stdout.close()
        until(lambda: not consumers(self.folder), "what sends for it goes", 60)

    def text(self):
        return pathlib.Path(self.said).read_text(errors="replace")


def crowded(folder):
    what = "a process for each request, FORKSPAN_EXPORT=process, a receiver that refuses"
    receiver = Fickle()
    server = Server(folder, ("each", "fork", "kill", "0"), receiver, FORKSPAN_EXPORT="process", FORKSPAN_WORKERS="30")
    late, begun = [f"/well/{i}" for i in range(5)], time.monotonic()
    try:
        try:
            for turn in range(8):
                for i in range(14):
                    server.get(f"/ill/{turn}/{i}")
                until(lambda: server.dead() <= 15, "half of the places are not the dead's")
            why = ""
        except TimeoutError as error:
            why = error
        arena = server.arena()
        tap.check(not why and arena["without_slot"] == 0, f"{what}: each process finds a place", f"{why}\n{arena}\n{server.text()}")
        most = 10 + 4 * (time.monotonic() - begun) // 5
        tap.check(receiver.refused <= most, f"{what}: and it is not asked for each of them", f"{receiver.refused}, at most {most}")
        receiver.well = True
        probes = 0
        while not receiver.paths:  # it is not asked at once, and what dies before may be let go
            server.get(f"/probe/{probes}")
            probes += 1
            until(lambda: server.dead() <= 10 or receiver.paths, "there is room")
        for path in late:
            server.get(path)
        until(lambda: all(receiver.paths[path] for path in late), "what ends when it is well again arrives")
        totals = until(lambda: (lambda t: t if t["exported"] + t["failed"] == t["started"] else None)(server.arena()["totals"]), "every span is counted")
        once = all(n == 1 for n in receiver.paths.values())
        tap.check(once and totals["started"] == 8 * 14 + probes + 5 and totals["exported"] == len(receiver.paths), f"{what}: then it gets each span once, and all are counted",
                  f"{totals}\n{receiver.paths}")
    except TimeoutError as error:
        tap.check(False, f"{what}: {error}", f"{server.arena()}\n{receiver.paths}\n{server.text()}")
    finally:
        server.stop()
        receiver.stop()


def longer_delay(folder, export):
    what = f"FORKSPAN_EXPORT={export}, OTEL_BSP_SCHEDULE_DELAY of a minute"
    receiver = Fickle()
    server = Server(folder, ("prefork", "1"), receiver, FORKSPAN_EXPORT=export, OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8")
    sent = [f"/ok/{i}" for i in range(48)]
    try:
        for path in sent:
            server.get(path)
        until(lambda: receiver.refused >= 3, "three batches are refused")
        receiver.well = True
        kept = len(sent) - 8 * receiver.refused
        until(lambda: len(receiver.paths) >= kept, "it is tried again", 20)
        tap.check(kept > 0, f"{what}: a receiver that refused is tried again within seconds", f"{receiver.refused} batches refused")
    except TimeoutError as error:
        tap.check(False, f"{what}: {error}", f"{receiver.refused} refused, {receiver.paths}\n{server.text()}")
    finally:
        server.stop()
        receiver.stop()


with workspace() as workplace:
    crowded(workplace)
    for home in ("thread", "process"):
        longer_delay(workplace, home)
tap.end()
