# SPDX-License-Identifier: Apache-2.0
"""The fork storm into a live Collector, with eight threads that end spans, as TAP.

collector_storm.py --storm STORM --fixture FIXTURE --collector OTELCOL [--children N]

In the same run a batch processor without fork care hangs in a child. What the Collector wrote is what arrived.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))

from harness import Collector, Tap, clean_environment, workspace  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--storm", required=True)
    parser.add_argument("--fixture", required=True)
    parser.add_argument("--collector", required=True)
    parser.add_argument("--children", type=int, default=5000)
    options = parser.parse_args()
    tap = Tap()
    print(f"# {options.children} children", flush=True)
    control = subprocess.run([options.fixture, "2000"], capture_output=True, text=True, timeout=600, env=clean_environment())
    tap.check("hung 1" in control.stdout, "control: a batch processor without fork care hangs in a child", control.stdout)
    with workspace() as folder:
        collector = Collector(options.collector, folder)
        try:
            env = clean_environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_SERVICE_NAME="storm",
                                    OTEL_BSP_SCHEDULE_DELAY="10", FORKSPAN_WORKERS="256", FORKSPAN_EXIT_FLUSH="20000",
                                    FORKSPAN_STACKS="1")
            began = time.monotonic()
            run = subprocess.run([options.storm, str(options.children), "3", "8", "4000", "200"], env=env, capture_output=True, text=True,
                                 timeout=3600)
            took = time.monotonic() - began
        finally:
            collector.stop()
        names, ids = collections.Counter(), collections.Counter()
        with open(collector.path, encoding="utf-8") as lines:
            for line in lines:
                for resource_spans in json.loads(line).get("resourceSpans", []):
                    for scope_spans in resource_spans.get("scopeSpans", []):
                        for span in scope_spans.get("spans", []):
                            names[span["name"]] += 1
                            ids[span["spanId"]] += 1
    words = run.stdout.split()
    said = {words[i]: int(words[i + 1]) for i in range(0, len(words) - 1, 2)}
    print(f"# {options.children} children in {took:.0f} s, {sum(names.values())} spans in the Collector", flush=True)
    said_so = f"status {run.returncode}: {run.stdout} {run.stderr[-3000:]}"
    tap.check(run.returncode == 0 and said.get("hung") == 0 and said.get("children") == options.children,
              f"no child of {options.children} hangs", said_so)
    wrong = [f"child-{i}-{n}" for i in range(options.children) for n in range(3) if names[f"child-{i}-{n}"] != 1]
    tap.check(not wrong, f"each of {options.children * 3} spans of children is there once",
              f"{len(wrong)} wrong, e.g. {[(w, names[w]) for w in wrong[:5]]} {said_so}")
    parents = [name for name in names if name.startswith("parent-")]
    twice = [name for name in parents if names[name] > 1]
    queued = said.get("ended", 0) - said.get("dropped", 0)
    tap.check(len(parents) == queued > 0 and not twice, f"each of {queued} spans of the parent is there once",
              f"{len(parents)}, twice: {twice[:5]}; {said_so}")
    tap.check(said.get("dropped") == 0, "no span found the queue full", said_so)
    tap.check(all(n == 1 for n in ids.values()), "all span ids differ", [i for i, n in ids.items() if n > 1][:5])
    tap.check(said.get("unheld") == 0, "every fork held the batch thread: fork_unheld 0", said_so)
    tap.end()


main()
