# SPDX-License-Identifier: Apache-2.0
"""Forks while names are resolved and batches are sent, with its control, as TAP.

resolve_storm.py --program RESOLVE_STORM --preload LIBFORKSPAN [--children N]

The collector has a name. Its server answers slowly, and at first that it can not: the batch thread is in a look-up, in a
pause, or sends, while the process forks. Needs root, for a resolv.conf of its own.
"""
import argparse
import ctypes
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))

from harness import Tap, clean_environment  # noqa: E402
from receiver import Receiver  # noqa: E402

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18


class Names:
    """Answers for *.matrix.test: "collector" after 100 ms, the first times that the server failed; others at once."""

    def __init__(self):
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        pid = os.getpid()
        self.address = f"127.{pid >> 16 & 255}.{pid >> 8 & 255}.{pid & 255 or 1}"
        self.socket.bind((self.address, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, who = self.socket.recvfrom(512)
            if b"\x09collector" in query:
                self.asked += 1
                good = self.asked > 4
                threading.Timer(0.1, self.answer, (query, who, good)).start()
            else:
                self.answer(query, who, True)

    def answer(self, query, who, good):
        end = query.index(b"\0", 12) + 1
        kind = struct.unpack(">H", query[end:end + 2])[0]
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton("127.0.0.1") if kind == 1 and good else b""
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if good else 0x8182, 1, 1 if record else 0, 0, 0)
        self.socket.sendto(head + query[12:end + 4] + record, who)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--preload", required=True)
    parser.add_argument("--children", type=int, default=1500)
    options = parser.parse_args()
    tap = Tap()
    what = f"no child of {options.children} hangs that resolves, opens a library, allocates, prints and exits"
    if os.geteuid() != 0:
        tap.skip(what, "needs root")
        tap.end()
    names, receiver = Names(), Receiver()
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(f"nameserver {names.address}\noptions attempts:2 timeout:5\n")
        config.flush()
        if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or \
                libc.mount(config.name.encode(), b"/etc/resolv.conf", None, MS_BIND, None):
            tap.skip(what, "no mount namespace here")
            tap.end()
        control = subprocess.run([options.program, "2000", "other.matrix.test", "control"], capture_output=True, text=True,
                                 timeout=600, env=clean_environment())
        tap.check("hung 1" in control.stderr, "control: a thread that resolves with libc hangs a child", control.stderr)
        port = receiver.endpoint.rsplit(":", 1)[1]
        env = clean_environment(LD_PRELOAD=os.path.abspath(options.preload), OTEL_SERVICE_NAME="resolve",
                                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://collector.matrix.test:{port}", OTEL_BSP_SCHEDULE_DELAY="5",
                                OTEL_BSP_MAX_EXPORT_BATCH_SIZE="64", FORKSPAN_STACKS="1", OTEL_LOG_LEVEL="none",
                                FORKSPAN_LOG="/dev/null")
        began = time.monotonic()
        run = subprocess.run([options.program, str(options.children), "other.matrix.test"], capture_output=True, text=True,
                             timeout=3600, env=env)
        print(f"# {options.children} children in {time.monotonic() - began:.0f} s, {names.asked} look-ups of the collector, "
              f"{receiver.batches} batches", flush=True)
        tap.check(run.returncode == 0 and f"children {options.children} hung 0" in run.stderr, what, run.stderr[-3000:])
        printed = run.stdout.count("found opened 1\n")
        tap.check(printed == options.children, f"each of them did all of it ({printed})", run.stdout[:300])
        tap.check(names.asked >= 2, f"the collector's name was looked up meanwhile ({names.asked} times)")
        tap.check(receiver.batches >= 1, f"batches were sent meanwhile ({receiver.batches})")
    tap.end()


main()
