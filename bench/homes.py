# SPDX-License-Identifier: Apache-2.0
"""The two homes of who sends, side by side: FORKSPAN_EXPORT=thread and process, and a server without either.

A turn ends when each span of it has arrived, and its CPU is that of all threads of the server and of the process that sends
for it: so a span's cost has its export in it.
"""
import os
import pathlib
import statistics
import time

import servers

HOMES = ("none", "thread", "process")
CONNECTIONS = 4


def senders(mark):
    """Processes of ours that send for the server with `mark` in its environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[1:2] == [b"export"] and mark.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found


def pss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"no Pss of {pid}")


class Home(servers.Server):
    def __init__(self, home, folder, preload, endpoint):
        self.mark = f"home={home}"
        env = {} if home == "none" else {"FORKSPAN_EXPORT": home, "OTEL_RESOURCE_ATTRIBUTES": self.mark, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        super().__init__("gunicorn", "none" if home == "none" else "preload", folder, preload, endpoint, env)
        self.home = home

    def workers(self):
        return list(map(int, pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()))

    def cpu(self):
        return super().cpu() + sum(int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in senders(self.mark))

    def seen(self):
        """What can be counted in its processes: median over the workers."""
        def middle(count):
            return statistics.median(count(pid) for pid in self.workers())
        return {"threads": middle(lambda pid: len(os.listdir(f"/proc/{pid}/task"))), "fds": middle(lambda pid: len(os.listdir(f"/proc/{pid}/fd"))),
                "pss_kib": middle(pss_kib), "master_threads": len(os.listdir(f"/proc/{self.process.pid}/task")),
                "sender_kib": sum(map(pss_kib, senders(self.mark)))}


def turn(server, sink, seconds):
    """Microseconds of CPU a request, each span exported."""
    cpu, spans = server.cpu(), sink.spans()
    requests = server.load(seconds, CONNECTIONS)
    deadline = time.monotonic() + 30
    while server.home != "none" and sink.spans() - spans < requests:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{sink.spans() - spans} spans of {requests} requests arrived")
        time.sleep(0.05)  # the clock of what is measured does not count it
    return (server.cpu() - cpu) / requests / 1000


def measure(folder, preload, sink, rounds, seconds, rng):
    """(microseconds a request in each round, what can be seen) of each home."""
    running = []
    try:
        for home in HOMES:
            place = os.path.join(folder, home)
            os.mkdir(place)
            running.append(Home(home, place, preload, sink.endpoint))
        took = {home: [] for home in HOMES}
        for number in range(rounds + 1):
            for server in rng.sample(running, len(running)):
                cost = turn(server, sink, seconds)
                if number:  # the first warms up
                    took[server.home].append(cost)
        return took, {server.home: server.seen() for server in running}
    finally:
        for server in running:
            server.stop()
