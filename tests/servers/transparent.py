# SPDX-License-Identifier: Apache-2.0
"""What a gunicorn under forkspan shows to the outside is what it shows without.

transparent.py --forkspan COMMAND
"""
import argparse
import collections
import os
import pathlib
import re
import signal
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "export"))

from harness import Gunicorn, Tap, supports_control_socket, until, workspace  # noqa: E402
from raw import exchange  # noqa: E402
from sink import Sink  # noqa: E402

GET = b"GET /200/fixed/x HTTP/1.1\r\nHost: a\r\n\r\n"
EXIT_FLUSH = 1.0


def descriptors(pid):
    """Number and kind of each open file; names that differ from run to run are made the same."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        target = re.sub(r"\[\d+\]", "[]", target)
        found[int(number)] = re.sub(r"^/tmp/\S+/", "/tmp/", re.sub(r"wgunicorn-\S+|control-\S+", "X", target))
    return found


def sockets(pid):
    """The sockets with the numbers a server gives; the exporter's are above 200."""
    return {number for number, target in descriptors(pid).items() if target == "socket:[]" and number < 200}


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def signals(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(SigBlk|SigIgn|SigCgt|NoNewPrivs|Seccomp|Umask):\s+(\S+)", text, re.M))
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        # glibc takes 32 and 33 for itself as soon as a process has had a thread.
        found[name] = f"{int(found[name], 16) & ~(3 << 31):016x}"
    return found


def settled(gunicorn, wanted):
    if supports_control_socket():
        until(lambda: "Control socket listening" in gunicorn.text(), "the control socket")
    return until(lambda: len(pids := gunicorn.workers()) == wanted and pids, f"{wanted} workers")


class Silent:
    """A collector that is up and never answers; with accept=False it does not even take the connection."""

    def __init__(self, accept):
        self.server = socket.socket()
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(64 if accept else 0)
        self.endpoint = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.fillers = []
        if not accept:
            # A queue that is full: further connects stay unanswered, as behind a firewall that drops.
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(self.server.getsockname())
                self.fillers.append(filler)

    def stop(self):
        for each in (self.server, *self.fillers):
            each.close()


def refused():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def look(folder, arguments, requests, forkspan=None, endpoint=None):
    gunicorn = Gunicorn(folder, arguments, forkspan, endpoint, "transparent", {"OTEL_BSP_SCHEDULE_DELAY": "100"})
    try:
        settled(gunicorn, 2)
        before = (threads(gunicorn.master), descriptors(gunicorn.master))
        served = collections.Counter()
        for _ in range(requests):
            answer, _ = exchange(gunicorn.port, [GET])
            served[int(re.search(rb"X-Pid: (\d+)", answer)[1])] += 1
        master = (threads(gunicorn.master), descriptors(gunicorn.master), signals(gunicorn.master))
        worker = max(served, key=served.get)
        until(lambda: len(sockets(worker)) == 1, "the worker has closed its connections")
        if forkspan:
            until(lambda: any(number >= 200 for number in descriptors(worker)), "the worker's exporter has its connection")
        seen = (threads(worker), descriptors(worker), signals(worker))
        took = gunicorn.stop()
        return before, master, seen, took, gunicorn.process.returncode
    finally:
        gunicorn.kill()


def master_and_workers(tap, options):
    for server, arguments in {"sync --preload": ["--workers", "2", "--preload"],
                              "gthread": ["--worker-class", "gthread", "--workers", "2", "--threads", "1"]}.items():
        sink = Sink()
        with workspace() as one, workspace() as two:
            plain = look(one, arguments, 40)
            traced = look(two, arguments, 40, options.forkspan, sink.endpoint)
        sink.stop()
        for when, index in (("before the first request", 0), ("after 40 requests", 1)):
            tap.check(plain[index][0] == traced[index][0], f"{server}: the master has {plain[index][0]} threads {when}, as without",
                      f"without {plain[index][0]}, with {traced[index][0]}")
            tap.check(plain[index][1] == traced[index][1], f"{server}: the master has the files open it has without, {when}",
                      f"without {plain[index][1]}\nwith    {traced[index][1]}")
        tap.check(plain[1][2] == traced[1][2], f"{server}: the master's signals and limits are as without",
                  f"without {plain[1][2]}\nwith    {traced[1][2]}")
        tap.check(plain[2][2] == traced[2][2], f"{server}: a worker's signals are as without",
                  f"without {plain[2][2]}\nwith    {traced[2][2]}")
        tap.check(traced[2][0] == plain[2][0] + 1, f"{server}: a worker that serves has one thread more",
                  f"without {plain[2][0]}, with {traced[2][0]}")
        # Which of the workers served most decides about the order of its numbers, in both runs.
        own = {n: t for n, t in traced[2][1].items() if n < 200}
        extra = {n: t for n, t in traced[2][1].items() if n >= 200}
        tap.check(sorted(own) == sorted(plain[2][1]) and sorted(own.values()) == sorted(plain[2][1].values()),
                  f"{server}: a worker has the files and numbers it has without", f"{plain[2][1]}\n{own}")
        tap.check(1 <= len(extra) <= 3, f"{server}: and those of the exporter above 200 ({extra})", traced[2][1])
        tap.check(plain[4] == traced[4], f"{server}: exit status {plain[4]} as without", traced[4])


def exit_codes(tap, options):
    for name, number, app in (("SIGTERM", signal.SIGTERM, "app:application"), ("SIGINT", signal.SIGINT, "app:application"),
                              ("SIGQUIT", signal.SIGQUIT, "app:application"), ("SIGKILL", signal.SIGKILL, "app:application")):
        codes = []
        for forkspan in (None, options.forkspan):
            with workspace() as folder:
                gunicorn = Gunicorn(folder, ["--workers", "2"], forkspan, refused(), "exit", app=app)
                try:
                    settled(gunicorn, 2)
                    exchange(gunicorn.port, [GET])
                    # At the master itself, as a supervisor that knows its pid file would.
                    os.kill(gunicorn.master, number)
                    codes.append(gunicorn.process.wait(30))
                finally:
                    gunicorn.kill()
        # Seen through the command a death by signal is the command's own.
        tap.check(codes[0] == codes[1], f"a master that gets {name} ends with {codes[0]}, as without", codes)
    codes = []
    for forkspan in (None, options.forkspan):
        with workspace() as folder:
            try:
                gunicorn = Gunicorn(folder, ["--workers", "2", "--preload"], forkspan, refused(), "exit", app="no_such_module:app")
                gunicorn.kill()
                codes.append("it started")
            except RuntimeError as error:
                codes.append(re.search(r"ended with (-?\d+)", str(error))[1])
    tap.check(codes[0] == codes[1], f"an application that does not load ends with {codes[0]}, as without", codes)


def dead_collectors(tap, options):
    arguments = ["--workers", "2", "--preload"]

    def stop_time(forkspan=None, endpoint=None):
        with workspace() as folder:
            gunicorn = Gunicorn(folder, arguments, forkspan, endpoint, "dead")
            try:
                settled(gunicorn, 2)
                for _ in range(30):
                    answer, _ = exchange(gunicorn.port, [GET])
                    assert answer.startswith(b"HTTP/1.1 200"), answer
                return gunicorn.stop(), gunicorn.process.returncode, gunicorn.tail()
            finally:
                gunicorn.kill()

    without = min(stop_time()[0] for _ in range(2))
    silent, unreachable = Silent(True), Silent(False)
    for name, endpoint in (("refuses connections", refused()), ("accepts and never answers", silent.endpoint),
                           ("never accepts", unreachable.endpoint)):
        took, code, text = stop_time(options.forkspan, endpoint)
        # The workers leave together, then the master, which takes what they left: each for itself keeps the rule.
        tap.check(took is not None and took <= without + 2 * EXIT_FLUSH + 0.5 and code == 0,
                  f"a collector that {name}: gunicorn stops in {took if took is None else round(took, 2)} s, "
                  f"{without:.2f} s without", f"exit code {code}\n{text}")
    silent.stop()
    unreachable.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--forkspan", required=True)
    options = parser.parse_args()
    tap = Tap()
    for part in (master_and_workers, exit_codes, dead_collectors):
        try:
            part(tap, options)
        except Exception as error:
            tap.check(False, f"{part.__name__} runs", repr(error))
    tap.end()


main()
