# SPDX-License-Identifier: Apache-2.0
"""Runs a program under the preload and reads the JSON lines that come of it. Standard library only."""
import json
import os
import subprocess
import sys
import tempfile

preload = sys.argv[2]


class Tap:
    failed = number = 0

    def check(self, good, name, why=""):
        self.number += 1
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}", flush=True)
        if not good:
            self.failed += 1
            print("\n".join(f"# {line}" for line in str(why).splitlines()[:30]), flush=True)
        return good

    def end(self, parts):
        for part in parts:
            try:
                part()
            except Exception as error:  # a span that is not there
                self.check(False, f"{part.__name__} runs", repr(error))
        print(f"1..{self.number}")
        sys.exit(1 if self.failed else 0)


def run(*arguments, **more):
    """Exit code, standard output, spans (each with its resource and scope)."""
    with tempfile.TemporaryDirectory() as folder:
        lines = os.path.join(folder, "lines")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_"))}
        if preload != "inside":  # the program, which is the library
            env["LD_PRELOAD"] = preload
        env.update(OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE=lines, OTEL_SERVICE_NAME="api")
        env.update(more)
        done = subprocess.run([sys.argv[1], *map(str, arguments)], env=env, capture_output=True, text=True, timeout=120)
        spans = []
        if os.path.exists(lines):
            for line in open(lines, encoding="utf-8"):
                for rs in json.loads(line)["resourceSpans"]:
                    for ss in rs["scopeSpans"]:
                        for span in ss["spans"]:
                            spans.append(dict(span, scope=ss.get("scope", {}).get("name"),
                                              resource=values(rs.get("resource", {}))))
        if "ThreadSanitizer" in done.stderr:
            print("\n".join(f"# {line}" for line in done.stderr.splitlines()[:60]))
            return "data race", done.stdout, spans
        if done.returncode:
            print(f"# {arguments}: exit code {done.returncode}: {done.stderr[-1500:]}")
        return done.returncode, done.stdout, spans


def values(holder):
    return {a["key"]: next(iter(a["value"].values())) for a in holder.get("attributes", [])}


def by_name(spans):
    return {span["name"]: span for span in spans}
