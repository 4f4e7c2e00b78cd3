# SPDX-License-Identifier: Apache-2.0
"""The arena in a file, as TAP: run_file.py WITNESS PREFORK PRELOAD COMMAND

What a tree that died whole had not sent arrives after the next start, once; and a file that is not to be trusted is left
alone, with one line, while tracing goes on in memory.
"""
import collections
import fcntl
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import Tap, attributes, children, clean_environment, commands, fetch, free_port, until, whole_lines  # noqa: E402

witness, prefork, preload, command = map(os.path.abspath, sys.argv[1:5])
tap = Tap()
folder = os.path.realpath(tempfile.mkdtemp(prefix="file-arena-"))
lines = os.path.join(folder, "lines")
arena = os.path.join(folder, "arena")
SMALL = {"FORKSPAN_WORKERS": "16", "OTEL_BSP_MAX_QUEUE_SIZE": "512"}  # of some MiB: these tests make many
ROOT = os.geteuid() == 0


def environment(library=preload, where=arena, **more):
    env = clean_environment(**{"OTEL_SERVICE_NAME": "file", "OTEL_TRACES_EXPORTER": "otlp/stdout", "FORKSPAN_FILE": lines,
                               "OTEL_BSP_SCHEDULE_DELAY": "60000", **SMALL, **more})
    if library:
        env["LD_PRELOAD"] = library
    if where:
        env["FORKSPAN_ARENA"] = where
    return env


def fresh():
    """No arena, no spans: what lay there is of the test before."""
    for path in (arena, lines, arena + ".new"):
        if os.path.islink(path) or os.path.exists(path):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def spans():
    found = []
    for line in whole_lines(lines):
        for rs in json.loads(line)["resourceSpans"]:
            for ss in rs["scopeSpans"]:
                found += [(attributes(rs["resource"]), span, attributes(span)) for span in ss["spans"]]
    return found


def names():
    return collections.Counter(a.get("url.path", span["name"]) for _, span, a in spans())


def wrong(wanted):
    found = names()
    return {name: found[name] for name in set(found) | set(wanted) if found[name] != list(wanted).count(name)}


def arrive(wanted, seconds=10):
    """Until all are there; what is wrong then."""
    try:
        until(lambda: not set(wanted) - set(names()), "all spans", seconds)
    except TimeoutError:
        pass
    return wrong(wanted)


class Server:
    def __init__(self, workers=4, wrap=(), before=None, cwd=None, **more):
        self.log = os.path.join(folder, f"log-{os.urandom(4).hex()}")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*wrap, prefork, str(workers)], env=environment(**more), stdout=subprocess.PIPE,
                                            stderr=log, text=True, start_new_session=True, preexec_fn=before, cwd=cwd)
        self.port, self.pid = map(int, self.process.stdout.readline().split())

    def get(self, path):
        return fetch(self.port, path).body

    def hang(self, path):
        """A request that is being served: some worker has read it."""
        s = socket.create_connection(("127.0.0.1", self.port), 30)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        mine = s.getsockname()[1]

        def read():
            for line in open("/proc/net/tcp"):
                words = line.split()
                if words[1].endswith(f":{self.port:04X}") and words[2].endswith(f":{mine:04X}"):
                    return words[9] != "0" and words[4].endswith(":00000000") and all(map(sleeps, children(self.pid)))
            return False
        until(read, "a worker has read the request, and pauses")
        return s

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def kill(self):
        """All of it, and whoever sends for it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        for pid in consumers():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        until(lambda: not consumers(), "no consumer")

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        self.process.wait(30)
        self.process.stdout.close()
        until(lambda: not consumers(), "every consumer goes by itself")


def consumers():
    return commands(lambda words: b"export" in words and any(word.startswith(folder.encode()) for word in words))


def sleeps(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def open_files(pid):
    return [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]


def serve(server, n, kind="ok"):
    sent = [f"/ok/{kind}-{i}" for i in range(n)]
    for path in sent:
        server.get(path)
    return sent


def export(*arguments, **more):
    return subprocess.run([command, "export", *arguments], env=environment(None, None, **more), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, cwd=folder)


def mapped(pid):
    """(inode, path) of the arena's file, as the process has it."""
    for line in open(f"/proc/{pid}/maps"):
        words = line.split()
        if len(words) > 5 and words[5] == arena and words[1] == "rw-s":
            return int(words[4])
    return None


