# SPDX-License-Identifier: Apache-2.0
"""Programs that export has to live with, under the real preload, as TAP.

hosts.py --build DIRECTORY [--long]

exit() in the middle of a TLS POST, an allocator that is locked, a process that uses our fd numbers itself (each with a
control without the care, which must fail), a worker in a chroot without rights or files, names by their TTL.
"""
import argparse
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))

from harness import Tap, clean_environment  # noqa: E402
from receivers import Certificates, Http  # noqa: E402

tap = Tap()


def names(receiver):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    found = []
    for request in receiver.requests:
        for rs in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for ss in rs.scope_spans:
                found.extend(span.name for span in ss.spans)
    return found


def host(*words, program="export_host", preload=None, endpoint, wrap=(), timeout=60, before="", **env):
    variables = {"LD_PRELOAD": before + (preload or PRELOAD), "OTEL_SERVICE_NAME": "host", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                 "OTEL_BSP_SCHEDULE_DELAY": "50", **env}
    command = [*wrap, "env", *(f"{k}={v}" for k, v in variables.items()), os.path.join(options.build, "tests/export", program), *map(str, words)]
    try:
        return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=timeout, errors="replace")
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, -999, late.stdout or b"", late.stderr or b"")


def said(run):
    return f"exit {run.returncode}\n{run.stdout}{run.stderr}"


def control_preload(folder):
    """The same preload with the exporter that takes no care."""
    os.makedirs(os.path.join(folder, "forkspan"))
    shutil.copy(PRELOAD, folder)
    shutil.copy(os.path.join(options.build, "tests/export/exporter-without-care.so"), os.path.join(folder, "forkspan/forkspan-exporter.so"))
    return os.path.join(folder, "libforkspan.so")


