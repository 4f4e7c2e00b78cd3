# SPDX-License-Identifier: Apache-2.0
"""The exporter against receivers that answer as they are told, as TAP. The names are what the report refers to.

conformance.py --send PROGRAM --exporter LIBRARY [--collector BINARY] [--long]
"""
import argparse
import email.utils
import gzip
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))

from harness import Tap, clean_environment, free_port  # noqa: E402
from receivers import Certificates, Grpc, Http, message_of  # noqa: E402

tap = Tap()
PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Sent:
    """What one run of the sender said."""

    def __init__(self, run):
        self.text, self.errors, self.code = run.stdout, run.stderr, run.returncode
        self.batches = [(m[1], int(m[2]), int(m[3]), int(m[4]), int(m[5])) for m in
                        re.finditer(r"^(\w+) rejected (\d+) attempts (\d+) sent (\d) ms (\d+)$", run.stdout, re.M)]

    def __str__(self):
        return f"exit {self.code}\n{self.text}{self.errors}"

    @property
    def results(self):
        return [batch[0] for batch in self.batches]

    @property
    def attempts(self):
        return [batch[2] for batch in self.batches]

    @property
    def ms(self):
        return [batch[4] for batch in self.batches]


def send(endpoint, *words, wrap=(), **env):
    names = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_EXPORT_TIMEOUT": "0"}
    names.update({key if "_" in key and key.isupper() and key.startswith(("OTEL", "FORKSPAN", "http", "NO_")) else
                  f"OTEL_EXPORTER_OTLP_{key}": value for key, value in env.items()})
    command = [*wrap, options.send, options.exporter, *map(str, words)]
    return Sent(subprocess.run(command, env=clean_environment(**names), capture_output=True, text=True, timeout=120))


def grpc(endpoint, *words, **env):
    return send(endpoint, *words, PROTOCOL="grpc", **env)


def spans_of(body):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    message = ExportTraceServiceRequest.FromString(body)
    return [span for rs in message.resource_spans for ss in rs.scope_spans for span in ss.spans]


def plain(body):
    """Spans by name, as simple values, out of the encoded message."""
    return {s.name: (s.trace_id.hex(), s.span_id.hex(), s.kind, str(s.start_time_unix_nano), str(s.end_time_unix_nano), s.flags,
                     {a.key: str(a.value.int_value) if a.value.HasField("int_value") else a.value.string_value
                      for a in s.attributes}) for s in spans_of(body)}


def plain_json(text):
    found = {}
    for rs in json.loads(text)["resourceSpans"]:
        for ss in rs["scopeSpans"]:
            for s in ss["spans"]:
                found[s["name"]] = (s["traceId"], s["spanId"], s["kind"], s["startTimeUnixNano"], s["endTimeUnixNano"],
                                    s.get("flags", 0), {a["key"]: a["value"].get("intValue", a["value"].get("stringValue"))
                                                        for a in s.get("attributes", [])})
    return found


def partial(rejected, message):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