def fatal_is(path, wanted_type, longest_ns):
    got = [(span, a) for _, span, a in spans() if a.get("url.path") == path]
    if len(got) != 1:
        return f"{len(got)} spans"
    span, a = got[0]
    length = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
    right = a.get("error.type") == wanted_type and span.get("status", {}).get("code") == 2 and 0 <= length <= longest_ns
    return "" if right else f"{a.get('error.type')} {span.get('status')} {length} ns"


def recovered():
    for where in (arena, None):
        fresh()
        server = Server(where=where)
        wanted = serve(server, 300)
        worker = int(server.get("/ok/last"))
        wanted.append("/ok/last")
        hanging = server.hang("/hang/1")
        files = [path for pid in (server.pid, *children(server.pid)) for path in open_files(pid)]
        fds = sorted(os.listdir(f"/proc/{server.pid}/fd"))
        before, inode = sum(names().values()), mapped(server.pid)
        server.kill()
        hanging.close()
        if not where:
            again = Server(where=None)
            again.stop()
            tap.check(not names(), "control: in memory a tree that dies whole loses what is unsent", names())
            continue
        st = os.stat(arena)
        tap.check(st.st_blocks * 512 >= st.st_size and st.st_mode & 0o777 == 0o600,
                  "the file has all of its blocks and mode 0600", st)
        tap.check(fds == ["0", "1", "2", "3"] and arena not in files and inode == st.st_ino,
                  "no process has it open: it is mapped", (fds, files))
        again = Server()
        bad = arrive([*wanted, "/hang/1"], 20)
        tap.check(before == 0 and not bad, "the whole tree killed: the next start sends each span once", f"{before} {bad}")
        why = fatal_is("/hang/1", "_OTHER", 60 * 10**9)
        tap.check(not why, "and the request that was being served is one, status Error", why)
        pids = {r["process.pid"] for r, _, _ in spans()}
        tap.check(worker in pids and len(pids) >= 2 and again.pid not in pids, "each under the resource of its own process", pids)
        until(lambda: not consumers(), "the consumer goes by itself")
        more = serve(again, 50, "again")
        again.stop()
        tap.check(not wrong([*wanted, "/hang/1", *more]), "and goes on with the same file", wrong([*wanted, "/hang/1", *more]))


def alone():
    """A consumer waits for the news how the dead died; when its own tree has gone nobody is left to bring any."""
    fresh()
    server = Server()
    hanging = server.hang("/hang/news")
    server.kill()
    hanging.close()
    again = Server()
    began = time.monotonic()
    until(consumers, "a consumer for what is left")
    os.killpg(again.process.pid, signal.SIGKILL)  # it is in a session of its own
    again.process.wait()
    again.process.stdout.close()
    until(lambda: not consumers(), "the consumer goes by itself")
    took = time.monotonic() - began
    tap.check(not wrong(["/hang/news"]) and took < 4, "a consumer in a file knows when its tree has gone", f"{took} s {wrong(['/hang/news'])}")


