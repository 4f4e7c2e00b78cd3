# SPDX-License-Identifier: Apache-2.0
"""The first request of a process is read in a signal handler that interrupted malloc, as TAP.

handler_read.py PROGRAM LIBFORKSPAN

No thread may be started there; the next request, read in ordinary code, starts it.
"""
import collections
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))

from harness import Tap, clean_environment  # noqa: E402
from receiver import Receiver  # noqa: E402

WORKERS = 25


def main():
    program, preload = map(os.path.abspath, sys.argv[1:3])
    tap = Tap()
    control = subprocess.run([program, "40", "control"], capture_output=True, text=True, timeout=120, env=clean_environment())
    tap.check("hung 1" in control.stdout, "control: a thread started in the handler hangs a worker",
              (control.returncode, control.stdout, control.stderr))
    for what in ("read", "accept"):
        receiver = Receiver()
        env = clean_environment(LD_PRELOAD=preload, OTEL_SERVICE_NAME="handler", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                                OTEL_BSP_SCHEDULE_DELAY="100", FORKSPAN_STACKS="1")
        run = subprocess.run([program, str(WORKERS), what], capture_output=True, text=True, timeout=240, env=env)
        said = f"status {run.returncode}: {run.stdout} {run.stderr[-6000:]}"
        tap.check(f"workers {WORKERS} hung 0" in run.stdout, f"{what}: no worker hangs", said)
        tap.check(f"helped {WORKERS}" in run.stdout, f"{what}: each has its batch thread after the next request", said)
        ids = collections.Counter(span_id for _, span_id, _ in receiver.spans)
        tap.check(len(receiver.spans) == len(ids) == 2 * WORKERS, f"{what}: both requests of each worker are a span, once",
                  f"{len(receiver.spans)} spans, {len(ids)} ids; {said}")
    tap.end()


main()
