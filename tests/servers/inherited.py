# SPDX-License-Identifier: Apache-2.0
"""A server that never calls listen(), because its socket was handed to it, as TAP: inherited.py --preload LIBRARY.

Its workers share an arena all the same: what a killed one had not sent, the other one sends.
"""
import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile

from harness import Tap, clean_environment, until, whole_lines

WORKERS = 2
EACH = 5


def serve(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            body = str(os.getpid()).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def master(fd):
    listener = socket.socket(fileno=fd)
    workers = []
    for _ in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            serve(listener)
        workers.append(pid)
    print(*workers, flush=True)
    for _ in workers:
        os.wait()


def ask(port, path):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        answer = b""
        while more := s.recv(4096):
            answer += more
    return int(answer.rsplit(b"\r\n\r\n", 1)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preload")
    parser.add_argument("--master", type=int)
    args = parser.parse_args()
    if args.master is not None:
        return master(args.master)
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        lines = os.path.join(folder, "lines")
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        env = clean_environment(LD_PRELOAD=os.path.abspath(args.preload), OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE=lines,
                                OTEL_BSP_SCHEDULE_DELAY="60000")
        server = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--master", str(listener.fileno())], env=env,
                                  pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True)
        try:
            killed, stays = map(int, server.stdout.readline().split())
            answered = {killed: [], stays: []}

            def enough():
                path = f"/{sum(map(len, answered.values()))}"
                answered[ask(port, path)].append(path)
                return min(map(len, answered.values())) >= EACH

            until(enough, "both workers answer", 30)
            os.kill(killed, signal.SIGKILL)
            os.kill(stays, signal.SIGTERM)
            tap.check(server.wait(30) == 0, "the server ends")
        finally:
            server.kill()
            server.wait()
        seen = {}
        for line in whole_lines(lines):
            for resource_spans in json.loads(line)["resourceSpans"]:
                for scope_spans in resource_spans["scopeSpans"]:
                    for span in scope_spans["spans"]:
                        path = next(a["value"]["stringValue"] for a in span["attributes"] if a["key"] == "url.path")
                        seen[path] = seen.get(path, 0) + 1
        for pid, what in ((stays, "that stayed"), (killed, "that was killed")):
            missing = [path for path in answered[pid] if seen.get(path) != 1]
            tap.check(not missing, f"each span of the worker {what} arrives once ({len(answered[pid])})", missing)
    tap.end()


main()
