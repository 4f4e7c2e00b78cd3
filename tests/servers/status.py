# SPDX-License-Identifier: Apache-2.0
"""forkspan status against real servers, as TAP: status.py --collector BINARY --forkspan COMMAND [--status COMMAND] [--scribble SECONDS]

What it says of gunicorn's workers, requests and counts is held against gunicorn, the requests sent and the Collector;
its switch against the spans that come. An arena that is written over, of another layout or another user's must be
survived and refused. --status: the command that looks, such as one built with the sanitizers.
"""
import argparse
import concurrent.futures
import ctypes
import json
import os
import pathlib
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import time

from harness import HERE, Collector, Gunicorn, Tap, answers, children, clean_environment, fetch, free_port, until, workspace

parser = argparse.ArgumentParser()
parser.add_argument("--collector", required=True)
parser.add_argument("--forkspan", required=True)
parser.add_argument("--status")
parser.add_argument("--scribble", type=float, default=3, metavar="SECONDS")
options = parser.parse_args()
forkspan = os.path.abspath(options.forkspan)
status = os.path.abspath(options.status or options.forkspan)
tap = Tap()


def command(*arguments, **more):
    # what a sanitizer finds is not to be taken for a refusal
    env = clean_environment(ASAN_OPTIONS="exitcode=99", UBSAN_OPTIONS="halt_on_error=1:exitcode=99")
    return subprocess.run([status, "status", *map(str, arguments)], env=env, capture_output=True, text=True,
                          errors="replace", timeout=60, **more)


def looked(arena, *arguments):
    """What --json says of it, now."""
    done = command("--json", "--interval", 0, *arguments, arena)
    if done.returncode:
        raise RuntimeError(f"status {arena}: {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)["arenas"][0]


def totals(arena):
    return looked(arena)["totals"]


def arena_of(server):
    """Found as a user finds it: by looking at all. The server's first process made it, or the command that started it."""

    def find():
        listed = json.loads(command("--json", "--interval", 0).stdout)["arenas"]
        return [a["id"] for a in listed if a["maker_pid"] in (server.master, server.process.pid)]

    return until(find, "the arena is listed")[0]


def segment(arena):
    """Its line of /proc/sysvipc/shm: key, id, mode, size, two pids, mappings, ..."""
    for line in pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        fields = list(map(int, line.split()))
        if fields[1] == arena:
            return fields
    return None


def mappings(arena):
    return segment(arena)[6]


def get(port, path, **headers):
    return fetch(port, path, {"Connection": "close", **headers}).status


def load(port, n, path, **headers):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda i: get(port, f"{path}-{i}", **headers), range(n)))
    assert done == [200] * n, done


