# SPDX-License-Identifier: Apache-2.0
"""What a traced gunicorn sends, read by the official protobuf classes.

decode.py --forkspan COMMAND [--requests N]
"""
import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))

from harness import Gunicorn, Tap, workspace  # noqa: E402
from raw import exchange  # noqa: E402
from sink import Sink, values, wrong_with  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--forkspan", required=True)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    tap = Tap()
    for compression in ("none", "gzip"):
        sink = Sink()
        with workspace() as folder:
            gunicorn = Gunicorn(folder, ["--workers", "2", "--preload"], options.forkspan, sink.endpoint, "decode",
                                {"OTEL_EXPORTER_OTLP_COMPRESSION": compression})
            try:
                for number in range(options.requests):
                    method = ["GET", "POST", "DELETE", "PURGE"][number % 4]
                    parent = "00-%032x-%016x-01" % (number + 1, number + 7)
                    extra = f"traceparent: {parent}\r\n" if number % 3 == 0 else ""
                    exchange(gunicorn.port, [f"{method} /{[200, 404, 503][number % 3]}/fixed/d{number}?a=b HTTP/1.1\r\n"
                                             f"Host: shop.example:8080\r\nUser-Agent: d\xe9code\r\n{extra}"
                                             "Content-Length: 0\r\n\r\n".encode("latin-1")])
                took = gunicorn.stop()
            finally:
                gunicorn.kill()
        sink.stop()
        spans = sink.decode()
        name = f"compression {compression}"
        tap.check(took is not None, f"{name}: gunicorn stops", gunicorn.process.returncode)
        tap.check(not sink.wrong, f"{name}: every request to the receiver is right", "\n".join(sink.wrong[:10]))
        packed = [headers.get("Content-Encoding") == "gzip" for headers, _, _ in sink.requests]
        tap.check(packed and all(packed) == (compression == "gzip"), f"{name}: is what was asked for", packed)
        tap.check(len(spans) == options.requests, f"{name}: {options.requests} spans are readable", len(spans))
        wrong = [f"{words}: {span}" for rs, ss, span in spans if (words := wrong_with(rs, ss, span))]
        tap.check(not wrong, f"{name}: resource, scope, ids, flags, kind, times, attributes are right for each",
                  f"{len(wrong)} of {len(spans)}\n" + "\n".join(wrong[:3]))
        hosts = {(values(span).get("server.address"), values(span).get("server.port")) for _, _, span in spans}
        tap.check(hosts == {("shop.example", 8080)}, f"{name}: server address and port are those of the Host header", hosts)
        others = {values(s).get("http.request.method_original") for _, _, s in spans if values(s).get("http.request.method") == "_OTHER"}
        tap.check(others == {"PURGE"}, f"{name}: an unknown method is _OTHER with its original", others)
        tap.check({span.parent_span_id.hex() for _, _, span in spans if span.parent_span_id}
                  == {"%016x" % (n + 7) for n in range(0, options.requests, 3)}, f"{name}: every parent is there")
        resources = {values(rs.resource).get("service.instance.id"): values(rs.resource).get("process.pid") for rs, _, _ in spans}
        tap.check(len(resources) == len(set(resources.values())) >= 1, f"{name}: an instance id a process", resources)
    tap.end()


main()
