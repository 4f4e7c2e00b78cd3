# SPDX-License-Identifier: Apache-2.0
"""FORKSPAN_EXPORT=process, and forkspan run as the last sweeper, as TAP: run_permanent.py WITNESS PREFORK PRELOAD COMMAND

The host does not notice the process that sends for it; nothing finished is lost when the whole tree is killed at once,
nor when that process is. The controls are the same runs with FORKSPAN_EXPORT=thread: there spans must be lost.
"""
import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from cgroup import NoCgroup, memory_cgroup  # noqa: E402
from harness import Tap, attributes, children, clean_environment, consumers, fetch_unless_broken, gone as ended, until, whole_lines  # noqa: E402

witness, prefork, preload, command = map(os.path.abspath, sys.argv[1:5])
tap = Tap()
folder = tempfile.mkdtemp(prefix="permanent-")
lines = os.path.join(folder, "lines")


def environment(export="process", library=preload, **more):
    env = clean_environment(**{"OTEL_SERVICE_NAME": "permanent", "OTEL_TRACES_EXPORTER": "otlp/stdout", "FORKSPAN_FILE": lines,
                               "OTEL_BSP_SCHEDULE_DELAY": "60000", "FORKSPAN_EXPORT": export, "OTEL_LOG_LEVEL": "debug", **more})
    return dict(env, LD_PRELOAD=library) if library else env


def gone():
    until(lambda: not consumers(folder), "what sends for a tree goes when that has gone")


def names():
    """url.path or name -> how many spans; takes them."""
    found = collections.Counter()
    if os.path.exists(lines):
        for line in open(lines, encoding="utf-8"):
            for rs in json.loads(line)["resourceSpans"]:
                for ss in rs["scopeSpans"]:
                    for span in ss["spans"]:
                        found[attributes(span).get("url.path", span["name"])] += 1
        os.unlink(lines)
    return found


def wrong(found, wanted):
    return {name: found[name] for name in set(found) | set(wanted) if found[name] != wanted.count(name)}


def invisible():
    def run(arguments, library=preload):
        done = subprocess.run(arguments, env=environment(library=library), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)
        gone()
        return done

    script = """trap 'n=$((n+1))' CHLD; set -m; "$0" children 7 & wait %1; echo status $?; jobs | wc -l
                (exit 5); echo $?; wait; echo $n"""
    for what, arguments, wanted in (
            ("children that leave in five ways, waited for in seven", [witness, "children", "35"], [f"child-{i}" for i in range(35)]),
            ("an exec in the same pid", [witness, "exec", "20"], [f"before-{i}" for i in range(20)] + ["after-0"]),
            ("an exec that fails", [witness, "noexec", "10"], [f"still-{i}" for i in range(10)]),
            ("a script with jobs", ["bash", "-c", script, witness], [f"child-{i}" for i in range(7)])):
        plain = run(arguments, None)
        names()
        traced = run(arguments)
        found = names()
        tap.check((plain.returncode, plain.stdout) == (traced.returncode, traced.stdout) and plain.stdout,
                  f"{what}: what the program sees is what it sees without forkspan",
                  f"without: {plain.returncode}\n{plain.stdout}\nwith: {traced.returncode}\n{traced.stdout}\n{traced.stderr}")
        tap.check(not wrong(found, wanted), f"{what}: every span once", f"{wrong(found, wanted)} {traced.stderr}")


