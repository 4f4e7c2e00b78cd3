# SPDX-License-Identifier: Apache-2.0
"""Client, forkspan and SDK spans form one chain: Flask with the OpenTelemetry SDK inside and an exporter of its own, a
traceparent sent by the client.

chain.py --collector BINARY --forkspan COMMAND [--requests N]
"""
import argparse
import collections
import pathlib
import random
import re
import shutil
import signal
import sys

from harness import HERE, Collector, Gunicorn, Server, Tap, answers, attributes, fetch, free_port, workspace

UWSGI = "/usr/bin/uwsgi-core"


def gunicorn(folder, forkspan, endpoint, env):
    return Gunicorn(folder, ["--workers", "2", "--preload"], forkspan, endpoint, env=env, app="sdk_app:app")


def uwsgi_http(folder, forkspan, endpoint, env):
    """With the router: its own span, and the worker's, are two links of the chain."""
    port = free_port()
    server = Server(folder, "uwsgi", [
        UWSGI, "--plugin", "python3,http", "--http", f"127.0.0.1:{port}", "--master", "--processes", "2", "--lazy-apps",
        "--enable-threads", "--virtualenv", sys.prefix, "--chdir", str(HERE), "--module", "sdk_app", "--need-app",
        "--disable-logging"], forkspan, endpoint, env=env, stop_signal=signal.SIGINT)
    server.wait_for(lambda: len(re.findall(r"WSGI app 0 \(", server.text())) == 2, "both workers have the application")
    server.wait_for(lambda: answers(port), "uWSGI listens")
    server.port = port
    return server


def ask(port, number, trace, parent):
    answer = fetch(port, f"/chain/{number}", {"traceparent": f"00-{trace}-{parent}-01", "Connection": "close"})
    return answer.status == 200 and answer.body == b"%d\n" % number


def broken(spans, parent, services):
    """Why these spans of one trace are no chain from the client's to the innermost, or nothing."""
    children = collections.defaultdict(list)
    for resource, _, _, span in spans:
        children[span.get("parentSpanId", "")].append((resource.get("service.name"), span))
    found = []
    while here := children.pop(parent, []):
        if len(here) != 1:
            return f"{len(here)} children of one span"
        service, span = here[0]
        found.append(service)
        parent = span["spanId"]
    if children:
        return f"spans beside the chain: {dict(children)}"
    return "" if found == services else f"{found}, not {services}"


def run(tap, name, start, services, options, env=None):
    rng = random.Random(name)
    asked = [(number, rng.randbytes(16).hex(), rng.randbytes(8).hex()) for number in range(options.requests)]
    with workspace() as folder:
        collector = Collector(options.collector, folder)
        server = None
        try:
            server = start(folder, options.forkspan, collector.endpoint, {"SDK_ENDPOINT": collector.endpoint, **(env or {})})
            bad = [number for number, trace, parent in asked if not ask(server.port, number, trace, parent)]
            tap.check(not bad, f"{name}: every request is answered", f"{bad}\n{server.tail()}")
            tap.check(server.stop() is not None, f"{name}: stops", server.tail())
            collector.stop()
            traces = collections.defaultdict(list)
            for entry in collector.spans():
                if attributes(entry[3]).get("url.path", "/chain/").startswith("/chain/"):
                    traces[entry[3]["traceId"]].append(entry)
            wrong = [f"{number}: {why}" for number, trace, parent in asked if (why := broken(traces.pop(trace, []), parent, services))]
            tap.check(not wrong, f"{name}: {len(asked)} chains, the client's span, {', '.join(services)}", "\n".join(wrong[:10]))
            tap.check(not traces, f"{name}: no span outside of them", str(list(traces.items())[:3]))
        except Exception as error:
            tap.check(False, f"{name}: runs", f"{error!r}\n{server.tail() if server else ''}")
        finally:
            if server and server.process.poll() is None:
                server.kill()
            collector.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector", required=True)
    parser.add_argument("--forkspan", required=True)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    tap = Tap()
    run(tap, "gunicorn", gunicorn, ["ledger", "sdk", "sdk"], options)
    if shutil.which(UWSGI):
        run(tap, "uWSGI http router", uwsgi_http, ["ledger", "ledger", "sdk", "sdk"], options)
    else:
        tap.skip("uWSGI http router", f"no {UWSGI}")
    # The control: without it both are children of the client's span.
    quiet = Tap()
    quiet.check = lambda good, *_: setattr(quiet, "failed", quiet.failed + (not good))
    run(quiet, "control", gunicorn, ["ledger", "sdk", "sdk"], options, {"FORKSPAN_PROPAGATE": "false"})
    tap.check(quiet.failed == 1, "the control: with FORKSPAN_PROPAGATE=false there is no chain", f"{quiet.failed} checks failed")
    tap.end()


main()