def by_hand():
    fresh()
    server = Server()
    wanted = serve(server, 200)
    server.kill()
    closed = free_port()
    done = export(arena, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_TIMEOUT="500",
                  OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{closed}")
    tap.check(done.returncode == 1 and "the rest stays there" in done.stderr and "kept for later" in done.stderr,
              "forkspan export FILE, nobody listens: it says what it kept", f"{done.returncode} {done.stderr}")
    done = export("arena")
    tap.check(done.returncode == 0 and done.stderr == "" and not wrong(wanted), "forkspan export FILE empties it",
              f"{done.returncode} {done.stderr} {wrong(wanted)}")
    done = export("--once", arena)
    tap.check(done.returncode == 0 and not wrong(wanted), "a second time there is nothing", f"{done.returncode} {wrong(wanted)}")
    missing = arena + "-missing"
    done = export(missing)
    tap.check(done.returncode == 1 and done.stderr == f"forkspan: arena {missing}: it is not there\n" and not os.path.exists(missing),
              "a file that is not there is not made", done.stderr)


def crowded():
    """Every slot is a dead one's: a consumer finds a place all the same."""
    fresh()
    server = Server(workers=12, FORKSPAN_WORKERS="12")
    pids = set()
    wanted = []
    while len(pids) < 12 and len(wanted) < 3000:
        wanted.append(f"/ok/{len(wanted)}")
        pids.add(server.get(wanted[-1]))
    server.kill()
    for _ in range(3):  # consumers that were killed leave their places, too
        stuck = socket.create_server(("127.0.0.1", 0))
        with subprocess.Popen([command, "export", arena], env=environment(
                None, None, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{stuck.getsockname()[1]}"),
                              stderr=subprocess.DEVNULL) as process:
            stuck.accept()[0].close()
            process.kill()
        stuck.close()
    done = export(arena, OTEL_LOG_LEVEL="debug")
    again = sum(int(n) for n in re.findall(r"(\d+) spans of process \d+ are sent again", done.stderr))
    tap.check(len(pids) == 12 and done.returncode == 0 and not wrong(wanted) and again > 0,
              f"every place is a dead one's, and three consumers were killed: all is sent, {again} spans as a counted re-send",
              f"{len(pids)} {done.returncode} {done.stderr[-2000:]} {wrong(wanted)}")


def together():
    """Starts at once, none of which finds a file; then half of the trees die."""
    fresh()
    servers = [subprocess.Popen([prefork, "2"], env=environment(OTEL_BSP_SCHEDULE_DELAY="300"), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True) for _ in range(6)]
    ports = [tuple(map(int, server.stdout.readline().split())) for server in servers]
    inode = os.stat(arena).st_ino
    have = [mapped(pid) for _, pid in ports]
    tap.check(have == [inode] * 6 and not os.path.exists(arena + ".new"), "6 starts at once share one file",
              f"{have} {inode} {os.listdir(folder)}")
    wanted = []
    for round_ in range(20):
        for k, (port, _) in enumerate(ports):
            path = f"/ok/{k}-{round_}"
            fetch(port, path)
            wanted.append(path)
    for server in servers[:3]:
        os.killpg(server.pid, signal.SIGKILL)
    tap.check(not arrive(wanted), "3 of the trees are killed: the others send their spans, each once", wrong(wanted))
    for server in servers[3:]:
        server.terminate()
    said = "".join(server.communicate(timeout=30)[1] for server in servers)
    until(lambda: not consumers(), "every consumer goes by itself")
    tap.check(not wrong(wanted) and said == "", "and nobody has anything to complain about", f"{wrong(wanted)} {said}")


def change(at, data):
    with open(arena, "r+b") as f:
        f.seek(at)
        f.write(data)


def boot_id():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


def set_boot(path, to):
    data = open(path, "rb").read(4096)
    at = data.index(boot_id())
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(to)


def rebooted():
    """A copy of the file, whose owners live: they are of this boot, or of another one."""
    fresh()
    server = Server()
    wanted = serve(server, 100)
    hanging = server.hang("/hang/boot")
    wanted.append("/hang/boot")
    other = os.path.join(folder, "copy")
    shutil.copyfile(arena, other)
    os.chmod(other, 0o600)
    done = export(other)
    tap.check(done.returncode == 0 and not names(), "control: what living processes hold is left to them",
              f"{done.returncode} {done.stderr} {names()}")
    shutil.copyfile(arena, other)
    set_boot(other, b"00000000-0000-4000-8000-000000000000")
    done = export(other)
    tap.check(done.returncode == 0 and not wrong(wanted), "of another boot everybody is dead: all is sent, once",
              f"{done.returncode} {done.stderr} {wrong(wanted)}")
    why = fatal_is("/hang/boot", "_OTHER", 0)
    tap.check(not why, "nobody knows when its requests ended: their spans are as long as nothing", why)
    tap.check(boot_id() in open(other, "rb").read(4096), "and the file is of this boot from now on")
    os.unlink(other)
    hanging.close()
    server.kill()


def refused(what, message, make, where=arena, wrap=(), before=None, cwd=None, new=False, **more):
    fresh()
    keep = make() if make else None
    was = (os.lstat(arena), os.path.isfile(arena) and open(arena, "rb").read(1 << 20)) if os.path.lexists(arena) else None
    try:
        server = Server(2, wrap, before, cwd, where=where, OTEL_BSP_SCHEDULE_DELAY="20", **more)
        server.get("/ok/1")
        bad = arrive(["/ok/1"])
        memory = any("SYSV" in line for line in open(f"/proc/{server.pid}/maps"))
        server.kill()
        said = server.text()
        now = (os.lstat(arena), os.path.isfile(arena) and open(arena, "rb").read(1 << 20)) if os.path.lexists(arena) else None
        same = was == now or (was and now and was[1] == now[1] and was[0].st_ino == now[0].st_ino)
        line = f"forkspan: FORKSPAN_ARENA={where}: {message}: spans lie in memory only\n"
        tap.check(said == line and memory and not bad and same and os.path.exists(arena + ".new") == new,
                  f"refused: {what}; said once, tracing goes on in memory", f"{said!r}\n{line!r}\n{memory} {bad} {same}")
    finally:
        if keep:
            keep()


def made():
    """An arena at rest."""
    server = Server(2)
    server.stop()


def made_and(what):
    def make():
        made()
        what()
    return make


def linked():
    made()
    os.rename(arena, arena + "-victim")
    os.symlink(arena + "-victim", arena)
    return lambda: os.unlink(arena + "-victim")


def hard_linked():
    made()
    os.link(arena, arena + "-victim")
    return lambda: os.unlink(arena + "-victim")


def linked_folder():
    os.mkdir(os.path.join(folder, "real"))
    os.symlink("real", os.path.join(folder, "way"))

    def undo():
        os.unlink(os.path.join(folder, "way"))
        empty = os.listdir(os.path.join(folder, "real")) == []
        shutil.rmtree(os.path.join(folder, "real"))
        assert empty, "something was made behind the link"
    return undo


def locked():
    made()
    f = open(arena, "rb")
    fcntl.flock(f, fcntl.LOCK_EX)
    return f.close


def half_made():
    """A start that was killed while it made one."""
    with open(arena + ".new", "wb") as f:
        f.write(os.urandom(5000))
    os.chmod(arena + ".new", 0o600)


def refusals():
    sub = lambda *parts: os.path.join(folder, *parts)  # noqa: E731
    refused("a relative path", "the path does not begin with /", None, "arena", cwd=folder)
    refused("..", "the path has .. in it", None, sub("..", os.path.basename(folder), "arena"))
    refused("a folder", "it is a folder", lambda: os.mkdir(arena))
    refused("a path that ends in /", "it names a folder", None, folder + "/")
    refused("a FIFO", "it is not a regular file", lambda: os.mkfifo(arena, 0o600))
    refused("a folder that is not there", "its folder is not there", None, sub("nowhere", "arena"))
    refused("a symbolic link to an arena", "it is a symbolic link, and none is followed", linked)
    refused("a link to nowhere", "it is a symbolic link, and none is followed", lambda: os.symlink(sub("nothing"), arena))
    tap.check(not os.path.exists(sub("nothing")), "nothing was made where the link leads to")
    refused("a symbolic link on the way", "a folder of its path is a symbolic link, and none is followed", linked_folder,
            sub("way", "arena"))
    refused("a second name", "it has more than one name (hard links)", hard_linked)
    refused("a file that others may read", "others may read or write it (its mode is not 0600)",
            made_and(lambda: os.chmod(arena, 0o644)))
    refused("an empty file", "it is not an arena of forkspan", lambda: os.close(os.open(arena, os.O_CREAT, 0o600)))
    refused("something else", "it is not an arena of forkspan",
            lambda: os.fdopen(os.open(arena, os.O_CREAT | os.O_WRONLY, 0o600), "wb").write(os.urandom(1 << 16)) and None)
    refused("another layout", "it was made by another version of forkspan", made_and(lambda: change(8, b"\x63")))
    refused("another version", "it was made by another version of forkspan", made_and(lambda: change(16, b"99")))
    refused("one that was cut short", "its header is spoilt",
            made_and(lambda: os.truncate(arena, os.stat(arena).st_size - 4096)))
    refused("a file larger than RLIMIT_FSIZE", "it would be larger than a file may be here (RLIMIT_FSIZE)", None,
            before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    if ROOT:
        refused("another user's", "it is another user's", made_and(lambda: os.chown(arena, 65534, 65534)))
        os.chmod(folder, 0o755)

        def open_lines():
            pathlib.Path(lines).touch()
            os.chmod(lines, 0o666)
        refused("a folder that this user may not write to", "Permission denied", open_lines,
                before=lambda: os.setuid(65534))
    else:
        refused("a folder that this user may not write to", "Permission denied", None, "/arena")
    if ROOT and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0:
        disk = sub("disk")
        os.mkdir(disk)

        def on_disk(options):
            return ("unshare", "-m", "sh", "-c", f"mount -t tmpfs -o {options} none {disk} && exec \"$@\"", "sh")
        refused("a full disk", "the disk is full", None, sub("disk", "arena"), wrap=on_disk("size=3m"))
        refused("a disk that is read-only", "the file system is read-only", None, sub("disk", "arena"), wrap=on_disk("ro"))
        os.rmdir(disk)
    else:
        tap.skip("refused: a full disk", "needs root and mount namespaces")
    refused("a file that somebody locks, after 2 s", "another process holds a lock on it", locked)
    refused("a name to make it under that is taken by a folder", "the file PATH.new, which it is made as: it is a folder",
            lambda: os.mkdir(arena + ".new"), new=True)
    fresh()
    half_made()
    server = Server(2)
    server.get("/ok/1")
    ok = mapped(server.pid) == os.stat(arena).st_ino and not os.path.exists(arena + ".new")
    server.stop()
    tap.check(ok and not wrong(["/ok/1"]) and server.text() == "", "what a start left that was killed while it made one is made whole",
              server.text())


def holes():
    """A copy made by a tool that saves room has holes, which a full disk would not fill."""
    fresh()
    made()
    hole = ["fallocate", "-p", "-o", str(os.stat(arena).st_size // 2 // 4096 * 4096), "-l", "65536", arena]
    before = os.stat(arena).st_blocks
    if subprocess.run(hole, capture_output=True).returncode or os.stat(arena).st_blocks == before:
        tap.skip("a file with holes", "none can be made here")
        return
    server = Server(2)
    wanted = serve(server, 20)
    full = os.stat(arena).st_blocks * 512 >= os.stat(arena).st_size
    server.stop()
    tap.check(full and not wrong(wanted), "a file with holes is filled before it is used", wrong(wanted))


def users():
    """Workers that drop their rights use the mapping that they have: the file is in a folder closed to them."""
    if not ROOT:
        tap.skip("workers of another user", "needs root")
        return
    fresh()
    os.chmod(folder, 0o755)
    closed = os.path.join(folder, "closed")
    os.mkdir(closed, 0o700)
    pathlib.Path(lines).touch()
    os.chmod(lines, 0o666)
    done = subprocess.run([witness, "users"], env=environment(where=os.path.join(closed, "arena")), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    until(lambda: not consumers(), "every consumer goes by itself")
    found = names()
    tap.check(done.returncode == 0 and set(found) == {"user-0", "user-2"} and set(found.values()) == {1} and not done.stderr,
              "workers of another user: of the killed the spans of who shares the arena arrive",
              f"{done.returncode} {dict(found)} {done.stderr}")
    shutil.rmtree(closed)


try:
    recovered()
    alone()
    by_hand()
    crowded()
    together()
    rebooted()
    refusals()
    holes()
    users()
finally:
    shutil.rmtree(folder)
tap.end()
