# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of fork, exec and their kin under the preload, as TAP: each comes out as it does without.

    cpython.py --preload libforkspan.so --python PYTHON [--suite FOLDER] [--long] [--only idle|spans]

Twice: in processes that make no span, and in processes that have made one, whose arena and batch thread every fork then
meets. FOLDER: where the package `test` is, if not beside PYTHON's library. A test that comes out differently is run five
times more each way: it counts where it then fails under the preload only.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Tap, clean_environment  # noqa: E402

SECONDS = 420
MANY = 10  # that differ: no matter of chance
SHORT = {
    "test_fork1": "*", "test_pty": "*", "test_threading": "*fork*", "test_os": "*fork* *[sS]pawn* *PidTests* *[eE]xec* *popen*",
    "test_posix": "*[sS]pawn* *fork*", "test_socketserver": "*Forking*", "test_multiprocessing_fork": "*ProcessesTestProcess* *ProcessesTestPool*",
    "test_subprocess": "*POSIXProcessTestCase* *RunFuncTestCase*",
}
LONG = {
    **SHORT, "test_wait3": "*", "test_wait4": "*", "test_subprocess": "*", "test_os": "*", "test_posix": "*", "test_popen": "*", "test_logging": "*fork*",
    "test_random": "*fork*", "test_tempfile": "*fork*", "test_uuid": "*fork*", "test_ssl": "*fork*", "test_multiprocessing_fork": "*",
    "test_multiprocessing_spawn": "*ProcessesTest*", "test_multiprocessing_forkserver": "*ProcessesTest*",
}
# In processes with spans: a package of our own that each of them finds first.
SITE = """
import sys
sys.path.insert(0, {package!r})
import _library
# a trace of one span: its ids, a name
span = b"\\x0a\\x10" + b"\\x01" * 16 + b"\\x12\\x08" + b"\\x02" * 8 + b"\\x2a\\x01x"
for tag in (b"\\x12", b"\\x12", b"\\x0a"):
    span = tag + bytes((len(span),)) + span
_library.submit(span) and _library.flush(10000)
del sys.path[0], sys.modules["_library"]
"""


class Suite:
    def __init__(self, options, folder):
        self.options, self.folder, self.runs = options, folder, 0

    def start(self, tests, preload, site=None):
        """One run of {module: patterns}; results() has what came out."""
        self.runs += 1
        here = os.path.join(self.folder, str(self.runs))
        os.mkdir(here)
        env = clean_environment(TMPDIR=here)
        path = [p for p in (site, self.options.suite) if p]
        if path:
            env["PYTHONPATH"] = os.pathsep.join(path)
        if preload:
            env.update(LD_PRELOAD=preload, OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE=os.path.join(here, "spans"))
        command = [self.options.python, "-m", "test", "-j2", "-u", "network", "--timeout", "120", "--junit-xml", os.path.join(here, "xml")]
        for module, patterns in tests.items():
            for pattern in patterns.split():
                command += ["-m", f"test.{module}.{pattern}"]
        log = open(os.path.join(here, "log"), "wb")
        return here, subprocess.Popen([*command, *tests], cwd=here, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def results(self, run):
        """{test: passed, skipped or failed}"""
        here, process = run
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        found = {}
        if os.path.exists(os.path.join(here, "xml")):
            for case in xml.etree.ElementTree.parse(os.path.join(here, "xml")).iter("testcase"):
                kinds = {child.tag for child in case}
                found[case.get("name")] = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        return found, pathlib.Path(here, "log").read_text(errors="replace")

    def again(self, name, preload, site):
        """How often of five it fails when it is alone."""
        module = name.split(".")[1]
        alone = {module: name.split(".", 2)[2]}
        return sum(self.results(self.start(alone, preload, site))[0].get(name) == "failed" for _ in range(5))


def compare(tap, suite, tests, what, site):
    runs = [suite.start(tests, None), suite.start(tests, suite.options.preload, site)]
    (plain, said), (under, said_under) = map(suite.results, runs)
    passed = sum(outcome == "passed" for outcome in plain.values())
    differ = sorted(name for name in plain.keys() | under.keys() if plain.get(name) != under.get(name))
    worse = differ if len(differ) > MANY else []
    if not worse:
        for name in differ:
            alone, with_us = suite.again(name, None, None), suite.again(name, suite.options.preload, site)
            print(f"# {name}: {plain.get(name)} without, {under.get(name)} under the preload; alone it fails {alone} and {with_us} times of 5", flush=True)
            if with_us > alone or name not in under or under[name] == "skipped":
                worse.append(name)
    tap.check(passed > 50 and not worse, f"{what}: {len(under)} tests of CPython, {passed} pass, each as without the preload",
              f"{worse}\n{said[-1500:]}\n--- under the preload\n{said_under[-3000:]}")
    if site:
        spans = pathlib.Path(runs[1][0], "spans")
        made = spans.read_text().count("spanId") if spans.exists() else 0
        tap.check(made > 20, f"{what}: {made} processes of the tests have made one", said_under[-1000:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preload", required=True, type=os.path.abspath)
    parser.add_argument("--python", required=True)
    parser.add_argument("--suite", default="")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", choices=("idle", "spans"))
    options = parser.parse_args()
    tap = Tap()
    version = subprocess.run([options.python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="forkspan-test-") as folder:
        site = os.path.join(folder, "site")
        os.mkdir(site)
        pathlib.Path(site, "sitecustomize.py").write_text(SITE.format(package=str(HERE.parent.parent / "python" / "forkspan")))
        suite = Suite(options, folder)
        tests = LONG if options.long else SHORT
        if options.only != "spans":
            compare(tap, suite, tests, f"Python {version}", None)
        # Later versions warn at a fork of a process with threads, and the tests take a warning for a failure.
        if options.only != "idle" and tuple(map(int, version.split(".")[:2])) < (3, 12):
            # Whose children are all by vfork or exec at once: shown above.
            tests = tests if options.long else {module: what for module, what in tests.items() if module != "test_subprocess"}
            compare(tap, suite, tests, f"Python {version}, in processes with spans", site)
    tap.end()


main()
