# SPDX-License-Identifier: Apache-2.0
"""The fork storm with its control, as TAP.

run_storm.py STORM FIXTURE STORM_WITHOUT_LOCK [--children N]

The fixture (no fork care) must hang; forkspan must not, and every span arrives exactly once. Then the same with forks
that do not wait for the batch thread, where the queue lock alone keeps them apart: with it every span arrives once,
without it (its control) some are lost or come twice.
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
parser.add_argument("without_lock")
parser.add_argument("--children", type=int, default=int(os.environ.get("FORKSPAN_STORM_CHILDREN", "5000")))
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


# Children that die as fast as they can be made leave more behind than a receiver in Python takes.
HELD_AFTER_US = 200


def storm(program, children, pause_us=200, after_us=HELD_AFTER_US, **more):
    """The run, what it said, how often each name and each span id came."""
    receiver = Receiver()
    env = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_SERVICE_NAME="storm",
               FORKSPAN_EXIT_FLUSH="10000", FORKSPAN_STACKS="1", **more)
    run = subprocess.run([program, str(children), "3", "4", str(pause_us), str(after_us)], env=env, capture_output=True, text=True, timeout=1200)
    words = run.stdout.split()
    said = {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)}
    names = collections.Counter(name for name, _, _ in receiver.spans)
    ids = collections.Counter(span_id for _, span_id, _ in receiver.spans)
    return run, said, names, ids


HELD = {"OTEL_BSP_SCHEDULE_DELAY": "20", "FORKSPAN_WORKERS": "256"}
# Small batches, often, and no wait: the batch thread seals while a fork does. No faster than the receiver takes them:
# where all batches that can be sealed are, a fork has nothing to seal.
UNHELD = {"FORKSPAN_FORK_WAIT": "0", "OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
          "FORKSPAN_WORKERS": "1024"}
UNHELD_PAUSE_US, UNHELD_AFTER_US = 2000, 300
ROUND, ROUNDS = 300, 60


def books(said, names, children):
    """How many spans are missing that found room in the ring, how many came more than once."""
    wanted = {f"child-{i}-{n}" for i in range(children) for n in range(3)}
    own = sum(name.startswith("parent-") for name in names)
    return len(wanted - set(names)) + said.get("ended", 0) - said.get("dropped", 0) - own, sum(n > 1 for n in names.values())


print(f"1..8\n# {args.children} children", flush=True)
control = subprocess.run([args.fixture, "2000"], capture_output=True, text=True, timeout=600)
check("hung 1" in control.stdout, "control: a batch processor without fork care hangs in a child", control.stdout)

run, said, names, ids = storm(args.storm, args.children, **HELD)
check(run.returncode == 0 and said.get("hung") == 0, f"no child of {args.children} hangs",
      f"status {run.returncode}: {run.stdout} {run.stderr[-2000:]}")
missing = [f"child-{i}-{n}" for i in range(args.children) for n in range(3) if names[f"child-{i}-{n}"] != 1]
check(not missing, "every span of every child arrives once",
      f"{len(missing)} wrong, e.g. {[(m, names[m]) for m in missing[:5]]} {run.stderr[-500:]}")
parents = [name for name in names if name.startswith("parent-")]
twice = [name for name in parents if names[name] != 1]
queued = said.get("ended", 0) - said.get("dropped", 0)  # a full ring, on a slow machine: counted, so not lost
check(len(parents) == queued > 0 and not twice, f"every span of the parent arrives once ({queued}, {said.get('dropped')} dropped)",
      f"{len(parents)} of {said.get('ended')}, twice: {twice[:5]}; {run.stdout} {run.stderr[-500:]}")
check(all(n == 1 for n in ids.values()), "all span ids differ", str([i for i, n in ids.items() if n != 1][:5]))
check(said.get("unheld") == 0, "every fork held the batch thread", str(said))

for _ in range(2):
    run, said, names, ids = storm(args.storm, ROUND, UNHELD_PAUSE_US, UNHELD_AFTER_US, **UNHELD)
    lost, twice = books(said, names, ROUND)
    if run.returncode or lost or twice or not said.get("unheld"):
        break
check(run.returncode == 0 and not lost and not twice and said.get("unheld", 0) > 0,
      "forks that do not wait for the batch thread: the queue lock keeps every span once",
      f"{lost} lost, {twice} twice; {run.stdout} {run.stderr[-500:]}")
for rounds in range(1, ROUNDS + 1):
    run, said, names, ids = storm(args.without_lock, ROUND, UNHELD_PAUSE_US, UNHELD_AFTER_US, **UNHELD)
    lost, twice = books(said, names, ROUND)
    if lost or twice:
        break
check(lost or twice, f"control: without the queue lock spans are lost or sent twice ({lost} and {twice} in round {rounds})",
      f"none in {ROUNDS} rounds: {run.stdout}")
sys.exit(failed)
