# SPDX-License-Identifier: Apache-2.0
"""Runs the fork matrix (matrix_table.py), each cell with and without the preload, as TAP.

run_matrix.py --driver MATRIX --preload LIBFORKSPAN --libraries FOLDER [--repeat N] [--jobs N] [--only REGEX] [--page FILE]

A cell fails when a process of it hangs (with the stacks of all threads), when the host sees anything else than without
the preload (exit codes, errno, signal masks, open files, results), when a span is missing or comes twice, when two ids
are the same, when a process has other threads than promised, or when a file of the application has other bytes.
"""
import argparse
import collections
import ctypes
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from matrix_table import CIRCUMSTANCES, GOINGS, RAW, WAYS, rows
from stall import StallingReceiver, make_certificate

LIMIT_S = 25
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, PR_SET_CHILD_SUBREAPER = 0x20000, 4096, 16384, 1 << 18, 36


def descendants(pid):
    found = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            children = [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def stacks(pid):
    run = subprocess.Popen(["gdb", "-q", "-batch", "-p", str(pid), "-ex", "thread apply all bt 16"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    try:
        out, _ = run.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        run.kill()
        out = "gdb says nothing"
    kept = [line for line in out.splitlines() if line.startswith(("#", "Thread"))]
    return f"process {pid}:\n" + "\n".join(kept[:60])


class Run:
    """One run of the driver: what it wrote, and whether all of its processes ended."""

    def __init__(self, settings, cell, traced, receiver, folder, knobs=""):
        circumstance = CIRCUMSTANCES[cell.circumstance]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_", "LD_"))}
        own = dict(circumstance.env)
        env.update({k: v for k, v in own.items() if not k.startswith("MATRIX_")})
        preload = [settings.preload] * (2 if "MATRIX_TWICE" in own else 1) if traced else []
        for name in circumstance.before:
            preload.insert(0, os.path.join(settings.libraries, name))
        for name in circumstance.preload:
            place = os.path.join(settings.libraries, name)
            preload.append(place if os.path.exists(place) else name)
        if preload:
            env["LD_PRELOAD"] = ":".join(preload)
        if traced:
            env.update({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_SERVICE_NAME": "matrix",
                        "FORKSPAN_EXIT_FLUSH": "10000", "FORKSPAN_WORKERS": "256", "FORKSPAN_FORK_WAIT": "1000",
                        "FORKSPAN_LOG": os.path.join(folder, "log"), "MATRIX_PRELOAD": settings.preload})
            env.setdefault("OTEL_BSP_SCHEDULE_DELAY", "50")
            if receiver.mode == "tls":
                env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = settings.certificate[0]
            if knobs:
                env["FORKSPAN_TEST_OFF"] = knobs
        else:
            env["MATRIX_PRELOAD"] = os.path.join(settings.libraries, "libwrap.so")

        def before_exec():
            if "MATRIX_CLOSE_STDIO" in own:
                for fd in (0, 1, 2):
                    os.close(fd)

        self.folder = folder
        facts = os.path.join(folder, "facts")
        pathlib.Path(facts).touch()
        os.chmod(facts, 0o666)  # also for whom the driver becomes
        with open(os.path.join(folder, "output"), "wb") as out:
            driver = subprocess.Popen([settings.driver, cell.way, cell.going, folder, *circumstance.options], env=env,
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                                      preexec_fn=before_exec if "MATRIX_CLOSE_STDIO" in own else None)
        self.pid = driver.pid
        self.status, self.hang, self.seconds = None, "", 0.0
        began = time.monotonic()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == driver.pid:
                self.status = status
                driver.returncode = status
            if pid == 0:
                if time.monotonic() - began > settings.limit:
                    self.kill()
                    break
                time.sleep(0.004)
        self.seconds = time.monotonic() - began
        self.read(cell)

    def kill(self):
        """What hangs is shown, and ended."""
        alive = descendants(os.getpid())
        self.hang = "\n".join(stacks(pid) for pid in alive[:6]) or "nobody there"
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break

    def read(self, cell):
        self.host = collections.defaultdict(list)
        self.threads, self.once, self.counted, self.at_most = [], [], {}, {}
        path = os.path.join(self.folder, "facts")
        for line in pathlib.Path(path).read_text().splitlines() if os.path.exists(path) else []:
            kind, _, rest = line.partition(" ")
            words = rest.split()
            if kind == "h":
                if " fds " in rest:
                    # another thread of the driver, at its notes or in its first allocations (libc counts the CPUs)
                    rest = re.sub(r"\d=(facts|online),", "", rest)
                if " fds " in rest and cell.circumstance == "sandbox":
                    rest = re.sub(r"\d=stat,", "", rest)  # RESPAWN=eager: what its own thread opens for a moment
                if " fds " in rest and (".parent fds" in rest or ".end fds" in rest or cell.way in (*RAW, "clone_files")):
                    # the batch thread's connection, which the process that exports has; the child of a raw system call
                    # until its first span; and a child that shares the files
                    rest = re.sub(r"2\d\d=socket:,", "", rest)
                    if cell.circumstance == "starting" and cell.way not in RAW and (".parent fds" in rest or ".end fds" in rest):
                        # what is being opened, and a socket before it is moved up
                        rest = re.sub(r"\d=([\w.-]+\.(conf|so|crt|cnf)[\d.]*|socket:),", "", rest)
                    # what its own thread opens for a moment: /proc/PID/stat, its log, a resolver's socket
                    if ".parent fds" in rest or ".end fds" in rest:
                        rest = re.sub(r"\d=(stat|log),", "", rest)
                    if cell.circumstance in ("dns", "dead"):
                        # the resolver's, or that of the next attempt, before it is moved up
                        rest = re.sub(r"\d=socket:,$", "", rest)
                self.host[" ".join(words[:2])].append(rest)
            elif kind == "t":
                self.threads.append((words[0], int(words[1]), int(words[2])))
            elif kind == "s":
                self.once.append(rest)
            elif kind == "n":
                self.counted[words[0]] = int(words[1])
            elif kind == "u":
                self.at_most[words[0]] = int(words[1])
        for values in self.host.values():
            values.sort()

    def log(self):
        parts = []
        for name in ("output", "log"):
            path = os.path.join(self.folder, name)
            if os.path.exists(path) and os.path.getsize(path):
                parts.append(f"{name}: " + pathlib.Path(path).read_text(errors="replace")[-600:])
        return "\n".join(parts)


def cut_off(cell, name):
    """A span of a child that may have got a thread - its second span came later than the schedule delay - and then left
    in the middle of what that sent: it is sent again."""
    return cell.going in ("_exit", "killed", "abort") and name.startswith("c.") and ("OTEL_BSP_SCHEDULE_DELAY", "10") in CIRCUMSTANCES[cell.circumstance].env


def wrong_spans(cell, run, spans):
    """Every span once, ids all different."""
    wrong = []
    handler = [s for s in spans if s.name.startswith("handler-")]
    if handler:
        # A child of a handler comes back to the loop it interrupted: the one span it ends there is its own.
        mine = [s for s in handler if s.pid == run.pid]
        others = collections.Counter(s.pid for s in handler if s.pid != run.pid)
        if any(n > 1 for n in others.values()):
            wrong.append(f"a child has finished more than one span: {others.most_common(3)}")
        spans = [s for s in spans if not s.name.startswith("handler-")] + mine
    names = collections.Counter(s.name for s in spans)
    expected = list(run.once)
    for prefix, count in run.counted.items():
        expected += [f"{prefix}-{i}" for i in range(count)]
    missing = [name for name in expected if names[name] == 0]
    resent = cell.circumstance in ("reuse_parent_poll",)  # the one batch whose answer was lost
    twice = [name for name, n in names.items() if n > 1 and not (resent or cut_off(cell, name))]
    known = set(expected)
    strange = [name for name in names if name not in known and name.rsplit("-", 1)[0] not in run.at_most]
    if missing:
        wrong.append(f"{len(missing)} of {len(expected)} spans are missing: {missing[:6]}")
    if twice:
        wrong.append(f"{len(twice)} spans came twice: {twice[:6]}")
    if strange:
        wrong.append(f"spans nobody ended: {strange[:6]}")
    if run.at_most and sum(1 for s in spans if s.name.startswith("fill-")) < 1000:
        wrong.append("a full queue has sent less than it holds")
    spans = [s for s in spans if not cut_off(cell, s.name)]
    ids = collections.Counter(s.span_id for s in spans)
    if not resent and any(n > 1 for n in ids.values()):
        wrong.append(f"span ids are used twice: {[i for i, n in ids.items() if n > 1][:4]}")
    traces = collections.Counter(s.trace_id for s in spans)
    if not resent and any(n > 1 for n in traces.values()):
        wrong.append(f"trace ids are used twice: {[i for i, n in traces.items() if n > 1][:4]}")
    return wrong


def wrong_with(settings, cell, control, run, spans):
    if run.hang:
        if control.hang:
            return []  # it hangs without us, too
        return [f"hangs after {settings.limit} s\n{run.hang}"]
    wrong = []
    if control.status != 0 or not any(key.startswith("p.end") for key in control.host):
        wrong.append(f"the control does not come to its end: status {control.status:#x}")
    if run.status != control.status:
        wrong.append(f"exit status {run.status:#x}, without the preload {control.status:#x}")
    for key in sorted(set(control.host) | set(run.host)):
        if control.host.get(key) != run.host.get(key):
            wrong.append(f"the host sees {run.host.get(key)}, without the preload {control.host.get(key)}")
    for who, got, wanted in run.threads:
        if got != wanted:
            wrong.append(f"{who} has {got} threads, promised are {wanted}")
    for path in pathlib.Path(run.folder).glob("own.*"):
        if path.read_bytes() != b"mine\n":
            wrong.append(f"{path.name} has {path.read_bytes()[:60]!r}")
    if settings.no_spans:
        return [text for text in wrong if "flush" not in text]
    if not run.once and cell.circumstance != "untouched" and cell.way not in ("handler", "handler_Fork"):
        wrong.append("no span was ended: is the preload there?")
    return wrong + wrong_spans(cell, run, spans)


def one_run(settings, cell, traced, knobs=""):
    folder = tempfile.mkdtemp(prefix="forkspan-matrix-")
    os.chmod(folder, 0o777)
    circumstance = CIRCUMSTANCES[cell.circumstance]
    receiver = None
    try:
        if traced:
            receiver = StallingReceiver(circumstance.receiver, folder, settings.certificate)
            if receiver.mode == "dns":
                config = os.path.join(folder, "resolv.conf")
                pathlib.Path(config).write_text(f"nameserver {receiver.dns_address}\noptions attempts:1 timeout:20\n")
                if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or \
                        libc.mount(config.encode(), b"/etc/resolv.conf", None, MS_BIND, None):
                    raise OSError(ctypes.get_errno(), "a mount namespace for resolv.conf")
        else:
            for name in ("arrived", "during"):
                pathlib.Path(folder, name).touch()
        run = Run(settings, cell, traced, receiver, folder, knobs)
        run.own = [(p.name, p.read_bytes()) for p in pathlib.Path(folder).glob("own.*")]
        if not traced:
            return run, [], ""
        receiver.stop()
        wrong = wrong_with(settings, cell, one_run.control, run, receiver.spans())
        return run, wrong, run.log()
    finally:
        if libc.umount2(b"/etc/resolv.conf", 2) and False:
            pass
        shutil.rmtree(folder, ignore_errors=True)


def run_cell(settings, cell, knobs="", tries=1, limit=None, label=None):
    """In a process of its own: {wrong, runs, seconds, spans, skip}. `label` is the caller's."""
    if CIRCUMSTANCES[cell.circumstance].root and os.geteuid() != 0:
        return {"skip": "needs root", "runs": 0}
    if cell.way == "newpid" and os.geteuid() != 0:
        return {"skip": "a PID namespace needs root", "runs": 0}
    if cell.way.startswith("step") and platform.machine() != "x86_64":
        return {"skip": "needs the trap flag of x86-64", "runs": 0}
    settings.limit = limit or settings.limit
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    one_run.control, _, _ = one_run(settings, cell, False)
    if one_run.control.hang and not cell.way.startswith(("sys_", "asm_", "clone", "_Fork")):
        return {"wrong": ["the control, without the preload, hangs\n" + one_run.control.hang], "runs": 0}
    total = bad = spans = 0
    began, first = time.monotonic(), []
    for _ in range(tries):
        run, wrong, log = one_run(settings, cell, True, knobs)
        total += 1
        spans += len(run.once) + sum(run.counted.values())
        if wrong:
            bad += 1
            first = first or [*wrong, log]
            break
    return {"wrong": first, "runs": total, "bad": bad, "seconds": time.monotonic() - began, "spans": spans}


def in_process(settings, job):
    """Starts run_cell in a process; returns (pid, file of its result)."""
    handle, path = tempfile.mkstemp(prefix="forkspan-cell-")
    os.close(handle)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                result = run_cell(settings, **job)
            except BaseException:  # a bug of the runner is a failure of the cell
                result = {"wrong": [traceback.format_exc()], "runs": 0}
            pathlib.Path(path).write_text(json.dumps(result))
        finally:
            os._exit(0)
    return pid, path


def run_all(settings, jobs, report):
    """jobs: keyword arguments of run_cell; report(job, result) as they end."""
    waiting, running = list(jobs), {}
    while waiting or running:
        while waiting and len(running) < settings.jobs:
            job = waiting.pop(0)
            pid, path = in_process(settings, job)
            running[pid] = job, path
        pid, _ = os.wait()
        if pid not in running:
            continue
        job, path = running.pop(pid)
        text = pathlib.Path(path).read_text()
        os.unlink(path)
        report(job, json.loads(text) if text else {"wrong": ["the cell's process died"], "runs": 0})


def page(settings, results):
    cells = [(job["cell"], result) for job, result in results]
    good = sum(1 for _, r in cells if not r.get("wrong") and not r.get("skip"))
    lines = ["<!-- SPDX-License-Identifier: Apache-2.0 -->", "# The fork matrix", "",
             "<!-- Written by tests/fork/run_matrix.py; do not edit. -->", "",
             f"{len(cells)} cells, {good} pass. `scripts/test` runs each once, `scripts/test --long` many times.", "",
             "A cell is a way to fork, a way to go on, and circumstances. Each is run with and without the preload. It",
             "passes when no process hangs; when exit codes, signals, errno, signal masks, open files and results are",
             "those without the preload; when every span arrives once and no id is used twice; when each process has the",
             "threads it is promised; and when the application's files hold the application's bytes.",
             "Run it: `scripts/test --only matrix`; one cell: `tests/fork/run_matrix.py --only 'REGEX' ...`.", "",
             "## Ways to fork", "", "| name | what |", "|---|---|",
             *[f"| `{k}` | {v} |" for k, v in WAYS.items()], "",
             "## Circumstances", "", "| name | what |", "|---|---|",
             *[f"| `{k}` | {v.text} |" for k, v in CIRCUMSTANCES.items()], "",
             "## Cells", "", "| way | goes on by | circumstances | result |", "|---|---|---|---|"]
    order = {way: i for i, way in enumerate(WAYS)}
    for cell, r in sorted(cells, key=lambda x: (order[x[0].way], GOINGS.index(x[0].going), list(CIRCUMSTANCES).index(x[0].circumstance))):
        verdict = f"skipped: {r['skip']}" if r.get("skip") else "**fails**" if r.get("wrong") else "passes"
        lines.append(f"| `{cell.way}` | `{cell.going}` | `{cell.circumstance}` | {verdict} |")
    pathlib.Path(settings.page).write_text("\n".join(lines) + "\n")


def settings_of(parser):
    parser.add_argument("--driver", required=True)
    parser.add_argument("--preload", required=True)
    parser.add_argument("--libraries", required=True)
    parser.add_argument("--jobs", type=int, default=max(3, os.cpu_count() or 1))
    parser.add_argument("--no-spans", action="store_true", help="there is no exporter: spans are not compared")
    parser.add_argument("--limit", type=float, default=LIMIT_S)
    settings = parser.parse_args()
    for name in ("driver", "preload", "libraries"):
        setattr(settings, name, os.path.abspath(getattr(settings, name)))
    settings.keep = tempfile.TemporaryDirectory(prefix="forkspan-certificate-")
    os.chmod(settings.keep.name, 0o755)
    settings.certificate = make_certificate(settings.keep.name)
    return settings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--only", default=".")
    parser.add_argument("--page")
    settings = settings_of(parser)
    table = [cell for cell in rows() if re.search(settings.only, cell.name)]
    results, failed = [], 0

    def report(job, result):
        nonlocal failed
        results.append((job, result))
        name = f"{job['cell'].name}"
        if result.get("skip"):
            print(f"ok {len(results)} - {name} # SKIP {result['skip']}", flush=True)
            return
        good = not result["wrong"]
        failed += not good
        print(f"{'ok' if good else 'not ok'} {len(results)} - {name} ({result['runs']} runs, "
              f"{result.get('seconds', 0):.1f} s)", flush=True)
        for text in result["wrong"]:
            for line in text.splitlines()[:80]:
                print(f"#   {line}", flush=True)

    run_all(settings, [{"cell": cell, "tries": settings.repeat} for cell in table], report)
    everything = settings.only == "."
    if everything:
        covered = [{getattr(cell, f) for cell in table} for f in ("way", "going", "circumstance")]
        all_there = covered == [set(WAYS), set(GOINGS), set(CIRCUMSTANCES)] and len(table) >= 150
        failed += not all_there
        print(f"{'ok' if all_there else 'not ok'} {len(results) + 1} - {len(table)} cells, each way, each going-on and each "
              "circumstance among them", flush=True)
    if settings.page and everything:
        page(settings, results)
    print(f"1..{len(results) + everything}\n# {len(table)} cells, {settings.repeat} runs each")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