class Slow:
    """A request that is in progress until it is told to end: the rest of its body is missing."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.began = time.monotonic()
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf".encode())

    def end(self):
        self.socket.sendall(b" of it")
        answer = b""
        while piece := self.socket.recv(65536):
            answer += piece
        self.socket.close()
        return answer.split(b" ", 2)[1]


def requests(arena):
    return [dict(r, pid=p["pid"]) for p in looked(arena)["processes"] for r in p["requests"]]


def with_path(arena, path):
    return [r for r in requests(arena) if r["path"] == path]


def paths(collector):
    found = [a["value"]["stringValue"] for *_, span in collector.spans() for a in span["attributes"] if a["key"] == "url.path"]
    return [p.split("/")[-1] for p in found]


def counts_and_requests(server, arena, collector):
    port = server.port
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending, seen = pool.submit(load, port, 600, "/200/fixed/load"), []
        while not sending.done():
            seen.append(looked(arena))
        sending.result()
    workers = set(server.workers())
    tap.check(len(seen) > 5 and all({p["pid"] for p in look["processes"]} <= workers for look in seen),
              f"under load {len(seen)} looks name gunicorn's workers only", f"{workers}\n{seen[-1]}")
    started = [look["totals"]["started"] for look in seen]
    tap.check(started == sorted(started) and started[-1] > started[0], "under load the counters go up", started)
    until(lambda: {p["pid"] for p in looked(arena)["processes"]} == workers or get(port, "/200/fixed/more") and False,
          "every worker has served")
    look = until(lambda: (now := looked(arena))["totals"]["exported"] == now["totals"]["started"] >= 600 and now,
                 "everything is exported")
    tap.check(all(p["state"] == "alive" and p["kind"] == "worker" and p["sends"] and p["unsent"] == 0 and
                  p["exporter"]["state"] == "rests" and p["exporter"]["delivered_s"] < 60 and not p["exporter"]["failures"]
                  for p in look["processes"]), "each worker lives, has sent all, and its exporter rests", look)
    n = look["totals"]["exported"]
    until(lambda: len(paths(collector)) >= n, "the Collector has written them")
    tap.check(len(paths(collector)) == n and look["totals"]["dropped"] == look["totals"]["failed"] == 0,
              f"{n} spans exported, it says: the Collector has as many", len(paths(collector)))
    before = mappings(arena)
    for _ in range(20):
        looked(arena)
    tap.check(before and mappings(arena) == before, f"20 looks leave the number of mappings as it was ({before})", mappings(arena))

    slow = [Slow(port, f"/200/fixed/slow{i}?token=secret") for i in range(2)]
    for i, one in enumerate(slow):
        found = until(lambda: with_path(arena, f"/200/fixed/slow{i}"), "the request is in progress")
        now = time.monotonic() - one.began
        until(lambda: with_path(arena, f"/200/fixed/slow{i}")[0]["age_s"] > found[0]["age_s"] + 0.2, "it grows older")
        tap.check(len(found) == 1 and found[0]["phase"] == "open" and found[0]["method"] == "POST" and
                  found[0]["pid"] in workers and 0 <= found[0]["age_s"] <= now + 0.01,
                  f"request {i} in progress: its worker, its age of {found[0]['age_s']:.3f} s", f"{now}\n{found}")
    text = command("--once", "--interval", 0.2, arena).stdout
    tap.check("2 requests in progress" in text and "POST /200/fixed/slow0\n" in text and "tracing   on, sampling as configured" in text and
              "started (0.0/s)" in text, "the same in the form for people", text)
    tap.check("secret" not in text and "secret" not in json.dumps(looked(arena)), "no query string is shown", text)
    tap.check([one.end() for one in slow] == [b"200", b"200"] and until(lambda: not with_path(arena, "/200/fixed/slow0"), "it ends"),
              "answered, they are in progress no more")

    victim = Slow(port, "/200/fixed/victim")
    pid = until(lambda: with_path(arena, "/200/fixed/victim"), "the victim's request")[0]["pid"]
    before = totals(arena)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in server.workers() and len(server.workers()) == 3, "gunicorn has replaced it")
    after = until(lambda: (now := totals(arena))["swept"] == before["swept"] + 1 and now, "it is swept")
    tap.check(after["fatal"] == 1 and all(after[name] >= before[name] for name in after),
              "a killed worker: swept, its request cut off, and no counter goes down", f"{before}\n{after}")
    tap.check(pid not in [p["pid"] for p in looked(arena)["processes"]], "and it is not listed any more")
    victim.socket.close()


def settled(arena):
    """Totals once every request that was answered has been counted."""
    return until(lambda: not requests(arena) and (now := totals(arena)) == totals(arena) and now, "nothing is in progress")


def the_switch(server, arena, collector):
    port = server.port
    slow = Slow(port, "/200/fixed/across")
    until(lambda: with_path(arena, "/200/fixed/across"), "the request is in progress")
    told = command("--set", "tracing=off", arena)
    tap.check(told.returncode == 0 and told.stdout == f"arena {arena}: tracing is off, sampling as configured\n",
              "the switch says what holds now", told)
    before = totals(arena)
    load(port, 40, "/200/fixed/off")
    load(port, 10, "/200/fixed/off-with-parent", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    tap.check(totals(arena)["started"] == before["started"] and looked(arena)["tracing"] == "off",
              "turned off: 50 requests, no span begins, also below a sampled parent", totals(arena))
    tap.check(slow.end() == b"200" and until(lambda: totals(arena)["queued"] == before["queued"] + 1, "its span"),
              "the request in progress at the switch still ends as a span")
    command("--set", "tracing=on", arena)
    before = settled(arena)
    load(port, 40, "/200/fixed/on")
    tap.check(settled(arena)["started"] == before["started"] + 40, "turned on: 40 requests, 40 spans", totals(arena))

    command("--set", "ratio=0.25", arena)
    load(port, 300, "/200/fixed/ratio")
    load(port, 10, "/200/fixed/parent", traceparent=f"00-{'0' * 16}{'f' * 16}-{'b' * 16}-01")
    tap.check(looked(arena)["ratio"] == 0.25, "the ratio is shown", looked(arena)["ratio"])
    command("--set", "ratio=0", arena)
    load(port, 20, "/200/fixed/none")
    both = command("--set", "ratio=default", "--set", "tracing=on", arena)
    tap.check(both.stdout.endswith("tracing is on, sampling as configured\n"), "two settings at once", both)
    load(port, 20, "/200/fixed/default")
    until(lambda: (now := settled(arena))["exported"] == now["queued"] and len(paths(collector)) >= now["exported"],
          "all has arrived")
    found, ids = {}, []
    for *_, span in collector.spans():
        path = next(a["value"]["stringValue"] for a in span["attributes"] if a["key"] == "url.path")
        name = path.rsplit("/", 1)[1].rsplit("-", 1)[0]
        found[name] = found.get(name, 0) + 1
        if name == "ratio":
            ids.append(int(span["traceId"][16:], 16) >> 1)
    tap.check("off" not in found and "off-with-parent" not in found and found["across"] == 1 and found["on"] == 40,
              "the Collector: of the time without tracing only the request that was in progress", found)
    # Which traces: TraceIdRatioBased names them. How many: 75 of 300, six standard deviations either way.
    tap.check(30 < len(ids) < 120 and all(i < 2**61 for i in ids) and found["parent"] == 10,
              f"ratio 0.25: {len(ids)} of 300, those that the ratio names; all whose parent is sampled", found)
    tap.check("none" not in found and found["default"] == 20, "ratio 0: none; ratio=default: all again", found)


def another_sampler(folder):
    """A root sampler that is no ratio: the ratio takes its place as long as it is set."""
    server = Gunicorn(folder, ["-w", "1"], forkspan, "http://127.0.0.1:1", env={
        "OTEL_TRACES_SAMPLER": "always_off", "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "300"})
    try:
        get(server.port, "/200/fixed/a")
        arena = arena_of(server)
        load(server.port, 5, "/200/fixed/a")
        tap.check(totals(arena)["started"] == 0, "always_off: no span")
        command("--set", "ratio=1", arena)
        load(server.port, 5, "/200/fixed/a")
        tap.check(totals(arena)["started"] == 5, "always_off and a ratio of 1: every request", totals(arena))
        command("--set", "ratio=default", arena)
        load(server.port, 5, "/200/fixed/a")
        tap.check(totals(arena)["started"] == 5, "and none again without it", totals(arena))
        look = until(lambda: (now := looked(arena))["totals"]["failed"] == 5 and now, "the exports fail")
        exporter = look["processes"][0]["exporter"]
        tap.check(exporter["failures"] >= 1 and exporter["delivered_s"] is None and exporter["said_s"] < 60 and
                  "(endpoint)" in exporter["said"] and "127.0.0.1" not in exporter["said"],
                  f"a Collector that is not there: {exporter['said']!r}", exporter)
        text = command("--once", "--interval", 0, arena).stdout
        tap.check(f"  {look['processes'][0]['pid']} said " in text and "(endpoint)" in text, "and in the form for people", text)
    finally:
        server.stop()
    gone = command(arena)
    tap.check(gone.returncode == 1 and gone.stderr == f"forkspan: arena {arena}: it is not there\n" and not gone.stdout,
              "a server that has ended", gone)


def documented(arena):
    """Every name of the JSON form stands in its description."""
    page = (HERE.parent.parent / "docs" / "status.md").read_text()
    document = json.loads(command("--json", "--interval", 0.1, arena).stdout)
    names = set()

    def walk(value):
        for name, inner in value.items() if isinstance(value, dict) else ():
            names.add(name)
            walk(inner)
        for inner in value if isinstance(value, list) else ():
            walk(inner)

    walk(document)
    missing = sorted(name for name in names if f"`{name}`" not in page)
    tap.check(not missing and len(names) > 40, f"docs/status.md has each of the {len(names)} names of the JSON form", missing)
    rates = document["arenas"][0]["per_second"]
    tap.check(rates and all(rate >= 0 for rate in rates.values()), "two looks: so much a second", rates)


def on_a_terminal(arena):
    leader, follower = pty.openpty()
    # What a shell starts in the background ignores SIGINT, and so would all it starts.
    shown = subprocess.Popen([status, "status", "--interval", "0.1", str(arena)], stdin=follower, stdout=follower,
                             stderr=follower, env=clean_environment(), start_new_session=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    os.close(follower)
    text, deadline = b"", time.monotonic() + 20
    while text.count(b"\033[H\033[J") < 4 and time.monotonic() < deadline and select.select([leader], [], [], 1)[0]:
        text += os.read(leader, 65536)
    shown.send_signal(signal.SIGINT)
    tap.check(text.count(b"\033[H\033[J") >= 4 and text.count(f"arena {arena},".encode()) >= 3 and
              shown.wait(20) == -signal.SIGINT, "on a terminal it goes on until it is interrupted", text)
    os.close(leader)


def refusals(arena):
    for arguments in (["--set", "tracing=perhaps"], ["--set", "ratio=1.5"], ["--interval", "x"], ["a"], ["1", "2"], ["--what"], ["--set"]):
        done = command(*arguments)
        tap.check(done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, f"refused: {' '.join(arguments)}", done)
    if os.geteuid():
        tap.skip("another user", "not root")
        return
    for arguments in ([arena], ["--set", "tracing=off", arena]):
        done = command(*arguments, user=65534, group=65534, extra_groups=[])
        tap.check(done.returncode == 1 and done.stderr == f"forkspan: arena {arena}: it is another user's\n" and not done.stdout,
                  f"another user's: status {' '.join(map(str, arguments))}", done)
    done = command("--json", user=65534, group=65534, extra_groups=[])
    tap.check(done.returncode == 0 and json.loads(done.stdout)["arenas"] == [], "another user sees none of it", done)


def explain(*arguments, **more):
    return subprocess.run([status, "explain", *map(str, arguments)], env=clean_environment(ASAN_OPTIONS="exitcode=99"),
                          capture_output=True, text=True, errors="replace", timeout=60, **more)


def explained(server, arena, folder):
    """forkspan explain: the server's processes, and ones that are not traced for one reason each."""
    worker = looked(arena)["processes"][0]
    text = explain(worker["pid"]).stdout
    tap.check(f"arena      {arena}, made by process {looked(arena)['maker_pid']}," in text and f"thread {worker['thread']}" in text and
              f"slot {worker['slot']}," in text and f"{worker['counters']['started']} spans started" in text and
              worker["emptied_by"] == worker["pid"] and "OTEL_BSP_SCHEDULE_DELAY=200\n" in text and "because" not in text,
              "explain: a worker, its arena, place, counts, thread and variables", text)
    tap.check(worker["thread"] in map(int, os.listdir(f"/proc/{worker['pid']}/task")), "its thread is one of its threads", worker)
    text = explain(server.master).stdout
    tap.check(f"arena      {arena}" in text and "one that only listens never takes a place" in text, "explain: the master", text)
    library = re.search(r"library +(\S+)\n", text)[1]
    os.chmod(folder, 0o755)
    setuid, static, source = (os.path.join(folder, name) for name in ("setuid-sleep", "static", "static.c"))
    pathlib.Path(source).write_text("#include <unistd.h>\nint main(void) { pause(); }\n")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    rows = [("nothing names the library", ["sleep", "60"], {}, {}, "LD_PRELOAD did not name it"),
            ("tracing is disabled", ["sleep", "60"], {"LD_PRELOAD": library, "OTEL_SDK_DISABLED": "true"}, {}, "OTEL_SDK_DISABLED is true"),
            ("no exporter", ["sleep", "60"], {"LD_PRELOAD": library, "OTEL_TRACES_EXPORTER": "none"}, {}, "OTEL_TRACES_EXPORTER is none"),
            ("another program", ["sleep", "60"], {"LD_PRELOAD": library, "FORKSPAN_ONLY": "nginx"}, {}, "FORKSPAN_ONLY names other programs"),
            ("nothing to trace", ["sleep", "60"], {"LD_PRELOAD": library}, {}, "neither listened"),
            ("a bad value and a secret", ["sleep", "60"],
             {"LD_PRELOAD": library, "OTEL_TRACES_SAMPLER": "odd", "OTEL_EXPORTER_OTLP_HEADERS": "key=hush",
              "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hush@host"}, {}, "OTEL_TRACES_SAMPLER=odd is not known here"),
            ("the library is not there", ["sleep", "60"], {"LD_PRELOAD": "/nowhere/libforkspan.so"}, {}, "/nowhere/libforkspan.so, which is not there")]
    if subprocess.run(["cc", "-static", "-o", static, source], capture_output=True).returncode == 0:
        rows.append(("a static program", [static], {"LD_PRELOAD": library}, {}, "static is statically linked"))
    else:
        tap.skip("explain: a static program", "no compiler, or no static libc")
    if os.geteuid() == 0:
        shutil.copy("/bin/sleep", setuid)
        os.chmod(setuid, 0o4755)
        rows.append(("a setuid program", [setuid, "60"], {"LD_PRELOAD": library}, nobody, "the system ignores LD_PRELOAD"))
    for what, words, variables, more, reason in rows:
        process = subprocess.Popen(words, env=clean_environment(**variables), stderr=subprocess.DEVNULL, **more)
        try:
            # Popen is back after the exec, which is before the loader has done its work.
            done = until(lambda: reason in (told := explain(process.pid)).stdout and told or process.poll() is not None and told, what)
            tap.check(done.returncode == 0 and done.stdout.startswith(f"process {process.pid} (") and "hush" not in done.stdout,
                      f"explain: {what}", done)
        except TimeoutError:
            tap.check(False, f"explain: {what}", explain(process.pid))
        finally:
            process.kill()
            process.wait()
    for words, code in (([], 2), (["x"], 2), (["1", "2"], 2), ([process.pid], 1)):
        done = explain(*words)
        tap.check(done.returncode == code and done.stderr.count("\n") == 1 and not done.stdout, f"explain {words}: refused", done)
    if os.geteuid() == 0:
        done = explain(server.master, **nobody)
        tap.check(done.returncode == 1 and done.stderr.endswith("another user's\n"), "explain: another user's process", done)


