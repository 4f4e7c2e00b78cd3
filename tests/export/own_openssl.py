# SPDX-License-Identifier: Apache-2.0
"""Servers with an OpenSSL of their own that they export, under the real preload, as TAP: own_openssl.py --build DIRECTORY

node's cluster module, in both of its ways to share connections, and a program linked with -rdynamic. Spans go to a receiver
that speaks TLS, by a thread and by a process of its own: each request of plain HTTP is one, and nothing crashes.
"""
import argparse
import collections
import os
import pathlib
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))

from harness import Tap, clean_environment, fetch, until  # noqa: E402
from receivers import Certificates, Http  # noqa: E402

tap = Tap()
REQUESTS = 60


def paths(receiver):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    found = collections.Counter()
    for request in receiver.requests:
        for rs in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for ss in rs.scope_spans:
                found.update(a.value.string_value for span in ss.spans for a in span.attributes if a.key == "url.path")
    return found


def serve(command, env):
    """(pids that answered, exit status, standard error)"""
    server = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)
    try:
        port, _ = map(int, server.stdout.readline().split())
        answered = []
        for i in range(REQUESTS):
            answered.append(fetch(port, f"/ok/{i}", {"Connection": "close"}).body)
        os.kill(server.pid, signal.SIGTERM)
        _, errors = server.communicate(timeout=60)
        return set(answered), server.returncode, errors
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()


def under(what, command, preload, certificates, **more):
    for export in ("thread", "process"):
        receiver = Http(tls=certificates.server())
        try:
            done = serve(command, clean_environment(
                LD_PRELOAD=preload, OTEL_SERVICE_NAME="own", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, FORKSPAN_EXPORT=export,
                OTEL_EXPORTER_OTLP_CERTIFICATE=certificates.path("ca.pem"), OTEL_BSP_SCHEDULE_DELAY="50", **more))
            wanted = {f"/ok/{i}": 1 for i in range(REQUESTS)}
            try:
                until(lambda: len(paths(receiver)) == REQUESTS, "all of it arrives")
            except TimeoutError:
                pass
            found = dict(paths(receiver))
            tap.check(done[0] and done[1] == 0, f"{what}, {export}: no crash, its workers answer", done)
            tap.check(found == wanted, f"{what}, {export}: each of {REQUESTS} requests is one span", f"{len(found)} {done}")
        finally:
            receiver.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    build = os.path.abspath(parser.parse_args().build)
    preload, certificates = os.path.join(build, "shim/libforkspan.so"), Certificates()
    program = os.path.join(build, "tests/export/prefork_openssl")
    if os.path.exists(program):
        exported = subprocess.run(["nm", "-D", "--defined-only", program], capture_output=True, text=True).stdout
        tap.check(" SSL_CTX_new\n" in exported and " EVP_DigestInit_ex\n" in exported, "-rdynamic: it exports its OpenSSL")
        under("-rdynamic", [program, "2"], preload, certificates)
    else:
        tap.skip("-rdynamic", "no static OpenSSL")
    node = shutil.which("node")
    for policy in ("rr", "none"):
        if node:
            under(f"node's cluster, {policy}", [node, str(HERE / "cluster.js")], preload, certificates, NODE_CLUSTER_SCHED_POLICY=policy)
        else:
            tap.skip(f"node's cluster, {policy}", "there is no node here")
    tap.end()


main()
