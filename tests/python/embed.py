# SPDX-License-Identifier: Apache-2.0
"""Forks in C of a program that hosts CPython, as TAP: embed.py PROGRAM PRELOAD [HOME]. Each case without the preload,
too. HOME: where the library of that Python is."""
import os
import subprocess
import sys

program, preload = sys.argv[1:3]
home = {"PYTHONHOME": sys.argv[3]} if len(sys.argv) > 3 else {}
failed = number = 0

# case: (what the hooks count with forkspan, without), each "in the parent | in the child": before, parent, child
NONE = "0 0 0 | 0 0 0"
ONCE = "1 1 0 | 1 0 1"
CASES = {
    "held": (ONCE, NONE),
    "twice": ("2 2 0 | 2 1 1", NONE),
    "released": (ONCE, NONE),
    "thread": (ONCE, NONE),
    "served": (ONCE, NONE),
    "served-threads": (ONCE, NONE),
    "error-set": (ONCE, NONE),
    "refused": ("1 1 0 | 0 0 0", NONE),
    "os.fork": (ONCE, ONCE),
    "subprocess": (NONE, NONE),
    "in-subinterpreter": (NONE, NONE),
    "beside-subinterpreter": (NONE, NONE),
    "finalising": (NONE, NONE),
    "hogged": (ONCE, None),
}


def check(good, name, why=""):
    global failed, number
    number += 1
    print(f"{'ok' if good else 'not ok'} {number} - {name}", flush=True)
    if not good:
        failed += 1
        print("\n".join(f"# {line}" for line in str(why).splitlines()[:30]), flush=True)


def run(case, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_", "LD_PRELOAD"))}
    try:
        done = subprocess.run([program, case], env=dict(env, **home, **more), capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as hang:
        return f"hang: {hang}", ""
    return (done.stdout.strip() if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr}"), done.stderr


with_us = {"LD_PRELOAD": preload, "OTEL_TRACES_EXPORTER": "otlp/stdout", "FORKSPAN_FILE": "/dev/null"}
for name, (wanted, plain) in CASES.items():
    if plain is not None:
        got, _ = run(name)
        check(got == plain, f"{name}: without forkspan the hooks count {plain}", got)
    got, said = run(name, **with_us)
    check(got == wanted, f"{name}: with forkspan {wanted}", f"{got}\n{said}")
    if name == "hogged":
        check(said.count("without Python's fork hooks") == 1, "hogged: said once", said)
got, _ = run("held", **with_us, FORKSPAN_PYTHON_FORK_HOOKS="false")
check(got == NONE, "FORKSPAN_PYTHON_FORK_HOOKS=false: none", got)
got, _ = run("held", **with_us, FORKSPAN_PYTHON_FORK_HOOKS="other.so")
check(got == ONCE, "FORKSPAN_PYTHON_FORK_HOOKS=NAME: the main executable counts, too", got)
print(f"1..{number}")
sys.exit(failed != 0)