def http_requests():
    receiver = Http()
    sent = send(receiver.endpoint, "batches", 3, HEADERS="Authorization=Basic%20YWJj=,X-Tenant=a b")
    first = receiver.requests[0]
    tap.check(sent.results == ["ok"] * 3, "http/protobuf: a batch is delivered", sent)
    tap.check({r.path for r in receiver.requests} == {"/v1/traces"}, "http: POST to /v1/traces", [r.path for r in receiver.requests])
    tap.check(first.headers["content-type"] == "application/x-protobuf", "http/protobuf: Content-Type", first.headers)
    tap.check(re.match(r"^forkspan/\S+ OTel-OTLP-Exporter-C/\S+$", first.headers["user-agent"]), "http: User-Agent", first.headers)
    tap.check(first.headers["authorization"] == "Basic YWJj=" and first.headers["x-tenant"] == "a b", "http: the user's headers",
              first.headers)
    tap.check(receiver.connections == 1, "http: the connection is kept between requests", receiver.connections)
    tap.check("expect" not in first.headers and "content-encoding" not in first.headers, "http: no Expect, no compression unless asked",
              first.headers)
    tap.check(set(plain(first.raw)) == {"span-0", "span-1", "span-2"}, "http/protobuf: the official package reads it")
    reference = plain(first.raw)
    receiver.stop()

    receiver = Http()
    sent = send(receiver.endpoint, COMPRESSION="gzip")
    request = receiver.requests[0]
    tap.check(request.headers.get("content-encoding") == "gzip" and plain(request.body) == reference,
              "http/protobuf: gzip, with Content-Encoding", sent)
    receiver.stop()

    for compression in ("none", "gzip"):
        receiver = Http()
        sent = send(receiver.endpoint, PROTOCOL="http/json", COMPRESSION=compression)
        request = receiver.requests[0]
        tap.check(sent.results == ["ok"] and request.headers["content-type"] == "application/json" and plain_json(request.body) == reference,
                  f"http/json: the same spans, compression {compression}", f"{sent}\n{request.body[:500]}")
        receiver.stop()

    receiver = Http()
    send("http://unused:1", TRACES_ENDPOINT=f"http://localhost:{receiver.port}")
    send("http://unused:1", TRACES_ENDPOINT=f"http://localhost:{receiver.port}/a/v1/traces/")
    send(f"http://localhost:{receiver.port}/x/")
    send(f"http://127.0.0.1:{receiver.port}")
    tap.check([r.path for r in receiver.requests] == ["/", "/a/v1/traces/", "/x/v1/traces", "/v1/traces"],
              "http: paths of the endpoints on the wire", [r.path for r in receiver.requests])
    receiver.stop()
    try:
        receiver = Http(address=("::1", 0))
    except OSError as error:
        tap.skip("http: an IPv6 number as the endpoint", error)
    else:
        sent = send(f"http://[::1]:{receiver.port}")
        tap.check(sent.results == ["ok"], "http: an IPv6 number as the endpoint", sent)
        receiver.stop()

    receiver = Http()
    sent = send(receiver.endpoint, "batches", 4, "fork", 1)
    tap.check(sent.results == ["ok"] * 4 and receiver.connections == 2, "http: a child has a connection of its own", sent)
    receiver.stop()

    receiver = Http()
    sent = send(receiver.endpoint, "spans", 600, "size", 130000)
    tap.check(sent.results == ["failed"] and receiver.connections == 0, "http: more than 64 MiB is not sent, and counted", sent)
    receiver.stop()


def answers(name, answer, result, attempts, rejected=0, warns=None, silent=False, timeout="700", protocol="http/protobuf"):
    """One answer for all tries; `attempts` 0: more than one."""
    receiver = Http(lambda _: answer)
    sent = send(receiver.endpoint, TIMEOUT=timeout, PROTOCOL=protocol)
    got = sent.batches[0] if sent.batches else None
    good = got and got[0] == result and got[1] == rejected and (got[2] == attempts if attempts else got[2] > 1)
    if warns:
        good = good and re.search(warns, sent.errors)
    if silent:
        good = good and not sent.errors
    tap.check(good and sent.code == 0, name, sent)
    bodies = {r.raw for r in receiver.requests}
    receiver.stop()
    return bodies


