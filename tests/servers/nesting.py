# SPDX-License-Identifier: Apache-2.0
"""The application, and the server behind a proxy, become children of the request's span: nginx that proxies to
gunicorn or to http.server, each traced; and what FORKSPAN_PROPAGATE, FORKSPAN_ONLY and the counters at the end say.

nesting.py --forkspan COMMAND
"""
import argparse
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "export"))

from harness import Gunicorn, Tap, workspace  # noqa: E402
from others import Nginx, Simple  # noqa: E402
from raw import exchange  # noqa: E402
from sink import Sink  # noqa: E402

REQUESTS = 20


def ask(port, path, traceparent=None):
    """The traceparent that the application saw."""
    extra = f"traceparent: {traceparent}\r\n" if traceparent else ""
    answer, _ = exchange(port, [f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{extra}\r\n".encode()])
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer.split(b"\r\n\r\n", 1)[1].decode().split("\n")[0]


def spans_of(sink):
    """By service and trace: (span id, parent id)."""
    found = {}
    for resource_spans, _, span in sink.decode():
        service = next(a.value.string_value for a in resource_spans.resource.attributes if a.key == "service.name")
        found.setdefault((service, span.trace_id.hex()), []).append((span.span_id.hex(), span.parent_span_id.hex()))
    return found


def context(number):
    return "%032x" % (number + 1), "%016x" % (number + 7)


def gunicorn(folder, *traced, **more):
    return Gunicorn(folder, ["--workers", "2", "--preload"], *traced, app="echo:application", **more)


def chain(tap, options, name, start):
    sink = Sink()
    seen = {}
    with workspace() as one, workspace() as two:
        behind = start(one, options.forkspan, sink.endpoint, "behind")
        front = None
        try:
            front = Nginx(two, options.forkspan, sink.endpoint, "front", proxy_to=behind.port)
            for number in range(REQUESTS):
                trace, client = context(number)
                seen[trace] = ask(front.port, "/proxied/echo", f"00-{trace}-{client}-01")
            without = ask(front.port, "/proxied/echo")
            front.stop()
            behind.stop()
        finally:
            for server in (front, behind):
                if server:
                    server.kill()
    sink.stop()
    spans = spans_of(sink)
    wrong = []
    for number in range(REQUESTS):
        trace, client = context(number)
        first, second = spans.get(("front", trace), []), spans.get(("behind", trace), [])
        good = (len(first) == len(second) == 1 and first[0][1] == client and second[0][1] == first[0][0]
                and seen[trace] == f"00-{trace}-{second[0][0]}-01")
        if not good:
            wrong.append(f"{trace}: client {client}, front {first}, behind {second}, the application saw {seen[trace]}")
    tap.check(not wrong, f"nginx, then {name}: client, proxy, server and application are one chain, {REQUESTS} times",
              "\n".join(wrong[:5]))
    tap.check(without in ("None", "-", ""), f"nginx, then {name}: where the client sends no context none is invented", without)


def switched_off(tap, options):
    sink = Sink()
    with workspace() as folder:
        server = gunicorn(folder, options.forkspan, sink.endpoint, "off", env={"FORKSPAN_PROPAGATE": "false"})
        try:
            saw = [ask(server.port, "/echo", "00-%s-%s-01" % context(number)) for number in range(3)]
            server.stop()
        finally:
            server.kill()
    sink.stop()
    tap.check(saw == ["00-%s-%s-01" % context(number) for number in range(3)] and len(sink.decode()) == 3,
              "FORKSPAN_PROPAGATE=false: the application sees what the client sent", saw)


def only(tap, options):
    """The program is a script: its name is its own, the interpreter's, or another's."""
    for names, traced in (("gunicorn, nginx", False), (os.path.basename(os.path.realpath(sys.executable)), True),
                          (os.path.basename(sys.executable), True), ("pytho", False)):
        sink = Sink()
        with workspace() as folder:
            server = gunicorn(folder, options.forkspan, sink.endpoint, "only", env={"FORKSPAN_ONLY": names})
            try:
                ask(server.port, "/echo")
                server.stop()
            finally:
                server.kill()
        sink.stop()
        tap.check(len(sink.decode()) == traced, f"FORKSPAN_ONLY={names}: {'traced' if traced else 'left alone'}", sink.decode())


def counters(tap, options):
    """One thread serves each connection: none is unsure, also with sendfile, keep-alive and half-closed clients."""
    sink = Sink()
    with workspace() as folder:
        server = Nginx(folder, options.forkspan, sink.endpoint, "count", env={"OTEL_LOG_LEVEL": "debug", "FORKSPAN_LOG": os.path.join(folder, "said")})
        try:
            for _ in range(5):
                answer, _ = exchange(server.port, [b"GET /file/big HTTP/1.1\r\nHost: a\r\n\r\n" * 3])
                assert answer.count(b"HTTP/1.1 200") == 3, answer[:300]
            server.stop()
        finally:
            server.kill()
        text = pathlib.Path(folder, "said").read_text()
    sink.stop()
    said = [dict(re.findall(r"(\w+) (\d+)", line)) for line in re.findall(r"at exit: (.*)", text)]
    total = {key: sum(int(each.get(key, 0)) for each in said) for key in ("started", "queued", "unsure")}
    tap.check(total == {"started": 15, "queued": 15, "unsure": 0} and len(sink.decode()) == 15,
              "15 bodies by sendfile: 15 spans, no connection unsure", f"{total} {said} {text[-1500:]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--forkspan", required=True)
    options = parser.parse_args()
    tap = Tap()
    chain(tap, options, "gunicorn", gunicorn)
    chain(tap, options, "http.server", Simple)
    switched_off(tap, options)
    only(tap, options)
    counters(tap, options)
    tap.end()


main()
