# SPDX-License-Identifier: Apache-2.0
"""scripts/deadlock-regression as CI has it, as TAP: a server that is well, three with a hang planted in them, and three that
do not run. Each planted hang is caught, named with its stack, and red in the JUnit file.

regression_demo.py --forkspan COMMAND
"""
import argparse
import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest.mock
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))

from harness import Tap, clean_environment  # noqa: E402

PLANTED = {
    "birth": ("a lock held by another thread at the fork, taken by the new worker", "every thread waits for a lock"),
    "request": ("the same lock, taken by a request", "waits for a lock"),
    "end": ("the same lock, taken at the end", "waits for a lock"),
}


def ends_while_looked_at():
    """Its /proc is there when it is found and gone when it is read."""
    script = str(HERE.parent.parent / "scripts" / "deadlock-regression")
    spec = importlib.util.spec_from_loader("regression", importlib.machinery.SourceFileLoader("regression", script))
    regression = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(regression)
    with unittest.mock.patch("os.listdir", side_effect=FileNotFoundError):
        return regression.children(os.getpid()) == [] and regression.waits_for_ever(os.getpid()) is None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--forkspan", required=True)
    options = parser.parse_args()
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        def run(kind, command, *more):
            junit = os.path.join(folder, f"{kind}.xml")
            process = subprocess.run(
                [str(HERE.parent.parent / "scripts" / "deadlock-regression"), "--forkspan", os.path.abspath(options.forkspan),
                 "--seconds", "3", "--forks", "10", "--hang", "3", "--grace", "5", "--junit", junit, "--name", kind, *more, "--", *command],
                capture_output=True, text=True, timeout=180, env=clean_environment())
            suite = xml.parse(junit).getroot().find("testsuite") if os.path.exists(junit) else None
            return process, suite

        def planted(kind):
            return ["/usr/bin/python3", "-W", "ignore", str(HERE / "planted.py"), kind]

        process, suite = run("none", planted("none"))
        said = process.stdout[-3000:] + process.stderr[-1000:]
        tap.check(process.returncode == 0, "control: the same server with nothing planted is clean", said)
        tap.check(suite is not None and suite.get("failures") == "0" and int(suite.get("tests")) >= 3,
                  "and green in the JUnit file", said)
        for kind, (what, named) in PLANTED.items():
            process, suite = run(kind, planted(kind))
            said = process.stdout[-3000:] + process.stderr[-1000:]
            tap.check(process.returncode == 1, f"planted: {what}: exit status 1", f"{process.returncode} {said}")
            failures = suite.findall("testcase/failure") if suite is not None else []
            text = "\n".join(f.text or "" for f in failures)
            tap.check(suite is not None and int(suite.get("failures")) >= 1 and bool(failures), "red in the JUnit file", said)
            tap.check(("lock" in text or "hang" in text) and "planted.py " + kind in text and
                      ("PyThread_acquire_lock" in text or "sem_wait" in text or "futex" in text),
                      "named: the process, and where it hangs", text[:2000])
        process, suite = run("deaf", planted("deaf"), "--reload", "none")
        tap.check(process.returncode == 0, "a worker that does not hear the first SIGTERM is no hang", process.stdout[-3000:] + process.stderr[-1000:])
        process, suite = run("missing", ["/nonexistent/server"])
        tap.check(process.returncode == 2 and suite is not None and suite.get("errors") == "1",
                  "a command that is not there: exit status 2", f"{process.returncode} {process.stderr}")
        process, suite = run("url", ["/usr/bin/python3", "-c", "pass"], "--url", "http://127.0.0.1:port/")
        tap.check(process.returncode == 2 and process.stderr.count("\n") == 1, "a URL that is none: exit status 2 and one line",
                  f"{process.returncode} {process.stderr}")
        process, suite = run("silent", ["/usr/bin/python3", "-c", "pass"])
        tap.check(process.returncode == 2, "a server that ends at once: exit status 2", f"{process.returncode} {process.stderr}")
    tap.check(ends_while_looked_at(), "a process that ends while it is looked at has no children")
    tap.end()


main()