def http_answers():
    pb = {"Content-Type": "application/x-protobuf"}
    js = {"Content-Type": "application/json"}
    answers("http: an empty 200 is success", (200, pb, b""), "ok", 1, silent=True)
    answers("http: 202 is success", (202, {}, b""), "ok", 1)
    answers("http: partial success of nothing is success", (200, pb, partial(0, "") or b"\n\0"), "ok", 1, silent=True)
    answers("http: partial success with a hint warns", (200, pb, partial(0, "hint")), "ok", 1, warns="hint")
    answers("http: rejected spans are counted, not sent again", (200, pb, partial(2, "x")), "ok", 1, rejected=2, warns="rejected 2 of 3")
    answers("http: an answer in JSON is read by its Content-Type", (200, js, b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"x"}}'),
            "ok", 1, rejected=2, warns="rejected 2 of 3", protocol="http/json")
    answers("http: an unreadable 200 is success", (200, pb, b"\xff\xff"), "ok", 1)
    for status in (400, 401, 403, 404, 408, 413, 500, 501):
        answers(f"http: {status} is not tried again", (status, pb, b"\x08\x03\x12\x04why!"), "failed", 1, warns=f"{status}: why!")
    answers("http: the message of a JSON error is logged", (400, js, b'{"code":3,"message":"why!"}'), "failed", 1, warns="400: why!")
    answers("http: a redirect is not followed", (307, {"Location": "/elsewhere"}, b""), "failed", 1, warns="307")
    for status in (429, 502, 503, 504):
        bodies = answers(f"http: {status} is tried again", (status, {}, b""), "failed", 0, timeout="2000")
        tap.check(len(bodies) == 1, f"http: {status}: the same bytes are sent again")
    big = b"x" * (5 << 20)
    answers("http: an answer of 5 MiB is cut off, not tried again", (200, pb, big), "failed", 1, timeout="5000")
    answers("http: a gzip bomb is cut off, not tried again", (200, {**pb, "Content-Encoding": "gzip"}, gzip.compress(b"\0" * (100 << 20))),
            "failed", 1, timeout="5000")
    answers("http: garbage for gzip is not tried again", (200, {**pb, "Content-Encoding": "gzip"}, b"garbage" * 9), "failed", 1)

    now = time.time()
    later = email.utils.formatdate(now + 3, usegmt=True)
    for name, value, least, most in (
            ("in seconds", "2", 2000, 3500), ("as a date", later, 800, 4500), ("as a past date", email.utils.formatdate(now - 90, usegmt=True), 700, 1500),
            ("as garbage", "soon", 700, 1500)):
        asked = []

        def once(_request, asked=asked, value=value):
            asked.append(time.monotonic())
            return (503, {"Retry-After": value}, b"") if len(asked) == 1 else (200, {}, b"")
        receiver = Http(once)
        sent = send(receiver.endpoint, TIMEOUT="8000")
        waited = (asked[1] - asked[0]) * 1000 if len(asked) == 2 else -1
        tap.check(sent.results == ["ok"] and least <= waited <= most, f"http: Retry-After {name}", f"{waited} ms\n{sent}")
        receiver.stop()
    receiver = Http(lambda _: (503, {"Retry-After": "86400"}, b""))
    sent = send(receiver.endpoint, TIMEOUT="8000")
    tap.check(sent.results == ["failed"] and sent.ms[0] < 500, "http: a Retry-After beyond the time limit gives up at once", sent)
    receiver.stop()


def times():
    silent = Http(lambda _: threading.Event().wait(60))
    sent = send(silent.endpoint, TIMEOUT="600")
    tap.check(sent.results == ["failed"] and 550 <= sent.ms[0] <= 1100, "time: a silent receiver is left after the time limit", sent)
    sent = send(silent.endpoint, "deadline", 300)
    tap.check(sent.results == ["aborted"] and sent.ms[0] <= 800, "time: a deadline from outside ends it", sent)
    silent.stop()
    busy = Http(lambda _: (503, {}, b""))
    sent = send(busy.endpoint, TIMEOUT="2500")
    tap.check(sent.results == ["failed"] and sent.ms[0] <= 2900 and sent.attempts[0] > 1, "time: the limit covers the tries together", sent)
    busy.stop()
    port = free_port()
    sent = send(f"http://localhost:{port}", TIMEOUT="2000")
    tap.check(sent.results == ["failed"] and sent.attempts[0] > 1, "time: a refused connection is tried again", sent)
    late = []
    threading.Timer(0.4, lambda: late.append(Http(address=("127.0.0.1", port)))).start()
    sent = send(f"http://localhost:{port}", TIMEOUT="8000")
    tap.check(sent.results == ["ok"] and sent.attempts[0] > 1, "time: a receiver that comes later gets the batch", sent)
    late[0].stop()
    cut = []

    def cutting(_request):
        cut.append(1)
        return None if len(cut) == 1 else (200, {}, b"")
    receiver = Http(cutting)
    sent = send(receiver.endpoint, TIMEOUT="8000")
    tap.check(sent.results == ["ok"] and len(cut) == 2, "time: a connection cut without an answer is tried again", sent)
    receiver.stop()


def secrets():
    def echo(request):
        return 400, {"Content-Type": "application/json"}, json.dumps({"message": "bad " + request.headers["authorization"]}).encode()
    receiver = Http(echo)
    sent = send(receiver.endpoint.replace("localhost", "someone:tellnobody@localhost"),
                HEADERS="Authorization=Bearer%20verysecretvalue", OTEL_LOG_LEVEL="trace")
    tap.check(sent.results == ["failed"] and "***" in sent.errors and not re.search("verysecret|tellnobody", sent.errors + sent.text),
              "log: a header's value in the receiver's words is blotted out", sent)
    receiver.stop()
    for before in range(120, 160, 4):
        receiver = Http(lambda request, before=before: (400, {"Content-Type": "application/json"},
                                                        json.dumps({"message": "x" * before + request.headers["authorization"]}).encode()))
        sent = send(receiver.endpoint, HEADERS="Authorization=Bearer%20verysecretvalue")
        receiver.stop()
        if "very" in sent.errors:
            break
    tap.check(not re.search("very", sent.errors), "log: a header's value that is cut off is blotted out, too", sent)
    sent = send("http://someone:tellnobody@[", HEADERS="Authorization=%zzverysecretvalue")
    tap.check(not re.search("verysecret|tellnobody", sent.errors), "log: malformed settings are named, not shown", sent)