def one_process(folder, collector):
    """A server with one process that sends for all: who that is, also when it was killed."""
    server = Gunicorn(folder, ["-w", "2"], forkspan, collector.endpoint, env={"OTEL_BSP_SCHEDULE_DELAY": "200", "FORKSPAN_EXPORT": "process"})
    try:
        arena = (get(server.port, "/200/fixed/first"), arena_of(server))[1]
        consumer = [p for p in looked(arena)["processes"] if p["kind"] == "consumer"]
        sender = looked(arena)["sender"]
        tap.check(len(consumer) == 1 and sender == {"is": "process", "why": "asked", "pid": consumer[0]["pid"]} and
                  f"sender    process {sender['pid']} for all (FORKSPAN_EXPORT=process)" in command("--once", "--interval", 0, arena).stdout,
                  "one process sends for the server: it is named, and why", f"{sender}\n{consumer}")
        worker = next(p for p in looked(arena)["processes"] if p["kind"] == "worker")
        text = explain(worker["pid"]).stdout
        tap.check(f"sender     process {sender['pid']}, which sends for the whole server (FORKSPAN_EXPORT=process)" in text and
                  "1 thread" in text.splitlines()[0] and worker["thread"] == 0, "explain: its worker has no thread and that sender", text)
        text = explain(sender["pid"]).stdout
        tap.check("it is forkspan's own" in text and f"arena      {arena}\n" in text and "for the whole server, as long as that lives" in text,
                  "explain: the process that sends", text)
        os.kill(sender["pid"], signal.SIGKILL)
        until(lambda: looked(arena)["sender"]["is"] != "process" or looked(arena)["sender"]["pid"] != sender["pid"], "its death is seen")
        again = until(lambda: get(server.port, "/200/fixed/again") and (now := looked(arena)["sender"])["is"] == "process" and now,
                      "another one is there")
        tap.check(again["pid"] != sender["pid"] and again["why"] == "asked", "killed, it is another one", again)
    finally:
        server.kill()


