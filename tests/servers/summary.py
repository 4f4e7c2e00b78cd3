# SPDX-License-Identifier: Apache-2.0
"""What forkspan run says at its end, as TAP: summary.py --collector BINARY --forkspan COMMAND --prefork BINARY

Held against the requests sent, gunicorn's processes, and the spans at the Collector.
"""
import argparse
import json
import math
import os
import pty
import re
import signal
import socket
import subprocess
import sys

from harness import Collector, Gunicorn, Tap, attributes, clean_environment, fetch, until, workspace

parser = argparse.ArgumentParser()
parser.add_argument("--collector", required=True)
parser.add_argument("--forkspan", required=True)
parser.add_argument("--prefork", required=True)
options = parser.parse_args()
forkspan, prefork = map(os.path.abspath, (options.forkspan, options.prefork))
tap = Tap()
ANSWERED = re.compile(r"^forkspan: (\d+) requests?, (\d+) errors?; p50 ([\d.]+) (m?s), p95 ([\d.]+) (m?s), p99 ([\d.]+) (m?s)$", re.M)
SENT = re.compile(r"^forkspan: (\d+) spans exported, (\d+) dropped, (\d+) failed, (\d+) batches sent again; "
                  r"(\d+) workers?, (\d+) swept, (\d+) forks?$", re.M)


def get(port, path):
    answer = fetch(port, path, {"Connection": "close"})
    pid = answer.headers["X-Pid"]
    return answer.status, pid and int(pid)


def quantile(durations, which):
    return sorted(durations)[math.ceil(which * len(durations)) - 1]


def of_gunicorn(folder, collector):
    server = Gunicorn(folder, ["-w", "3"], forkspan, collector.endpoint, run=["--summary"],
                      env={"OTEL_TRACES_SAMPLER": "always_on", "FORKSPAN_EXCLUDE": "/200/fixed/health"})
    seen = set()
    sent = 0
    while len(seen) < 3 or sent < 300:
        seen.add(get(server.port, f"/200/fixed/{sent}")[1])
        sent += 1
    bad = [get(server.port, f"/{code}/fixed/bad")[0] for code in (500, 500, 503, 404)]
    health = [get(server.port, "/200/fixed/health")[0] for _ in range(20)]
    slow = socket.create_connection(("127.0.0.1", server.port), 30)
    slow.sendall(b"POST /200/fixed/killed HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")

    def reader():
        done = subprocess.run([forkspan, "status", "--json", "--interval", "0"], env=clean_environment(), capture_output=True, text=True)
        return [p["pid"] for arena in json.loads(done.stdout)["arenas"] for p in arena["processes"]
                for r in p["requests"] if r["path"] == "/200/fixed/killed"]

    os.kill(until(reader, "a worker reads it")[0], signal.SIGKILL)
    until(lambda: not seen >= set(server.workers()) and len(server.workers()) == 3, "gunicorn has replaced it")
    while seen >= {get(server.port, "/200/fixed/more")[1]}:
        sent += 1
    sent += 1
    server.stop()
    slow.close()
    collector.stop()
    text = server.text()
    answered, said = ANSWERED.search(text), SENT.search(text)
    tap.check(answered and said and text.endswith(said[0] + "\n"), "gunicorn: two lines, the last of all", text)
    if not (answered and said):
        return
    requests, errors = sent + len(bad) + len(health) + 1, 3 + 1
    tap.check((int(answered[1]), int(answered[2])) == (requests, errors),
              f"{requests} requests, those without a span too; {errors} errors: 5xx, and the one that died with its worker", answered[0])
    spans = [span for *_, span in collector.spans()]
    exported, dropped, failed, again, workers, swept, forks = map(int, said.groups())
    tap.check(exported == len(spans) == requests - len(health) and (dropped, failed, again) == (0, 0, 0),
              f"{exported} spans exported: the Collector has as many", f"{said[0]} {len(spans)}")
    tap.check((workers, forks) == (4, 4) and 1 <= swept <= 4, "four workers served, one after the other's death; four forks", said[0])
    durations = [(int(s["endTimeUnixNano"]) - int(s["startTimeUnixNano"])) / 1e9 for s in spans
                 if attributes(s).get("url.path") != "/200/fixed/killed"]
    for n, which in ((3, 0.5), (5, 0.95)):
        told = float(answered[n]) / (1000 if answered[n + 1] == "ms" else 1)
        # the requests without a span are among those it tells of: 20 quick ones of 330
        low, high = quantile(durations, which - 0.07), quantile(durations, min(1, which + 0.07))
        tap.check(low * 0.92 - 1e-5 <= told <= high * 1.08 + 1e-5, f"p{which * 100:.0f} is that of the spans' own times ({told * 1000:.2f} ms)",
                  (low, told, high))


def shown(arguments, terminal, request=True):
    """What comes on standard error of a server that answers one request."""
    leader, follower = pty.openpty() if terminal else os.pipe()
    command = [forkspan, "run", "--endpoint", "http://127.0.0.1:1", *arguments, "--", prefork, "2"]
    done = subprocess.Popen(command, env=clean_environment(FORKSPAN_EXIT_FLUSH="100", FORKSPAN_LOG="/dev/null"), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=follower, text=True, start_new_session=True)
    os.close(follower)
    port, pid = map(int, done.stdout.readline().split())
    if request:
        get(port, "/ok")
    os.kill(pid, signal.SIGTERM)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # a terminal without anybody on the other side
            break
        if not piece:
            break
        text += piece
    done.wait(30)
    os.close(leader)
    return text.decode().replace("\r\n", "\n")


def when():
    for arguments, terminal, request, wanted, what in (
            ((), True, True, True, "on a terminal"), ((), False, True, False, "into a pipe: none"),
            (("--summary",), False, True, True, "into a pipe, asked for"), (("--no-summary",), True, True, False, "--no-summary: none"),
            ((), True, False, False, "nothing was served: none")):
        text = shown(arguments, terminal, request)
        tap.check(bool(SENT.search(text)) == wanted, f"the summary {what}", text)


with workspace() as place:
    the_collector = Collector(options.collector, place)
    try:
        of_gunicorn(place, the_collector)
    finally:
        the_collector.stop()
    when()
tap.end()