def tls(certificates):
    ca = certificates.path("ca.pem")
    for name, kind, run in (("http", Http, send), ("grpc", Grpc, grpc)):
        alpn = ("h2",) if kind is Grpc else ()
        receiver = kind(tls=certificates.server(alpn=alpn))
        sent = run(receiver.endpoint, "batches", 2, CERTIFICATE=ca)
        tap.check(sent.results == ["ok", "ok"] and receiver.connections == 1, f"{name}: TLS with the given authority", sent)
        sent = run(receiver.endpoint, CERTIFICATE=certificates.path("other-ca.pem"))
        tap.check(sent.results == ["failed"] and sent.attempts == [1] and len(receiver.requests) == 2,
                  f"{name}: another authority's certificate is refused for good", sent)
        sent = run(receiver.endpoint)
        tap.check(sent.results == ["failed"] and len(receiver.requests) == 2, f"{name}: the system's authorities do not know it", sent)
        sent = run(receiver.endpoint, CERTIFICATE="/nowhere/ca.pem")
        tap.check("not opened" in sent.text and "no CA certificates" in sent.errors, f"{name}: no verification without the file", sent)
        receiver.stop()
        for bad in ("wrong-name", "expired"):
            receiver = kind(tls=certificates.server(bad, alpn=alpn))
            sent = run(receiver.endpoint, CERTIFICATE=ca)
            tap.check(sent.results == ["failed"] and sent.attempts == [1] and not receiver.requests, f"{name}: a certificate that is {bad} is refused", sent)
            receiver.stop()
        receiver = kind(tls=certificates.server(client=True, alpn=alpn))
        sent = run(receiver.endpoint, CERTIFICATE=ca, CLIENT_CERTIFICATE=certificates.path("client.pem"), CLIENT_KEY=certificates.path("client.key"))
        tap.check(sent.results == ["ok"], f"{name}: a client's certificate and key", sent)
        sent = run(receiver.endpoint, CERTIFICATE=ca, TIMEOUT="700")
        tap.check(sent.results == ["failed"] and len(receiver.requests) == 1, f"{name}: without them it is refused", sent)
        receiver.stop()
    receiver = Http(tls=certificates.server(most=ssl.TLSVersion.TLSv1_1))
    sent = send(receiver.endpoint, CERTIFICATE=ca, TIMEOUT="700")
    tap.check(sent.results == ["failed"] and not receiver.requests, "http: TLS older than 1.2 is refused", sent)
    receiver.stop()
    receiver = Grpc(tls=certificates.server())
    sent = grpc(receiver.endpoint, CERTIFICATE=ca)
    tap.check(sent.results == ["failed"] and sent.attempts == [1] and "HTTP/2" in sent.errors, "grpc: a server without HTTP/2 is said so", sent)
    receiver.stop()


