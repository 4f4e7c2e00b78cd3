# SPDX-License-Identifier: Apache-2.0
"""What the OpenTelemetry SDK costs with forkspan's processor and with its own: processes and servers side by side, in
random order, round for round."""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import servers

HERE = pathlib.Path(__file__).resolve().parent
KINDS = ("none", "batch", "forkspan", "forkspan-python")


def install(site):
    """The package as a user has it, its C part included."""
    source = os.path.join(site, "source")  # a build writes beside it
    shutil.copytree(HERE.parent / "python", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--target",
                    site, source], check=True)


def environment(kind, site, preload, endpoint):
    """A Python process that finds the package; forkspan is there where it is to be measured, and only there."""
    env = {"PYTHONPATH": site, "BENCH_SDK": kind.split("-")[0], "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "bench"}
    return dict(env, LD_PRELOAD=preload) if kind.startswith("forkspan") else env


def spans(site, preload, endpoint, rounds, bursts, rng, clean):
    """{kind: (microseconds more than without a processor on the calling thread, in all)}, each a list of one a round"""
    took = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in rng.sample(KINDS, len(KINDS)):
            done = subprocess.run([sys.executable, str(HERE / "sdk_spans.py"), kind, str(bursts)], capture_output=True, text=True,
                                  env=dict(clean, **environment(kind, site, preload, endpoint)))
            if done.returncode:
                raise RuntimeError(done.stderr[-500:])
            took[kind].append(tuple(float(word) / 1000 for word in done.stdout.split()))
    return took, {kind: [tuple(mine - base for mine, base in zip(a, b)) for a, b in zip(took[kind], took["none"])] for kind in KINDS[1:]}


def tails(folder, site, preload, endpoint, rounds, seconds, rng):
    """{variant: the 99th percentile of its latency, microseconds, one a round}; "batch2" is the control."""
    running, found = [], {"batch": [], "batch2": [], "forkspan": []}
    try:
        for variant in found:
            own = os.path.join(folder, f"server-{variant}")
            os.mkdir(own)
            env = environment(variant.rstrip("2"), site, preload, endpoint)
            running.append(servers.Server("gunicorn", variant, own, None, None, env=env, app="sdk_app:application"))
        for server in running:
            server.load(1, 4)  # warm
        for _ in range(rounds):
            for server in rng.sample(running, len(running)):
                found[server.variant].append(server.tail(seconds, 4))
    finally:
        for server in running:
            server.stop()
    return found