class Server:
    running = []

    def __init__(self, wrap=(), export="process", library=preload, program=(prefork, "4"), said="said", **more):
        self.name = said
        self.said = open(os.path.join(folder, said), "w+")
        self.process = subprocess.Popen([*wrap, *program], env=environment(export, library, **more), stdout=subprocess.PIPE,
                                        stderr=self.said, text=True, start_new_session=True)
        self.running.append(self.process)
        self.port, self.pid = map(int, self.process.stdout.readline().split())
        self.answered, self.stopping, self.threads = [], False, []

    def get(self, path):
        answer = fetch_unless_broken(self.port, path)
        return answer and answer.body

    def load(self):
        def one(which):
            n = 0
            while not self.stopping:
                path = f"/ok/{self.name}/{which}-{n}"
                n += 1
                if self.get(path) is not None:
                    self.answered.append(path)
                time.sleep(0.002)  # a load that does not fill the rings: they would drop spans

        self.threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(3)]
        for thread in self.threads:
            thread.start()
        self.more(200)

    def more(self, n):
        wanted = len(self.answered) + n
        until(lambda: len(self.answered) >= wanted, "requests are answered")

    def kill(self, pids):
        """All of them at once: stopped first, so that none of them sees another one's end."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)
        self.end()

    def kill_parent_first(self, pids):
        """The others when the parent has been reaped: to its own parent they seem to live on."""
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: ended(pids[0]), "the first is reaped")
        for pid in pids[1:]:
            os.kill(pid, signal.SIGKILL)
        self.end()

    def end(self):
        self.process.wait(30)
        self.stopping = True
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()

    def log(self):
        self.said.seek(0)
        return self.said.read()


def lost(server, found):
    return [path for path in server.answered if not found[path]]


def whole_tree_killed():
    file = {"FORKSPAN_ARENA": os.path.join(folder, "arena")}
    for what, wrap, library, export, more, all_there in (
            ("FORKSPAN_EXPORT=process", (), preload, "process", {}, True),
            ("FORKSPAN_EXPORT=process, the arena in a file", (), preload, "process", file, True),
            ("the same file once more", (), preload, "process", file, True),
            ("control: a thread in each worker", (), preload, "thread", {}, False),
            ("forkspan run", (command, "run", "--"), None, "thread", {}, True),
            ("forkspan run, FORKSPAN_EXPORT=process", (command, "run", "--"), None, "process", {}, True)):
        server = Server(wrap, export, library, **more)
        server.load()
        server.kill([server.pid, *children(server.pid)])
        gone()
        found = names()
        missing, twice = lost(server, found), [path for path in found if found[path] > 1]
        tap.check(not missing if all_there else missing, f"{what}: the tree is killed at once: "
                  f"{'nothing' if all_there else 'something'} finished is lost", f"{len(missing)} of {len(server.answered)}\n{server.log()}")
        tap.check(not twice, f"{what}: nothing comes twice", twice[:20])
        if wrap:
            tap.check(server.process.returncode == -signal.SIGKILL, f"{what}: forkspan ends as its command",
                      server.process.returncode)


def parent_killed_first():
    server = Server((command, "run", "--"), "thread", None)
    server.load()
    server.kill_parent_first([server.pid, *children(server.pid)])
    gone()
    missing = lost(server, names())
    tap.check(not missing, "forkspan run: the parent dies before its workers: nothing finished is lost",
              f"{len(missing)} of {len(server.answered)}\n{server.log()}")


def consumer_killed(what, **more):
    names()
    server = Server(OTEL_BSP_SCHEDULE_DELAY="100", **more)
    threads = {len(os.listdir(f"/proc/{pid}/task")) for pid in (server.pid, *children(server.pid))}
    server.load()
    seen = []
    for _ in range(3):
        pid = until(lambda: [pid for pid in consumers(folder) if pid not in seen], "a consumer runs")[0]
        seen.append(pid)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(pid, number)
        server.more(50)
        os.kill(pid, signal.SIGKILL)
        server.more(50)
    last = until(lambda: [pid for pid in consumers(folder) if pid not in seen], "a consumer runs again")
    tap.check(len(last) == 1, f"{what}: killed three times, the process that sends is there again, one of it", last)
    maps = "".join(pathlib.Path(f"/proc/{pid}/maps").read_text() for pid in (server.pid, *children(server.pid)))
    threads |= {len(os.listdir(f"/proc/{pid}/task")) for pid in (server.pid, *children(server.pid))}
    tap.check(threads == {1} and "forkspan-exporter" not in maps, f"{what}: no thread and no exporter in the host", threads)
    os.kill(server.pid, signal.SIGTERM)
    server.end()
    gone()
    found, again = names(), server.log().count("are sent again: process")
    tap.check(server.process.returncode == 0 and not lost(server, found), f"{what}: nothing is lost, exit status 0",
              f"{server.process.returncode} {lost(server, found)[:20]}\n{server.log()}")
    tap.check(again or all(n == 1 for n in found.values()), f"{what}: what comes twice is in a batch that is said to be sent again",
              [path for path in found if found[path] > 1][:20])


def spans():
    """(process.pid, url.path, error.type) of each in the file so far."""
    found = []
    for line in whole_lines(lines):
        for rs in json.loads(line)["resourceSpans"]:
            for ss in rs["scopeSpans"]:
                found += [(attributes(rs["resource"])["process.pid"], attributes(span).get("url.path"), attributes(span).get("error.type"))
                          for span in ss["spans"]]
    return found


def born_unseen():
    """Children that no layer saw, of a server that has a place of its own: theirs is another one, and their death is seen."""
    names()
    raw = os.path.join(os.path.dirname(prefork), "raw")
    server = Server(program=[raw], OTEL_BSP_SCHEDULE_DELAY="100")
    own = [server.get("/own") for _ in range(2)]
    pids = [int(server.get("/child")) for _ in range(10)]
    tap.check({int(pid) for pid in own} == {server.pid} and len({*pids, server.pid}) == 11, "raw clones answer", (own, pids))
    for _ in range(3):
        server.get("/die")
    try:
        until(lambda: sum(path == "/die" for _, path, _ in spans()) == 3, "the deaths are seen", 30)
    except TimeoutError:
        pass
    found = spans()
    died = [(pid, error) for pid, path, error in found if path == "/die"]
    tap.check(len({pid for pid, _ in died} - {*pids, server.pid}) == 3 and {error for _, error in died} == {"SIGKILL"},
              "raw clones that are killed while the server goes on: each request is a span of its process", f"{died}\n{server.log()}")
    tap.check(sorted(pid for pid, path, _ in found if path == "/child") == sorted(pids),
              "raw clones: each answer is a span of who gave it", f"{pids}\n{found}")
    os.kill(server.pid, signal.SIGTERM)
    server.end()
    gone()


def made_itself():
    """A process for each request, and nobody asked for one that sends: it is there, and forkspan status and explain say why."""
    names()
    server = Server(program=[os.path.join(os.path.dirname(prefork), "each"), "fork", "_exit", "0"], export="thread")

    def told(*words):
        return subprocess.run([command, *map(str, words)], env=clean_environment(), capture_output=True, text=True, timeout=60).stdout

    def sender():
        arenas = json.loads(told("status", "--json", "--interval", "0"))["arenas"]
        return next((arena["sender"] for arena in arenas if arena["maker_pid"] == server.pid and arena["sender"]["is"] == "process"), None)

    try:
        # The dead are found when the server looks at its children, which is at a request.
        until(lambda: server.get("/") and consumers(folder), "one sends what the dead have left")
        until(lambda: not consumers(folder), "and leaves")
        until(lambda: server.get("/") and consumers(folder), "another one comes")
        found = until(sender, "which stays")
        text = told("explain", found["pid"])
        tap.check(found["why"] == "again" and [found["pid"]] == consumers(folder) and "its processes come and go" in text,
                  "one that sends for all without being asked: it is said which, and why", f"{found} {text}")
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.end()
        gone()


def one_file_two_servers():
    """One process sends for both; when it leaves with its server, the other one's next span starts another."""
    names()
    file = {"FORKSPAN_ARENA": os.path.join(folder, "shared arena"), "OTEL_BSP_SCHEDULE_DELAY": "100"}
    first = Server(said="first", **file)
    first.load()
    pid = until(lambda: consumers(folder), "the first one's process sends")
    second = Server(said="second", **file)
    second.load()
    until(lambda: consumers(folder) == pid, "of two that would send one stays")
    early = set(second.answered)
    until(lambda: early <= {path for _, path, _ in spans()}, "it sends for the second, too")
    os.kill(first.pid, signal.SIGTERM)
    first.end()
    until(lambda: pid[0] not in consumers(folder), "it leaves with its server")
    second.more(50)
    again = until(lambda: consumers(folder), "another one sends")
    tap.check(len(pid) == len(again) == 1 and threads_of(second) == [1] * 5, "two servers, one file: one process sends, no thread does",
              f"{pid} {again} {threads_of(second)}")
    second.more(50)
    os.kill(second.pid, signal.SIGTERM)
    second.end()
    gone()
    found = names()
    for which, server in (("first", first), ("second", second)):
        missing = [path for path in server.answered if found[path] < 1]
        tap.check(not missing and server.process.returncode == 0, f"two servers, one file: the {which} loses nothing",
                  f"{len(missing)} of {len(server.answered)}\n{server.log()}")
    tap.check(all(n == 1 for n in found.values()), "two servers, one file: nothing comes twice", [p for p in found if found[p] > 1][:20])


