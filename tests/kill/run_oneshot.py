# SPDX-License-Identifier: Apache-2.0
"""The one-shot consumer, as TAP: run_oneshot.py WITNESS PRELOAD COMMAND EXPORTER

Nothing is lost where no process is left to send, and the host does not notice. The controls are the same runs
with a library that has no command beside it: there spans must be lost.
"""
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Tap, clean_environment, consumers, fetch, until, whole_lines  # noqa: E402

witness, preload, command, exporter = map(os.path.abspath, sys.argv[1:5])
tap = Tap()
folder = tempfile.mkdtemp(prefix="oneshot-")
lines = os.path.join(folder, "lines")
MINE = f"FORKSPAN_FILE={lines}".encode()


def lone_library():
    """The library and its exporter without the command."""
    place = os.path.join(folder, "lone", "lib")
    os.makedirs(os.path.join(place, "forkspan"))
    shutil.copy(preload, place)
    shutil.copy(exporter, os.path.join(place, "forkspan"))
    return os.path.join(place, os.path.basename(preload))


def environment(library=preload, **more):
    env = clean_environment(OTEL_SERVICE_NAME="oneshot", OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE=lines,
                            OTEL_BSP_SCHEDULE_DELAY="60000", **more)
    return dict(env, LD_PRELOAD=library) if library else env


def environment_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def no_consumer(*but):
    """Nor one that is on its way: before its exec it looks like the program that started it."""
    def others():
        return [pid for pid in filter(str.isdigit, os.listdir("/proc")) if int(pid) not in but and MINE in environment_of(pid)]
    until(lambda: not others(), "every consumer goes by itself")


def names(keep=False):
    """`keep`: its writer is alive, and may be in the middle of a line."""
    found = collections.Counter()
    if os.path.exists(lines):
        for line in whole_lines(lines):
            for rs in json.loads(line)["resourceSpans"]:
                for ss in rs["scopeSpans"]:
                    for span in ss["spans"]:
                        path = [a["value"]["stringValue"] for a in span["attributes"] if a["key"] == "url.path"] \
                            if "attributes" in span else []
                        found[path[0] if path else span["name"]] += 1
        if not keep:
            os.unlink(lines)
    return found


def wrong(found, wanted):
    return {name: found[name] for name in set(found) | set(wanted) if found[name] != wanted.count(name)}