def grpc_requests():
    receiver = Grpc()
    sent = grpc(receiver.endpoint, "batches", 3, HEADERS="X-Tenant=Abc", TIMEOUT="7000")
    first = receiver.requests[0]
    tap.check(sent.results == ["ok"] * 3, "grpc: a batch is delivered", sent)
    tap.check({r.path for r in receiver.requests} == {PATH} and first.headers[":method"] == "POST", "grpc: path and method", first.headers)
    tap.check(first.headers["content-type"] == "application/grpc" and first.headers.get("te") == "trailers", "grpc: content-type and te", first.headers)
    timeout = re.match(r"^(\d{1,8})m$", first.headers.get("grpc-timeout", ""))
    tap.check(timeout and 5000 < int(timeout[1]) <= 7001, "grpc: grpc-timeout", first.headers)
    tap.check(re.match(r"^forkspan/\S+ OTel-OTLP-Exporter-C/\S+$", first.headers["user-agent"]), "grpc: user-agent", first.headers)
    tap.check(first.headers.get("x-tenant") == "Abc", "grpc: metadata in lower case", first.headers)
    tap.check(receiver.connections == 1, "grpc: the connection is kept between calls", receiver.connections)
    reference = plain(message_of(first))
    tap.check(set(reference) == {"span-0", "span-1", "span-2"} and first.raw[0] == 0, "grpc: the official package reads the message")
    receiver.stop()
    receiver = Grpc()
    sent = grpc(receiver.endpoint, COMPRESSION="gzip", HEADERS="blob-bin=hi%20%21")
    first = receiver.requests[0]
    tap.check(first.raw[0] == 1 and first.headers.get("grpc-encoding") == "gzip" and "content-encoding" not in first.headers
              and plain(message_of(first)) == reference, "grpc: gzip inside the frame", first.headers)
    tap.check(first.headers.get("blob-bin") == "aGkgIQ==", "grpc: -bin metadata in base64", first.headers)
    receiver.stop()
    receiver = Grpc()
    sent = grpc(f"http://localhost:{receiver.port}/", "batches", 4, "fork", 1)
    tap.check(sent.results == ["ok"] * 4 and receiver.connections == 2, "grpc: a child has a connection of its own", sent)
    receiver.stop()
    receiver = Grpc()
    sent = grpc(receiver.endpoint, "spans", 600, "size", 130000)
    tap.check(sent.results == ["failed"] and not receiver.requests, "grpc: more than 64 MiB is not sent, and counted", sent)
    sent = grpc(receiver.endpoint, "spans", 100, "size", 100000, TIMEOUT="20000")
    tap.check(sent.results == ["ok"] and len(spans_of(message_of(receiver.requests[0]))) == 100, "grpc: 10 MB through the flow control", sent)
    receiver.stop()


def retry_info(seconds):
    """A google.rpc.Status with a RetryInfo, without padding."""
    import base64

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data
    delay = field(1, b"\x08" + bytes([seconds]))
    status = b"\x08\x08" + field(3, field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, delay))
    return base64.b64encode(status).decode().rstrip("=")