def in_group(group):
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def stop_group(group, server, number):
    """As a service manager does: a signal to each process there is. How long it takes until there is none."""
    began = time.monotonic()

    def empty():
        pids = in_group(group)
        if number == signal.SIGKILL or not server.stopping:
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        server.stopping = True
        server.process.poll()  # or the first of them stays there as a zombie
        return not pids

    until(empty, "the group is empty", 30)
    took = time.monotonic() - began
    server.end()
    return took


def group_stopped():
    """All processes of a service are signalled at once, the one that sends among them."""
    try:
        with memory_cgroup(1 << 30) as group:
            enter = ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec env LD_PRELOAD={preload} "$0" "$@"')
            for what, number, more in (("SIGTERM", signal.SIGTERM, {}), ("SIGKILL", signal.SIGKILL, {}),
                                       ("SIGTERM, and nobody takes the spans", signal.SIGTERM, {
                                           "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318",
                                           "OTEL_EXPORTER_OTLP_TIMEOUT": "2000", "FORKSPAN_EXIT_FLUSH": "500"})):
                names()
                server = Server(enter, library=None, **more)
                server.load()
                pids = in_group(group)
                tap.check(len(pids) == 6 and set(consumers(folder)) < set(pids), f"a group, {what}: the process that sends is in it", pids)
                took = stop_group(group, server, number)
                wanted = 0 if number == signal.SIGTERM else -signal.SIGKILL
                tap.check(server.process.returncode == wanted and took < 10, f"a group, {what}: it ends as without us, and the group is empty",
                          f"{server.process.returncode} {took:.1f} s\n{server.log()}")
                if number == signal.SIGTERM and not more:
                    missing = lost(server, names())
                    tap.check(not missing, f"a group, {what}: the last batch arrives", f"{len(missing)} of {len(server.answered)}\n{server.log()}")
    except NoCgroup as why:
        tap.skip("a group of processes that is stopped", str(why))