def run(*arguments, library=preload, wrap=(), **more):
    done = subprocess.run([*wrap, witness, *map(str, arguments)], env=environment(library, **more),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    no_consumer()
    return done


def same_as_without(what, *arguments, wrap=()):
    plain = run(*arguments, library=None, wrap=wrap)
    names()
    traced = run(*arguments, wrap=wrap)
    tap.check((plain.returncode, plain.stdout) == (traced.returncode, traced.stdout) and plain.stdout,
              f"{what}: what the program sees is what it sees without forkspan",
              f"without: {plain.returncode}\n{plain.stdout}\nwith: {traced.returncode}\n{traced.stdout}\n{traced.stderr}")
    return traced


def visible():
    same_as_without("children that leave in five ways, waited for in seven", "children", 70)
    found = names()
    wanted = [f"child-{i}" for i in range(70)]
    tap.check(not wrong(found, wanted), "children: every span once", wrong(found, wanted))
    for what, rounds in (("exec", 1), ("execs", 9)):
        same_as_without(f"{what} in the same pid", what, 20)
        found, wanted = names(), [f"before-{i}" for i in range(20 * rounds)] + ["after-0"]
        tap.check(not wrong(found, wanted), f"{what}: every span of both sides once", wrong(found, wanted))
    same_as_without("an exec that fails", "noexec", 10)
    found, wanted = names(), [f"still-{i}" for i in range(10)]
    tap.check(not wrong(found, wanted), "an exec that fails: every span once", wrong(found, wanted))
    wanted = [f"last-{i}" for i in range(20)]
    for what, how in (("raise(SIGTERM)", 0), ("kill(getpid(), SIGINT)", 1), ("a signal raised again without its handler", 2)):
        same_as_without(f"ended by {what}", "ends", 20, how)
        found = names()
        tap.check(not wrong(found, wanted), f"ended by {what}: every span once", wrong(found, wanted))
    run("ends", 20, 3)
    found = names()
    tap.check(not found, "control: ended by a signal that nobody sees coming, they are lost", found)
    if os.geteuid() == 0 and subprocess.run(["unshare", "-pf", "true"], capture_output=True).returncode == 0:
        plain = run("children", 14, library=None, wrap=("unshare", "-pf", "--mount-proc", "--kill-child"))
        names()
        traced = run("children", 14, wrap=("unshare", "-pf", "--mount-proc", "--kill-child"))

        def told(text):  # orphans come to process 1: /proc lists them, and their SIGCHLD comes; that is all
            return [re.sub(r"children '[\d ]*'", "", line.split(" sigchld")[0]) for line in text.splitlines()]
        tap.check(told(plain.stdout) == told(traced.stdout) and plain.stdout, "as process 1: no wait sees the consumer",
                  f"without\n{plain.stdout}\nwith\n{traced.stdout}")
        found, wanted = names(), [f"child-{i}" for i in range(14)]
        tap.check(not wrong(found, wanted), "as process 1: every span once", wrong(found, wanted))
    else:
        tap.skip("as process 1", "needs root and PID namespaces")


def young(library):
    """A master that never serves, its children killed: what has arrived while it lives, without an exit path."""
    names()
    process = subprocess.Popen([witness, "young", "60"], env=environment(library), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "all died\n"
        threads = len(os.listdir(f"/proc/{process.pid}/task"))
        if library == preload:
            no_consumer(process.pid)  # it lingers for a second after the last
    finally:
        out, error = process.communicate("", timeout=60)
    return names(), threads, out + error


def dead_young():
    found, threads, out = young(preload)
    wanted = [f"young-{i}" for i in range(60)]
    tap.check(not wrong(found, wanted), "a master whose 60 workers die young: every span once, while it lives",
              f"{wrong(found, wanted)} {out}")
    tap.check(threads == 1, "it has one thread", threads)
    found, _, out = young(lone_library_path)
    tap.check(len(found) < 60, "control: without the command they are lost", found)
    tap.check(out.count("forkspan:") == 1, "control: which is said once", out)
    found = run("exec", 20, library=lone_library_path)
    found = names()
    tap.check(len(found) < 21, "control: without the command an exec loses what is unsent", found)


def sealed():
    """What is queued when a process forks is exported then, not at the end of OTEL_BSP_SCHEDULE_DELAY."""
    names()
    process = subprocess.Popen([witness, "forks", "3"], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wanted = ["/once"] + [f"sealed-{i}" for i in range(3)]
    try:
        for i in range(3):  # at the second the thread sleeps
            until(lambda: set(wanted[:i + 2]) <= set(names(keep=True)), f"{wanted[i + 1]} arrives")
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdout.readline()
    except TimeoutError as late:
        print(f"# {late}")
    finally:
        found = names(keep=True)
        _, error = process.communicate("", timeout=60)
    no_consumer()
    names()
    tap.check(not wrong(found, wanted), "a fork sends what is queued, once; what comes after it waits for its time", f"{found} {error}")


class Server:
    def __init__(self, library=preload, **more):
        self.process = subprocess.Popen([sys.executable, str(HERE / "forking_server.py")], env=environment(library, **more),
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.port, self.pid = map(int, self.process.stdout.readline().split())

    def get(self, path):
        fetch(self.port, path)

    def stop(self):
        self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


def alive_children(pid):
    found = []
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        found += [child] if state not in "ZX" else []
    return found


def forking():
    names()
    server = Server()
    wanted = [f"/r{i}" for i in range(200)]
    for path in wanted:
        server.get(path)
    threads, fds = len(os.listdir(f"/proc/{server.pid}/task")), sorted(os.listdir(f"/proc/{server.pid}/fd"))
    code = server.stop()
    no_consumer()
    found = names()
    tap.check(not wrong(found, wanted), "ForkingMixIn, 200 requests: every span once", wrong(found, wanted))
    tap.check((threads, code) == (1, 0), "ForkingMixIn: one thread in the master, exit code 0", (threads, code))
    tap.check(fds == ["0", "1", "2", "3"], "ForkingMixIn: the master's files are its own", fds)

    # Its process group is killed under it, as by a stop that has lost patience.
    server = Server()
    for path in wanted[:50]:
        server.get(path)
    until(lambda: not alive_children(server.pid), "the last child has left")
    os.killpg(server.pid, signal.SIGKILL)
    server.process.wait()
    server.process.stdout.close()
    no_consumer()
    found = names()
    tap.check(not wrong(found, wanted[:50]), "the whole process group killed: a consumer at work sends all",
              wrong(found, wanted[:50]))


def holds_nothing():
    """A consumer that waits for its collector has nothing of the host's open, and no preload in it."""
    silent = socket.create_server(("127.0.0.1", 0))
    endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
    env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    env["OTEL_TRACES_EXPORTER"] = "otlp"
    env["OTEL_EXPORTER_OTLP_TIMEOUT"] = "3000"
    process = subprocess.Popen([sys.executable, str(HERE / "forking_server.py")], env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    port, _ = map(int, process.stdout.readline().split())
    fetch(port, "/x")
    pid = until(lambda: consumers(folder), "a consumer")[0]
    accepted, _ = silent.accept()

    def opened():
        files = {}
        for n in os.listdir(f"/proc/{pid}/fd"):
            try:
                files[int(n)] = os.readlink(f"/proc/{pid}/fd/{n}")
            except FileNotFoundError:
                pass
        return files

    def own_only():
        files = opened()
        mine = [f for n, f in files.items() if n > 2]
        return len(mine) == 1 and mine[0].startswith("socket:") and files[0] == files[1] == "/dev/null"

    try:  # it opens a file of /proc for a moment, to see who lives
        until(own_only, "nothing open that is not its own", 5)
        files = None
    except TimeoutError:
        files = opened()
    tap.check(files is None,
              "the consumer has its own socket open and nothing of the host's", files)
    tap.check(b"LD_PRELOAD" not in environment_of(pid), "the consumer is not traced itself")
    status = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    tap.check(int(status[3]) == pid, "the consumer is in a session of its own", status)
    process.kill()
    process.wait()
    process.stdout.close()
    probe = socket.socket()
    refused = probe.connect_ex(("127.0.0.1", port))
    probe.close()
    tap.check(refused != 0, "the host's port is free when the host is gone, whatever the consumer waits for")
    accepted.close()
    silent.close()
    no_consumer()


try:
    lone_library_path = lone_library()
    visible()
    dead_young()
    sealed()
    forking()
    holds_nothing()
finally:
    shutil.rmtree(folder)
tap.end()