def grpc_answers():
    head = [(":status", "200"), ("content-type", "application/grpc")]
    names = {1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
             8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL",
             14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED"}
    again = {1, 4, 10, 11, 14, 15}
    for code, name in names.items():
        calls = []

        def answer(_request, calls=calls, code=code):
            calls.append(1)
            trailers = [("grpc-status", str(code)), ("grpc-message", "why%21")]
            return (head, [], trailers) if len(calls) == 1 else Grpc.OK
        receiver = Grpc(answer)
        sent = grpc(receiver.endpoint, TIMEOUT="4000")
        if code in again:
            tap.check(sent.results == ["ok"] and sent.attempts == [2], f"grpc: {name} is tried again", sent)
        else:
            tap.check(sent.results == ["failed"] and sent.attempts == [1] and f"{name}: why!" in sent.errors, f"grpc: {name} is not tried again", sent)
        receiver.stop()

    def second_is_fine(first, *words, **env):
        calls = []

        def answer(_request):
            calls.append(time.monotonic())
            return first if len(calls) == 1 else Grpc.OK
        receiver = Grpc(answer)
        sent = grpc(receiver.endpoint, *words, TIMEOUT="6000", **env)
        receiver.stop()
        return sent, calls
    sent, _ = second_is_fine(Grpc.only(("grpc-status", "14")))
    tap.check(sent.results == ["ok"] and sent.attempts == [2], "grpc: a status without trailers is read, too", sent)
    sent, calls = second_is_fine((head, [], [("grpc-status", "8"), ("grpc-status-details-bin", retry_info(2))]))
    tap.check(sent.results == ["ok"] and calls[1] - calls[0] >= 2, "grpc: RESOURCE_EXHAUSTED with RetryInfo is tried again then", sent)
    sent, _ = second_is_fine(([(":status", "503")], [], None))
    tap.check(sent.results == ["ok"] and sent.attempts == [2], "grpc: HTTP 503 without a status is tried again", sent)
    for status in ("400", "401", "403", "404", "500"):
        sent, _ = second_is_fine(([(":status", status)], [], None))
        tap.check(sent.results == ["failed"] and sent.attempts == [1], f"grpc: HTTP {status} without a status is not tried again", sent)
    sent, _ = second_is_fine((head, [b""], [("x-other", "1")]))
    tap.check(sent.results == ["failed"] and sent.attempts == [1], "grpc: 200 without a status is no success", sent)
    sent, _ = second_is_fine(None)
    tap.check(sent.results == ["ok"] and sent.attempts == [2], "grpc: a connection cut without an answer is tried again", sent)
    receiver = Grpc(lambda _: (head, [partial(2, "x")], [("grpc-status", "0")]))
    sent = grpc(receiver.endpoint)
    tap.check(sent.batches and sent.batches[0][:3] == ("ok", 2, 1) and "rejected 2 of 3" in sent.errors, "grpc: rejected spans are counted, not sent again", sent)
    receiver.stop()
    receiver = Grpc(lambda _: (head, [b"x" * (5 << 20)], [("grpc-status", "0")]))
    sent = grpc(receiver.endpoint)
    tap.check(sent.results == ["failed"] and sent.attempts == [1], "grpc: an answer of 5 MiB is cut off, not tried again", sent)
    receiver.stop()
    silent = Grpc(lambda _: threading.Event().wait(60))
    sent = grpc(silent.endpoint, TIMEOUT="600")
    tap.check(sent.results == ["failed"] and 550 <= sent.ms[0] <= 1100, "grpc: a silent receiver is left after the time limit", sent)
    silent.stop()


def ways():
    """Sockets in the file system, proxies."""
    with tempfile.TemporaryDirectory(prefix="forkspan-ways-") as folder:
        for name, kind, run in (("http", Http, send), ("grpc", Grpc, grpc)):
            path = os.path.join(folder, name)
            receiver = kind(address=path)
            sent = run(f"unix://{path}", "batches", 2)
            other = run(f"unix:{os.path.relpath(path)}")
            tap.check(sent.results == ["ok", "ok"] and other.results == ["ok"] and receiver.connections == 2, f"{name}: a socket in the file system",
                      f"{sent}\n{other}")
            receiver.stop()
        receiver = Http(address="\0forkspan-test-%d" % os.getpid())
        sent = send("unix-abstract:forkspan-test-%d" % os.getpid())
        tap.check(sent.results == ["ok"], "http: an abstract socket", sent)
        receiver.stop()
    proxy, receiver = Http(), Http()
    sent = send(receiver.endpoint, http_proxy=f"http://localhost:{proxy.port}")
    tap.check(sent.results == ["ok"] and not proxy.requests, "http: the host's http_proxy is not used", sent)
    sent = send("http://collector.invalid:4318", FORKSPAN_PROXY=f"http://me:hiddenword@localhost:{proxy.port}")
    tap.check(sent.results == ["ok"] and [r.path for r in proxy.requests] == ["http://collector.invalid:4318/v1/traces"],
              "http: a proxy that was asked for is used", f"{sent}\n{[r.path for r in proxy.requests]}")
    proxy.stop()
    receiver.stop()


def files():
    """otlp/stdout, to a file and to a pipe."""
    with tempfile.TemporaryDirectory(prefix="forkspan-file-") as folder:
        path = os.path.join(folder, "spans.jsonl")
        env = {"OTEL_TRACES_EXPORTER": "otlp/stdout", "FORKSPAN_FILE": path}
        sent = send("http://unused", "batches", 3, "spans", 5, **env)
        lines = pathlib.Path(path).read_text().splitlines()
        tap.check(sent.results == ["ok"] * 3 and [len(plain_json(line)) for line in lines] == [5] * 3, "file: a line for each batch", sent)
        os.unlink(path)
        env.update(FORKSPAN_FILE_SIZE="1", FORKSPAN_FILE_COUNT="3")
        runs = [threading.Thread(target=send, args=("http://unused", "batches", 400, "spans", 20, "size", 100), kwargs=env) for _ in range(3)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        made = sorted(os.listdir(folder))
        tap.check(made == ["spans.jsonl", "spans.jsonl.1", "spans.jsonl.2"], "file: so many files are kept when it is rotated", made)
        sizes = [os.path.getsize(os.path.join(folder, name)) for name in made]
        tap.check(max(sizes) <= 1 << 20 and min(sizes[1:]) > 900 << 10, "file: rotated by its size", sizes)
        torn = 0
        for name in made:
            text = pathlib.Path(folder, name).read_text()
            for line in text.splitlines():
                try:
                    torn += len(plain_json(line)) != 20
                except (ValueError, KeyError):
                    torn += 1
        tap.check(not torn and text.endswith("\n"), "file: every line of three writers is whole, also around a rotation", torn)
        sent = send("http://unused", OTEL_TRACES_EXPORTER="otlp/stdout", FORKSPAN_FILE="/dev/full")
        tap.check(sent.batches and sent.batches[0][1] == 3 and "FORKSPAN_FILE" in sent.errors, "file: what can not be written is counted", sent)
        sent = send("http://unused", "spans", 60, "size", 200, OTEL_TRACES_EXPORTER="otlp/stdout")
        lines = [line for line in sent.text.splitlines() if line.startswith("{")]
        tap.check(sum(len(plain_json(line)) for line in lines) == 60 and all(len(line) < 4096 for line in lines) and len(lines) > 3,
                  "file: lines to a pipe are short enough to stay whole", f"{[len(line) for line in lines]}")


COLLECTOR = """
receivers:
  otlp/plain: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{p[0]}"}}, http: {{endpoint: "127.0.0.1:{p[1]}"}}}}}}
  otlp/tls:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{p[2]}", tls: {{cert_file: {d}/server.pem, key_file: {d}/server.key}}}}
      http: {{endpoint: "127.0.0.1:{p[3]}", tls: {{cert_file: {d}/server.pem, key_file: {d}/server.key}}}}
  otlp/mtls:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{p[4]}", tls: {{cert_file: {d}/server.pem, key_file: {d}/server.key, client_ca_file: {d}/ca.pem}}}}
      http: {{endpoint: "127.0.0.1:{p[5]}", tls: {{cert_file: {d}/server.pem, key_file: {d}/server.key, client_ca_file: {d}/ca.pem}}}}
exporters: {{file: {{path: "{path}", flush_interval: 100ms}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp/plain, otlp/tls, otlp/mtls], exporters: [file]}}}}
"""


def collector(certificates):
    """The real one, by every transport; what it wrote is compared span by span with what was sent."""
    reference = Http()
    send(reference.endpoint, "spans", 20)
    wanted = plain(reference.requests[0].body)
    reference.stop()
    with tempfile.TemporaryDirectory(prefix="forkspan-collector-") as folder:
        ports = [free_port() for _ in range(6)]
        config, path = os.path.join(folder, "c.yaml"), os.path.join(folder, "spans.json")
        pathlib.Path(config).write_text(COLLECTOR.format(p=ports, d=certificates.folder, path=path))
        process = subprocess.Popen([options.collector, "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_environment())
        try:
            deadline = time.monotonic() + 30
            while not all(listening(port) for port in ports):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the Collector does not listen")
                time.sleep(0.05)
            sent_by = 0
            for at, security in enumerate(("plain", "TLS", "mTLS")):
                for protocol in ("grpc", "http/protobuf", "http/json"):
                    for compression in ("none", "gzip"):
                        env = {"PROTOCOL": protocol, "COMPRESSION": compression}
                        if at:
                            env["CERTIFICATE"] = certificates.path("ca.pem")
                        if at == 2:
                            env.update(CLIENT_CERTIFICATE=certificates.path("client.pem"), CLIENT_KEY=certificates.path("client.key"))
                        port = ports[2 * at + (protocol != "grpc")]
                        sent = send(f"http{'s' if at else ''}://localhost:{port}", "spans", 20, "batches", 2, **env)
                        tap.check(sent.results == ["ok", "ok"], f"collector: {protocol}, compression {compression}, {security}", sent)
                        sent_by += 1
        finally:
            process.terminate()
            process.wait(30)
        lines = [plain_json(line) for line in open(path, encoding="utf-8")]
        first = [line for line in lines if "span-0" in line]
        tap.check(len(lines) == 2 * sent_by and len(first) == sent_by, "collector: every batch is in its file once", f"{len(lines)} of {2 * sent_by}")
        different = [line for line in first if line != wanted]
        tap.check(not different, "collector: what it wrote is what was sent, span by span and field by field", different[:1])


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def main():
    certificates = Certificates()
    http_requests()
    http_answers()
    times()
    secrets()
    tls(certificates)
    grpc_requests()
    grpc_answers()
    ways()
    files()
    if options.collector:
        collector(certificates)
    else:
        tap.skip("collector: every transport", "no Collector given")
    tap.end()


parser = argparse.ArgumentParser()
parser.add_argument("--send", required=True)
parser.add_argument("--exporter", required=True)
parser.add_argument("--collector")
options = parser.parse_args()
options.exporter = os.path.abspath(options.exporter)
main()