def installed(name):
    """A library that has its exporter, and a command that has another one: one's path, and the other's exporter's."""
    place = os.path.join(folder, name)
    good = os.path.join(os.path.dirname(preload), "..", "exporter", "forkspan-exporter.so")
    for part in ("shim/forkspan", "cli", "exporter"):
        os.makedirs(os.path.join(place, part))
    shutil.copy(preload, os.path.join(place, "shim"))
    shutil.copy(good, os.path.join(place, "shim", "forkspan"))
    shutil.copy(good, os.path.join(place, "exporter"))
    shutil.copy(command, os.path.join(place, "cli"))
    return os.path.join(place, "shim", "libforkspan.so"), os.path.join(place, "exporter", "forkspan-exporter.so")


def spoil(exporter):
    pathlib.Path(exporter + ".new").write_text("no library")
    os.rename(exporter + ".new", exporter)  # whoever has it open keeps it


def threads_of(server):
    return [len(os.listdir(f"/proc/{pid}/task")) for pid in (server.pid, *children(server.pid))]


def no_exporter():
    """The process that is to send can not open the exporter: each worker has a thread, as without it."""
    names()
    for what in ("can not be opened", "is not there", "can not be opened any more"):
        library, exporter = installed("installed-" + what.replace(" ", "-"))
        later = what.endswith("any more")
        if what == "is not there":
            os.unlink(exporter)
        elif not later:
            spoil(exporter)
        server = Server(library=library)
        server.load()
        if later:
            spoil(exporter)
            os.kill(until(lambda: consumers(folder), "the process that sends runs")[0], signal.SIGKILL)
            until(lambda: threads_of(server) == [1, 2, 2, 2, 2], "each worker has a thread")
        found = threads_of(server)
        os.kill(server.pid, signal.SIGTERM)
        server.end()
        gone()
        tap.check(found == [1, 2, 2, 2, 2], f"the exporter {what}: each worker has a thread, the master none", f"{found}\n{server.log()}")
        missing, said = lost(server, names()), server.log().count("FORKSPAN_EXPORT=process is not possible here")
        tap.check(not missing and said == 1, f"the exporter {what}: nothing is lost, and it is said once",
                  f"{said} {len(missing)} of {len(server.answered)}\n{server.log()}")