class Attached:
    """The arena in this process's memory, to be written over."""

    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    libc.shmdt.argtypes = [ctypes.c_void_p]

    def __init__(self, arena):
        self.address = self.libc.shmat(arena, None, 0)
        assert self.address != ctypes.c_void_p(-1).value

    def word(self, at, bits=32):
        return (ctypes.c_uint32 if bits == 32 else ctypes.c_uint64).from_address(self.address + at)

    def __del__(self):
        self.libc.shmdt(self.address)


def another_layout(arena):
    memory = Attached(arena)
    layout = memory.word(8)
    ours = layout.value
    layout.value = ours + 1
    done = command(arena)
    tap.check(done.returncode == 1 and done.stderr.count("\n") == 1 and f"(layout {ours + 1})" in done.stderr and not done.stdout,
              "another layout: one line, with both versions", done)
    done = command("--set", "tracing=off", arena)
    tap.check(done.returncode == 1 and f"(layout {ours + 1})" in done.stderr, "and nothing is set in it", done)
    done = command("--json", "--interval", 0)
    told = json.loads(done.stdout)
    tap.check(done.returncode == (not told["arenas"]) and str(arena) in done.stderr and
              arena in [r["id"] for r in told["refused"]], "among all servers it is named and passed over", done)
    layout.value = ours


