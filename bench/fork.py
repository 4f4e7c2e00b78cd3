# SPDX-License-Identifier: Apache-2.0
"""Fork latency under the preload against without it, in interleaved pairs; instructions of vfork and posix_spawn. TAP.

fork.py --program FORK --preload LIBFORKSPAN [--pairs N] [--forks N] [--counts-only]

A pair is one run with and one without, in turn first. The control is the same without the preload on both sides: its
half-range is what the machine adds. Bounds: 1.05 of a single-threaded master, before and after it listens, 1.10 of a
process whose batch thread exports at full speed, each plus the control's half-range. vfork: 8 instructions (the mark and
a jump); posix_spawn: none.
"""
import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "servers"))

from harness import Tap, clean_environment  # noqa: E402

MODES = {"single": ("a single-threaded master that does not listen", 1.05), "listens": ("a single-threaded master that listens", 1.05),
         "exporting": ("a process whose batch thread exports at full speed", 1.10)}


class Sink:
    """bench/sink.c answers and costs next to nothing: it shares the machine with what is measured."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"


def instructions(program, mode, n, env):
    """What it executes itself (children are other processes)."""
    run = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, mode, str(n)],
                         capture_output=True, text=True, env=env, check=False)
    found = re.findall(r"Collected : (\d+)", run.stderr)  # its children say theirs before
    return int(found[-1]) if found else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--preload", required=True)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--forks", type=int, default=400)
    parser.add_argument("--counts-only", action="store_true")
    options = parser.parse_args()
    tap = Tap()
    program = os.path.abspath(options.program)
    sink = Sink(os.path.join(os.path.dirname(program), "sink"))
    plain = clean_environment()
    traced = clean_environment(LD_PRELOAD=os.path.abspath(options.preload), OTEL_SERVICE_NAME="bench",
                               OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, OTEL_BSP_SCHEDULE_DELAY="1", FORKSPAN_LOG="/dev/null")

    for mode, most in (("vfork", 8), ("spawn", 0)):
        if not shutil.which("valgrind"):
            tap.skip(f"instructions of {mode}", "needs valgrind")
            continue
        with tempfile.TemporaryDirectory():
            each = {}
            for name, env in (("without", plain), ("with", traced)):
                few, many = instructions(program, mode, 50, env), instructions(program, mode, 250, env)
                each[name] = (many - few) / 200 if few and many else None
        if None in each.values():
            tap.check(False, f"{mode}: valgrind counts", each)
            continue
        more = each["with"] - each["without"]
        tap.check(more <= most + 0.5, f"{mode}: {more:.1f} instructions more a call than {each['without']:.0f}, at most {most}", each)

    if options.counts_only:
        tap.end()

    def median(mode, env):
        return int(subprocess.run([program, mode, str(options.forks)], env=env, capture_output=True, text=True, check=True).stdout)

    print("| process | without, us | with, us | ratio (median of pairs) | control, half-range |\n|---|---|---|---|---|")
    for mode, (what, bound) in MODES.items():
        ratios, control, without, with_it = [], [], [], []
        for pair in range(options.pairs):
            order = [("a", plain), ("b", traced), ("c", plain)]
            got = {name: median(mode, env) for name, env in (order if pair % 2 == 0 else order[::-1])}
            base = (got["a"] + got["c"]) / 2
            without.append(base)
            with_it.append(got["b"])
            ratios.append(got["b"] / base)
            control.append(got["a"] / got["c"])
        half = (max(control) - min(control)) / 2
        ratio = statistics.median(ratios)
        print(f"| {what} | {statistics.median(without) / 1000:.0f} | {statistics.median(with_it) / 1000:.0f} | {ratio:.3f} | {half:.3f} |",
              flush=True)
        tap.check(ratio <= bound + half, f"fork of {what}: {ratio:.3f} of the time without, at most {bound} + {half:.3f}",
                  f"ratios {[round(r, 3) for r in ratios]}, control {[round(c, 3) for c in control]}")
    tap.end()


main()
