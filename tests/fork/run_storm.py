# SPDX-License-Identifier: Apache-2.0
"""The fork storm with its control, as TAP.

run_storm.py STORM FIXTURE [STORM_WITHOUT_LOCK] [--children N]

The fixture (no fork care) must hang; forkspan must not, and every span arrives exactly once.
"""
import argparse
import collections
import os
import subprocess
import sys

from receiver import Receiver

parser = argparse.ArgumentParser()
parser.add_argument("storm")
parser.add_argument("fixture")
parser.add_argument("--children", type=int, default=int(os.environ.get("FORKSPAN_STORM_CHILDREN", "500")))
args = parser.parse_args()

failed = False
number = 0


def check(ok, name, why=""):
    global failed, number
    number += 1
    print(f"{'ok' if ok else 'not ok'} {number} - {name}", flush=True)
    if not ok:
        failed = True
        print(f"# {why}")


def storm(program, children):
    receiver = Receiver()
    env = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_SERVICE_NAME="storm",
               OTEL_BSP_SCHEDULE_DELAY="20", FORKSPAN_WORKERS="256", FORKSPAN_EXIT_FLUSH="10000", FORKSPAN_STACKS="1")
    run = subprocess.run([program, str(children), "3", "4"], env=env, capture_output=True, text=True, timeout=1200)
    words = run.stdout.split()
    said = {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)}
    names = collections.Counter(name for name, _, _ in receiver.spans)
    ids = collections.Counter(span_id for _, span_id, _ in receiver.spans)
    return run, said, names, ids, receiver


print(f"1..6\n# {args.children} children", flush=True)
control = subprocess.run([args.fixture, "2000"], capture_output=True, text=True, timeout=600)
check("hung 1" in control.stdout, "control: a batch processor without fork care hangs in a child", control.stdout)

run, said, names, ids, receiver = storm(args.storm, args.children)
check(run.returncode == 0 and said.get("hung") == 0, f"no child of {args.children} hangs",
      f"status {run.returncode}: {run.stdout} {run.stderr[-2000:]}")
missing = [f"child-{i}-{n}" for i in range(args.children) for n in range(3) if names[f"child-{i}-{n}"] != 1]
check(not missing, "every span of every child arrives once",
      f"{len(missing)} wrong, e.g. {[(m, names[m]) for m in missing[:5]]} {run.stderr[-500:]}")
parents = [name for name in names if name.startswith("parent-")]
twice = [name for name in parents if names[name] != 1]
check(len(parents) == said.get("ended") and not twice, "every span of the parent arrives once",
      f"{len(parents)} of {said.get('ended')}, twice: {twice[:5]}")
check(all(n == 1 for n in ids.values()), "all span ids differ", str([i for i, n in ids.items() if n != 1][:5]))
check(said.get("unheld") == 0, "every fork held the batch thread", str(said))
sys.exit(failed)