def written_over(server, arena, seconds):
    memory, rng = Attached(arena), random.Random(8)
    # The state words of the slots are a small number and the pid of the process, one after the other.
    pids = {p["pid"] for p in looked(arena)["processes"]}
    size, begin = (memory.word(at, 64).value for at in (64, 72))
    states = next(at for at in range(128, begin, 64) if memory.word(at).value < 4 and memory.word(at + 4).value in pids)
    slots = [begin + i * size for i in range(len(pids)) if memory.word(states + 8 * i + 4).value in pids]
    tap.check(len(slots) == len(pids), f"the places of {len(pids)} processes are found", slots)
    odd = [0, 1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff]
    ended, decoded, rounds, deadline = {}, 0, 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        rounds += 1
        for _ in range(300):
            begin = rng.choice([0, *slots])
            # not the words by which it is known for an arena: nothing would be looked at
            at = rng.randrange(rng.choice([4096, 16384, 400000])) if begin else rng.randrange(160, 12000)
            memory.word(begin + at // 4 * 4).value = rng.choice([rng.getrandbits(32), *odd])
        done = command(*rng.choice([["--json", "--interval", 0], ["--once", "--interval", 0], ["--set", "ratio=0.5"]]), arena)
        ended[done.returncode] = ended.get(done.returncode, 0) + 1
        if done.returncode not in (0, 1):
            break
        if done.stdout.startswith("{"):
            json.loads(done.stdout)
            decoded += 1
    tap.check(set(ended) <= {0, 1} and ended.get(0, 0) > 5 and decoded > 3,
              f"{rounds} times 300 words written over: looked at, {decoded} times as JSON", f"{ended}\n{done}")
    tap.check(answers(server.port), "and the server lives")


with workspace() as folder:
    collector = Collector(options.collector, folder)
    server = None
    try:
        server = Gunicorn(folder, ["-w", "3"], forkspan, collector.endpoint, env={"OTEL_BSP_SCHEDULE_DELAY": "200"})
        arena_id = (get(server.port, "/200/fixed/first"), arena_of(server))[1]
        counts_and_requests(server, arena_id, collector)
        the_switch(server, arena_id, collector)
        documented(arena_id)
        on_a_terminal(arena_id)
        refusals(arena_id)
        explained(server, arena_id, folder)
        one_process(folder, collector)
        another_layout(arena_id)
        another_sampler(folder)
        written_over(server, arena_id, options.scribble)
    finally:
        if server:
            server.kill()
        collector.stop()
tap.end()
