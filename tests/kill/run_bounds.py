# SPDX-License-Identifier: Apache-2.0
"""How much forkspan takes, and what happens where there is less, as TAP: run_bounds.py WITNESS PREFORK PRELOAD"""
import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from cgroup import NoCgroup, killed_in, memory_cgroup  # noqa: E402
from harness import Tap, clean_environment, fetch, until, whole_lines  # noqa: E402

witness, prefork, preload = map(os.path.abspath, sys.argv[1:4])
tap = Tap()
folder = tempfile.mkdtemp(prefix="bounds-")
lines = os.path.join(folder, "lines")


def environment(**more):
    return clean_environment(LD_PRELOAD=preload, OTEL_SERVICE_NAME="bounds", OTEL_TRACES_EXPORTER="otlp/stdout",
                             FORKSPAN_FILE=lines, FORKSPAN_EXIT_FLUSH="20000", **more)


def names():
    found = collections.Counter()
    for line in whole_lines(lines):
        for rs in json.loads(line)["resourceSpans"]:
            for ss in rs["scopeSpans"]:
                for span in ss["spans"]:
                    path = [a["value"]["stringValue"] for a in span.get("attributes", []) if a["key"] == "url.path"]
                    found[path[0] if path else span["name"]] += 1
    return found


def fresh():
    if os.path.exists(lines):
        os.unlink(lines)


def arena_size(pid):
    for line in open(f"/proc/{pid}/maps"):
        if "SYSV" in line:
            begin, end = (int(n, 16) for n in line.split()[0].split("-"))
            yield end - begin


class Server:
    def __init__(self, workers, wrap=(), **more):
        self.log = os.path.join(folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*wrap, prefork, str(workers)], env=environment(**more), stdout=subprocess.PIPE,
                                            stderr=log, text=True, start_new_session=True)
        self.port, self.pid = map(int, self.process.stdout.readline().split())

    def get(self, path):
        return int(fetch(self.port, path).body)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


def more_workers_than_slots():
    fresh()
    server = Server(6, FORKSPAN_WORKERS="2", OTEL_BSP_SCHEDULE_DELAY="100")
    sent, pids = [], set()
    try:
        while len(pids) < 6 and len(sent) < 3000:
            sent.append(f"/ok/{len(sent)}")
            pids.add(server.get(sent[-1]))
        until(lambda: len(names()) >= len(sent), "all spans", 10)
    except TimeoutError:
        pass
    server.stop()
    found = names()
    wrong = [path for path in sent if found[path] != 1]
    tap.check(len(pids) == 6 and not wrong, f"6 workers, 2 slots: each of {len(sent)} requests is one span",
              f"{len(pids)} workers, {len(wrong)} wrong: {wrong[:10]}")
    said = pathlib.Path(server.log).read_text().count("more processes serve than FORKSPAN_WORKERS")
    tap.check(said >= 1, "and it is said", pathlib.Path(server.log).read_text())


def small(what, wrap, most):
    fresh()
    server = Server(4, wrap, OTEL_BSP_SCHEDULE_DELAY="100")
    size = sum(arena_size(server.pid))
    sent = [f"/ok/{n}" for n in range(100)]
    try:
        for path in sent:
            server.get(path)
        until(lambda: len(names()) >= len(sent), "all spans", 10)
    except TimeoutError:
        pass
    server.stop()
    tap.check(0 < size <= most, f"{what}: the arena takes {size >> 20} MiB, at most {most >> 20}", size)
    wrong = [path for path in sent if names()[path] != 1]
    tap.check(not wrong, f"{what}: each request is one span", wrong[:10])


def squeezed():
    """A worker that gets no more memory keeps what it can not send, until it can."""
    fresh()
    server = Server(1, OTEL_BSP_SCHEDULE_DELAY="50")
    sent = ["/squeeze/0", *(f"/ok/{n}" for n in range(600)), "/ease/0"]
    try:
        for path in sent[:-1]:
            server.get(path)
        until(lambda: "no memory for" in pathlib.Path(server.log).read_text(), "there is no memory for a batch", 10)
        server.get(sent[-1])
        until(lambda: len(names()) >= len(sent), "all spans", 10)
    except TimeoutError as error:
        print(f"# {error}")
    server.stop()
    found = names()
    wrong = [path for path in sent if found[path] != 1]
    tap.check(not wrong, "a worker without memory: each request is one span when it has some again", f"{len(wrong)}: {wrong[:10]}")
    tap.check("no memory for" in pathlib.Path(server.log).read_text(), "and it is said that there was none")


def in_memory_cgroup():
    try:
        with memory_cgroup(256 << 20) as group:
            small("a memory cgroup of 256 MiB", ("sh", "-c", f"echo $$ >{group}/cgroup.procs && exec \"$@\"", "sh"), 16 << 20)
            tap.check(killed_in(group) == 0, "and nobody is killed for memory")
    except NoCgroup as why:
        tap.skip("a memory cgroup of 256 MiB", why)


def thousand():
    fresh()
    done = subprocess.run([witness, "many", "1000"], env=environment(FORKSPAN_WORKERS="1000"), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120)
    found = names()
    wrong = [n for n in range(1000) if found[f"many-{n}"] != 1]
    tap.check(done.returncode == 0 and not wrong, "1,000 workers at once: every span once",
              f"{done.returncode} {len(wrong)} wrong: {wrong[:10]} {done.stdout} {done.stderr[-1000:]}")


def users():
    if os.geteuid() != 0:
        tap.skip("other users", "needs root")
        return
    os.chmod(folder, 0o755)
    # user-0 is the first below root, user-1 and user-2 are of a third id; 0 and 1 are killed, 2 exits
    for share, arrive in ((None, {"user-0", "user-2"}), ("true", {"user-0", "user-1", "user-2"}), ("false", {"user-2"})):
        fresh()
        pathlib.Path(lines).touch()
        os.chmod(lines, 0o666)
        more = {"FORKSPAN_SHARE": share} if share else {}
        done = subprocess.run([witness, "users"], env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60)
        found = names()
        tap.check(done.returncode == 0 and set(found) == arrive and set(found.values()) == {1},
                  f"FORKSPAN_SHARE={share or '(not set)'}: of the killed the spans of who shares the arena arrive",
                  f"{done.returncode} {dict(found)} {done.stderr}")


try:
    users()
    more_workers_than_slots()
    small("512 MiB of address space", ("prlimit", f"--as={512 << 20}"), 32 << 20)
    squeezed()
    in_memory_cgroup()
    if pathlib.Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2":
        tap.skip("vm.overcommit_memory=2", "it is the whole machine's, and not set")
    else:
        small("vm.overcommit_memory=2", (), 1 << 30)
    thousand()
finally:
    shutil.rmtree(folder)
tap.end()