CONTAINER = ("unshare", "-pf", "--mount-proc", "--kill-child")


def container():
    if os.geteuid() == 0 and subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0:
        return True
    tap.skip("as process 1", "needs root and PID namespaces")
    return False


def first_process_killed():
    """Everything in its PID namespace dies with it. What had been sent is there, what lies in a file is sent from there."""
    for what, wrap, victims, more in (
            ("forkspan run as process 1, its server is killed as a whole", (*CONTAINER, command, "run", "--"),
             lambda first: [*children(first), *(pid for child in children(first) for pid in children(child))], {}),
            ("as process 1, killed, the arena in a file", (*CONTAINER, "env", f"LD_PRELOAD={preload}"), lambda first: [first],
             {"FORKSPAN_ARENA": os.path.join(folder, "first arena")}),
            ("as process 1, killed", (*CONTAINER, "env", f"LD_PRELOAD={preload}"), lambda first: [first],
             {"OTEL_BSP_SCHEDULE_DELAY": "100"})):
        names()
        server = Server(wrap, library=None, **more)
        server.load()
        early = list(server.answered)
        if "OTEL_BSP_SCHEDULE_DELAY" in more:
            until(lambda: set(early) <= {path for _, path, _ in spans()}, "what is old enough is sent")
        server.kill(victims(children(server.process.pid)[0]))
        gone()
        if "FORKSPAN_ARENA" in more:
            subprocess.run([command, "export", more["FORKSPAN_ARENA"]], env=environment(library=None), timeout=60, check=True)
        found = names()
        wanted = early if "OTEL_BSP_SCHEDULE_DELAY" in more else server.answered
        missing = [path for path in wanted if not found[path]]
        tap.check(not missing and all(n == 1 for n in found.values()), f"{what}: nothing of that is lost, nothing comes twice",
                  f"{len(missing)} of {len(wanted)}\n{server.log()}")


def first_process():
    """A server that waits until it has no child, where orphans come to it."""
    names()
    server = Server((*CONTAINER, "env", f"LD_PRELOAD={preload}"), library=None)
    server.load()
    os.kill(children(server.process.pid)[0], signal.SIGTERM)
    try:
        server.end()
    except subprocess.TimeoutExpired:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.end()
    found = names()
    tap.check(server.process.returncode == 0, "as process 1: it ends, for it has no child left", server.process.returncode)
    tap.check(not lost(server, found), "as process 1: its exit waits until all is sent", lost(server, found)[:20])


try:
    invisible()
    whole_tree_killed()
    parent_killed_first()
    consumer_killed("in memory")
    consumer_killed("in a file", FORKSPAN_ARENA=os.path.join(folder, "arena"))
    born_unseen()
    made_itself()
    one_file_two_servers()
    group_stopped()
    no_exporter()
    if container():
        first_process()
        first_process_killed()
finally:
    for process in Server.running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(folder)
tap.end()