def exits(certificates):
    count = 1000 if options.long else 30
    seed = int(os.environ.get("FORKSPAN_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"# exit: seed {seed}, {count} exits each", flush=True)
    dice = random.Random(seed)
    for program in ("export_host", "export_host_openssl"):
        for place in ("main", "handler"):
            receiver = Http(tls=certificates.server())
            bad, slow = [], 0.0
            for _ in range(count):
                began = time.monotonic()
                run = host("exit", place, dice.randrange(6000), program=program, endpoint=receiver.endpoint, timeout=20,
                           OTEL_EXPORTER_OTLP_CERTIFICATE=certificates.path("ca.pem"))
                slow = max(slow, time.monotonic() - began)
                if run.returncode != 0:
                    bad.append(said(run))
            whose = "an OpenSSL of its own, exported" if "openssl" in program else "none of its own"
            tap.check(not bad, f"exit: from {place} in the middle of a TLS POST, {whose}: no crash, no hang", f"{len(bad)} of {count}; slowest {slow:.2f} s\n"
                      + "\n".join(bad[:2]))
            tap.check(len(names(receiver)) >= 512 * count * 9 // 10, f"exit: from {place}, {whose}: spans arrive",
                      f"{len(names(receiver))} of {512 * count}")
            receiver.stop()


def locked(control):
    receiver = Http()
    run = host("locked", endpoint=receiver.endpoint, timeout=20)
    tap.check(run.returncode == 0 and "waited" not in run.stdout and len(names(receiver)) == 200,
              "heap: spans arrive while the host's allocator is locked", f"{said(run)}{len(names(receiver))} spans")
    receiver.stop()
    receiver = Http()
    run = host("locked", preload=control, endpoint=receiver.endpoint, timeout=20)
    tap.check("waited" in run.stdout and len(names(receiver)) < 200, "heap: control: with the host's memory they do not",
              f"{said(run)}{len(names(receiver))} spans")
    receiver.stop()


def storm(control):
    rounds = 1000 if options.long else 60

    def late_answer(request):
        """Comes when the number it is waited for at may be the host's: in one run of 60 rounds nearly every control is caught."""
        time.sleep(random.random() * 0.004)
        return Http.fine(request)

    receiver = Http(late_answer)
    run = host("storm", rounds, endpoint=receiver.endpoint, timeout=300, OTEL_BSP_SCHEDULE_DELAY="10")
    found = re.search(r"rounds (\d+) strange (\d+) lost (\d+) refused (\d+)", run.stdout)
    got = names(receiver)
    print(f"# {rounds} rounds", flush=True)
    tap.check(found and found.groups() == (str(rounds), "0", "0", "0"), "fds: close all, open, write, again and again: every file and socket has its bytes",
              said(run))
    made = re.search(r"made (\d+)", run.stdout)
    tap.check(made and f"host-{int(made[1]) - 1}" in got and receiver.connections > rounds // 20, "fds: and it goes on exporting",
              f"{len(got)} spans, {receiver.connections} connections\n{said(run)}")
    receiver.stop()
    receiver = Http(late_answer)
    for attempt in range(1, 11):  # which it takes is chance; that one does is not
        run = host("storm", 60, preload=control, endpoint=receiver.endpoint, timeout=300, OTEL_BSP_SCHEDULE_DELAY="10")
        found = re.search(r"rounds (\d+) strange (\d+) lost (\d+) refused (\d+)", run.stdout)
        if not found or any(int(n) for n in found.groups()[1:]):
            break
    print(f"# control: {attempt} runs", flush=True)
    tap.check(not found or any(int(n) for n in found.groups()[1:]), "fds: control: without the check some do not", said(run))
    receiver.stop()


def cage(certificates):
    what = "cage: chroot, setuid and seccomp: a worker exports over TLS"
    if os.geteuid():
        tap.skip(what, "needs root")
        return
    with tempfile.TemporaryDirectory() as folder:
        receiver = Http(tls=certificates.server())
        run = host("cage", folder, endpoint=receiver.endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE=certificates.path("ca.pem"))
        tap.check(run.returncode == 0 and "flushed 1" in run.stdout and len(names(receiver)) == 10, what, f"{said(run)}{names(receiver)}")
        receiver.stop()


def logs():
    """Everything fails, with and without a new reason each time."""
    def same(_request):
        return 400, {"Content-Type": "application/json"}, b'{"message":"the same"}'

    def other(_request):
        return 400, {"Content-Type": "application/json"}, b'{"message":"number %d"}' % time.monotonic_ns()
    receiver = Http(same)
    run = host("plain", 50, 0, endpoint=receiver.endpoint)
    tap.check(len(receiver.requests) >= 50 and run.stderr.count("forkspan: ") in (1, 2), "log: the same problem is one line", said(run))
    receiver.answer = other
    run = host("plain", 150, 0, endpoint=receiver.endpoint)
    tap.check(0 < run.stderr.count("forkspan: ") <= 120, "log: a receiver with new words each time does not fill it", said(run))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log")
        run = host("plain", 3, 0, endpoint=receiver.endpoint, FORKSPAN_LOG=path)
        text = pathlib.Path(path).read_text()
        tap.check("forkspan: " in text and not run.stderr, "log: FORKSPAN_LOG has it, standard error nothing", said(run) + text)
        run = host("taken", path, endpoint=receiver.endpoint)
        tap.check(run.returncode == 0 and not os.path.getsize(path), "log: an fd 2 that is another file by now gets nothing", said(run))
        run = host("plain", 3, 0, endpoint=receiver.endpoint, OTEL_LOG_LEVEL="none")
        tap.check(not run.stderr, "log: OTEL_LOG_LEVEL=none", said(run))
    receiver.stop()


def late():
    receiver = Http()
    run = host("late", endpoint=receiver.endpoint)
    tap.check(run.returncode == 0 and "flushed 1" in run.stdout and len(names(receiver)) == 10, "late: listen() with a batch thread already", f"{said(run)}{names(receiver)}")
    receiver.stop()


class Dns:
    """Answers A questions for any name with `address` and `ttl`."""

    def __init__(self, address, ttl):
        self.address, self.ttl, self.questions, self.dead = address, ttl, [], False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            data, peer = self.socket.recvfrom(2048)
            end = data.index(b"\0", 12) + 5
            kind = struct.unpack(">H", data[end - 4:end - 2])[0]
            if kind == 1:
                self.questions.append(time.monotonic())
            if self.dead:
                continue
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, self.ttl, 4) + socket.inet_aton(self.address) if kind == 1 else b""
            self.socket.sendto(data[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, bool(answer), 0, 0) + data[12:end] + answer, peer)


def resolver_part(program, preload, folder):
    """Runs in namespaces of its own: a name server at 127.0.0.1:53, and a resolv.conf that says so."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for file, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("hosts", "127.0.0.1 localhost\n127.0.0.4 caged.test\n")):
        pathlib.Path(folder, file).write_text(text)
        subprocess.run(["mount", "--bind", os.path.join(folder, file), f"/etc/{file}"], check=True)
    dns = Dns("127.0.0.2", 1)
    first, second = Http(address=("127.0.0.2", 4318)), Http(address=("127.0.0.3", 4318))

    def start(*words):
        env = clean_environment(LD_PRELOAD=preload, OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.test:4318", OTEL_BSP_SCHEDULE_DELAY="50")
        return subprocess.Popen([program, *map(str, words)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    run = start("plain", 40, 100)
    time.sleep(1.5)
    dns.address = "127.0.0.3"
    out, _ = run.communicate(timeout=60)
    both = names(first) + names(second)
    tap.check(sorted(both) == sorted(f"host-{n}" for n in range(40)) and first.requests and second.requests,
              "names: an address that changes is followed by its TTL", f"{len(first.requests)} and {len(second.requests)}, {out}")
    asked = len(dns.questions)
    tap.check(2 <= asked <= 12, "names: the name is asked for by its TTL, not for each batch", asked)
    dns.ttl, dns.dead = 1, False
    before = len(second.requests)
    run = start("plain", 30, 100)
    time.sleep(1.0)
    dns.dead = True
    out, _ = run.communicate(timeout=120)
    tap.check(len(second.requests) - before == 30, "names: a dead name server does not stop what has an address", f"{len(second.requests) - before} of 30 {out}")
    third = Http(address=("127.0.0.4", 4318))
    dns.dead = False
    with tempfile.TemporaryDirectory() as empty:
        env = clean_environment(LD_PRELOAD=preload, OTEL_EXPORTER_OTLP_ENDPOINT="http://caged.test:4318", OTEL_BSP_SCHEDULE_DELAY="50")
        run = subprocess.run([program, "cage", empty], env=env, capture_output=True, text=True, timeout=60)
        tap.check(len(names(third)) == 10, "names: a worker in an empty chroot knows what /etc/hosts said before", said(run))
        dns.address, before = "127.0.0.3", len(names(second))
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://collector.test:4318"
        run = subprocess.run([program, "cage", empty], env=env, capture_output=True, text=True, timeout=60)
        tap.check(len(names(second)) - before == 10, "names: a worker in an empty chroot asks the name server known before", said(run))
    sys.exit(1 if tap.failed else 0)


def resolver():
    if os.geteuid() or subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True).returncode:
        tap.skip("names: by their TTL", "needs root and namespaces")
        return
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(["unshare", "-n", "-m", sys.executable, __file__, "--build", options.build, "--inside", folder],
                             env=clean_environment(), capture_output=True, text=True, timeout=300)
        points = re.findall(r"^(ok|not ok) \d+ - (.*)$", run.stdout, re.M)
        for good, name in points:
            tap.check(good == "ok", name, run.stdout + run.stderr)
        if not points:
            tap.check(False, "names: by their TTL", run.stdout + run.stderr)


def allocators():
    """Other allocators, and node, which exports an OpenSSL of its own."""
    for name in ("libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2", "libmimalloc.so.3"):
        path = next((str(p) for p in pathlib.Path("/usr/lib").glob(f"*-linux-gnu/{name}*")), None)
        if not path:
            continue
        receiver = Http()
        run = host("plain", 5, 1, endpoint=receiver.endpoint, before=path + ":")
        tap.check(run.returncode == 0 and len(names(receiver)) == 5, f"allocators: {name}", said(run))
        receiver.stop()
    node = shutil.which("node")
    if not node:
        tap.skip("hosts: node", "there is none here")
        return
    receiver = Http()
    script = "const s=require('http').createServer((q,r)=>r.end('x')).listen(0,'127.0.0.1',()=>{const http=require('http');let n=0;" \
             "const go=()=>http.get({port:s.address().port,agent:false},r=>{r.resume();r.on('end',()=>{if(++n<5)go();else setTimeout(()=>process.exit(0),300)})});" \
             "require('crypto').randomBytes(8);go();});"
    env = clean_environment(LD_PRELOAD=PRELOAD, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY="50")
    run = subprocess.run([node, "-e", script], env=env, capture_output=True, text=True, timeout=60)
    tap.check(run.returncode == 0 and len(names(receiver)) == 5, "hosts: node, with its own OpenSSL", f"{said(run)}{len(names(receiver))} spans")
    receiver.stop()


parser = argparse.ArgumentParser()
parser.add_argument("--build", required=True)
parser.add_argument("--long", action="store_true")
parser.add_argument("--inside")
parser.add_argument("--only", default=".")
options = parser.parse_args()
options.build = os.path.abspath(options.build)
PRELOAD = os.path.join(options.build, "shim/libforkspan.so")


def main():
    if options.inside:
        resolver_part(os.path.join(options.build, "tests/export/export_host"), PRELOAD, options.inside)
    certificates = Certificates()
    with tempfile.TemporaryDirectory(prefix="forkspan-control-") as folder:
        control = control_preload(folder)
        parts = {"exits": lambda: exits(certificates), "locked": lambda: locked(control), "storm": lambda: storm(control),
                 "cage": lambda: cage(certificates), "late": late, "logs": logs, "resolver": resolver, "allocators": allocators}
        for name, part in parts.items():
            if re.search(options.only, name):
                began = time.monotonic()
                part()
                print(f"# {name}: {time.monotonic() - began:.0f} s", flush=True)
    tap.end()


main()
