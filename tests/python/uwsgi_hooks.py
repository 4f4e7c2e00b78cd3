# SPDX-License-Identifier: Apache-2.0
"""Python's fork hooks under uWSGI and gunicorn, as TAP. Each hook runs once a fork, whatever options are on; workers
beside a busy Python thread of the master all come up, where without forkspan they hang.

    uwsgi_hooks.py --preload libforkspan.so --boots N UWSGI...   (each its name, a colon and its command)
"""
import argparse
import collections
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Tap, clean_environment, free_port, until  # noqa: E402

WORKERS = 32
HANG_S = 10  # a worker that has not come up by then does not come


class Server:
    """Under forkspan if `preload`, in a process group of its own."""

    def __init__(self, command, preload, folder, **more):
        self.notes = os.path.join(folder, "notes")
        self.log = os.path.join(folder, "log")
        pathlib.Path(self.notes).unlink(missing_ok=True)
        env = clean_environment(HOOK_NOTES=self.notes, PYTHONPATH=str(HERE), **more)
        if preload:
            env.update(LD_PRELOAD=preload, OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE=os.path.join(folder, "spans"))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def noted(self):
        if not os.path.exists(self.notes):
            return []
        return [tuple(line.split()) for line in open(self.notes, encoding="utf-8")]

    def said(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def children(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in open(path).read().split()] if os.path.exists(path) else []

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def uwsgi(command, workers, *options):
    return [*command.split(), "--http-socket", f"127.0.0.1:{free_port()}", "--master", "--processes", str(workers),
            "--wsgi-file", str(HERE / "hooks_app.py"), "--disable-logging", *options]


ONCE = {"before": 2, "parent": 2, "child": 2}
OPTIONS = {  # what the hooks count with two workers: without forkspan, with it; None: what this uWSGI makes of its option
    "default options": ((), {}, ONCE),
    "--enable-threads": (("--enable-threads",), {}, ONCE),
    "--threads 2": (("--threads", "2"), {}, ONCE),
    "--py-call-osafterfork": (("--enable-threads", "--py-call-osafterfork"), None, None),
    "--py-call-uwsgi-fork-hooks": (("--enable-threads", "--py-call-uwsgi-fork-hooks"), None, None),
    "--lazy-apps": (("--lazy-apps",), {}, {}),  # the hooks are registered in the workers: nothing is forked after it
}


def each_option(tap, name, command, preload, folder):
    help_text = subprocess.run([*command.split(), "--help"], capture_output=True, text=True).stdout
    for what, (options, without, with_us) in OPTIONS.items():
        if what.startswith("--py-call") and what not in help_text:
            tap.skip(f"{name} {what}", "this uWSGI has no such option")
            continue
        native = None
        for who, wanted, library in (("without", without, None), ("with", with_us, preload)):
            server = Server(uwsgi(command, 2, *options), library, folder)
            try:
                until(lambda: sum(note == "up" for note, _ in server.noted()) == 2, "two workers are up")
                counts = collections.Counter(note for note, _ in server.noted())
                del counts["up"]
                children = {pid for note, pid in server.noted() if note == "child"}
                if wanted is None:
                    native = wanted = native or dict(counts)
                    if not library and not wanted.get("child"):
                        tap.check(False, f"{name} {what}: uWSGI's own hooks run", counts)
                tap.check(dict(counts) == wanted and len(children) == wanted.get("child", 0),
                          f"{name} {what}: hooks {who} forkspan: {wanted or 'none'}", f"{counts} in {children}\n{server.said()}")
            except TimeoutError as late:
                tap.check(False, f"{name} {what}: workers come up {who} forkspan", f"{late}\n{server.said()}")
            finally:
                server.end()


def boots(command, preload, folder, wanted, give_up_after_a_hang):
    """(workers that came up, hung workers with their stacks) of a server whose workers are killed and forked anew."""
    server = Server(uwsgi(command, WORKERS, "--enable-threads"), preload, folder, HOOK_BUSY="1")
    came = hung = 0
    stacks = []
    up = set()
    try:
        until(lambda: server.children() or server.process.poll() is not None, "workers")
        while came + hung < wanted:
            until(lambda: len(server.children()) >= WORKERS, "all workers are forked", 30)
            deadline = time.monotonic() + HANG_S
            while True:
                up = {int(pid) for note, pid in server.noted() if note == "up"}
                waiting = [pid for pid in server.children() if pid not in up]
                if not waiting or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            workers = server.children()
            came += len(workers) - len(waiting)
            hung += len(waiting)
            if waiting:
                stacks.append(subprocess.run(["gdb", "-p", str(waiting[0]), "-batch", "-ex", "bt 12"], capture_output=True,
                                             text=True).stdout[-1500:])
                if give_up_after_a_hang:
                    break
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            until(lambda: not set(workers) & set(server.children()), "the killed are reaped", 30)
        return came, hung, stacks
    finally:
        server.end()


def gunicorn(tap, command, preload, folder):
    for who, library in (("without", None), ("with", preload)):
        server = Server([*command.split(), "--preload", "-w", "2", "-b", f"127.0.0.1:{free_port()}", "hooks_app:application"],
                        library, folder)
        try:
            until(lambda: sum(note == "child" for note, _ in server.noted()) == 2, "two workers")
            until(lambda: sum(note == "parent" for note, _ in server.noted()) == 2, "the master goes on")
            counts = collections.Counter(note for note, _ in server.noted())
            tap.check(dict(counts) == {"before": 2, "parent": 2, "child": 2}, f"gunicorn: hooks {who} forkspan: once a fork", counts)
        except TimeoutError as late:
            tap.check(False, f"gunicorn {who} forkspan", f"{late}\n{server.said()}")
        finally:
            server.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preload", required=True)
    parser.add_argument("--boots", type=int, default=200)
    parser.add_argument("--gunicorn")
    parser.add_argument("uwsgi", nargs="*")
    args = parser.parse_args()
    preload = os.path.abspath(args.preload)
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        if args.gunicorn:
            gunicorn(tap, args.gunicorn, preload, folder)
        for number, named in enumerate(args.uwsgi):
            name, command = named.split(":", 1)
            each_option(tap, name, command, preload, folder)
            wanted = args.boots if number == 0 else max(args.boots // 4, WORKERS)
            came, hung, stacks = boots(command, None, folder, wanted, True)
            tap.check(hung, f"{name}: beside a busy thread workers hang without forkspan ({hung} of {came + hung})",
                      "the control did not fail")
            came, hung, stacks = boots(command, preload, folder, wanted, False)
            tap.check(hung == 0 and came >= wanted, f"{name}: and with it {came} of {came + hung} workers come up",
                      "\n".join(stacks))
    tap.end()


main()
