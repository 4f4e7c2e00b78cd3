# SPDX-License-Identifier: Apache-2.0
"""A worker died in the middle of a request, and its master looks only when it has told the others to stop: the last of
those waits a while for the news, as TAP. run_late.py PREFORK PRELOAD"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Tap, attributes, children, clean_environment, fetch_unless_broken, gone, until, whole_lines  # noqa: E402

prefork, preload = map(os.path.abspath, sys.argv[1:3])


def spans(lines):
    return {attributes(span).get("url.path"): attributes(span) for line in whole_lines(lines)
            for rs in json.loads(line)["resourceSpans"] for ss in rs["scopeSpans"] for span in ss["spans"]}


tap = Tap()
for patience, wanted in ((20000, "exit 7"), (400, "_OTHER")):
    with tempfile.TemporaryDirectory() as folder:
        lines = os.path.join(folder, "lines")
        env = clean_environment(LD_PRELOAD=preload, OTEL_SERVICE_NAME="late", OTEL_TRACES_EXPORTER="otlp/stdout",
                                FORKSPAN_FILE=lines, OTEL_BSP_SCHEDULE_DELAY="60000", FORKSPAN_EXIT_FLUSH=str(patience))
        process = subprocess.Popen([prefork, "2", "late"], env=env, stdout=subprocess.PIPE, text=True)
        port, master = map(int, process.stdout.readline().split())
        workers = children(master)
        fetch_unless_broken(port, "/exit/0")
        dead = until(lambda: [pid for pid in workers if gone(pid)], "a worker has died")
        answered = fetch_unless_broken(port, "/ok/1")
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        process.stdout.close()
        found = spans(lines)
        tap.check(len(dead) == 1 and answered and code == 0, f"{patience} ms: one worker dies, the other answers", (dead, answered, code))
        tap.check(found.get("/exit/0", {}).get("error.type") == wanted and "/ok/1" in found,
                  f"FORKSPAN_EXIT_FLUSH={patience}: the request that ended its worker says {wanted}", found)
tap.end()
