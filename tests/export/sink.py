# SPDX-License-Identifier: Apache-2.0
"""An OTLP/HTTP receiver that keeps the bytes, and their reading by the official protobuf classes.

This shares no code with forkspan and none with the Collector. Needs opentelemetry-proto for decode().
"""
import gzip
import http.server
import re
import socketserver
import threading


class Sink:
    def __init__(self, port=0):
        sink = self
        self.requests = []  # (headers, body before decompression, body)
        self.wrong = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path != "/v1/traces":
                    sink.wrong.append(f"path {self.path}")
                if self.headers.get("Content-Type") != "application/x-protobuf":
                    sink.wrong.append(f"content-type {self.headers.get('Content-Type')}")
                encoding = self.headers.get("Content-Encoding")
                if encoding not in (None, "gzip"):
                    sink.wrong.append(f"content-encoding {encoding}")
                try:
                    body = gzip.decompress(raw) if encoding == "gzip" else raw
                    sink.requests.append((dict(self.headers), raw, body))
                except (OSError, EOFError) as error:
                    sink.wrong.append(f"gzip: {error}")
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def decode(self):
        """(ResourceSpans, ScopeSpans, Span) of each span; what cannot be read goes to `wrong`."""
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        found = []
        for _, _, body in self.requests:
            try:
                message = ExportTraceServiceRequest.FromString(body)
            except DecodeError as error:
                self.wrong.append(f"{error}: {body[:200]!r}")
                continue
            if unknown(message):
                self.wrong.append(f"fields the protocol does not know: {unknown(message)}")
            for resource_spans in message.resource_spans:
                for scope_spans in resource_spans.scope_spans:
                    found.extend((resource_spans, scope_spans, span) for span in scope_spans.spans)
        return found


def unknown(message):
    """Unknown fields of a message tree: a hand-written encoder with a wrong field number makes some."""
    from google.protobuf.unknown_fields import UnknownFieldSet
    found = [f"{message.DESCRIPTOR.name}.{field.field_number}" for field in UnknownFieldSet(message)]
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            for part in value if descriptor.is_repeated else [value]:
                found.extend(unknown(part))
    return found


def plain(value):
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def values(holder):
    return {entry.key: plain(entry.value) for entry in holder.attributes}


REQUIRED = {
    "service.name": re.compile(r"^decode$"),
    "service.instance.id": re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
    "telemetry.sdk.name": re.compile(r"^forkspan$"),
    "telemetry.sdk.language": re.compile(r"^(c|cpp)$"),
    "telemetry.sdk.version": re.compile(r"."),
    "process.pid": re.compile(r"^[1-9]\d*$"),
    "process.creation.time": re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"),
    "process.executable.name": re.compile(r"."),
    "process.executable.path": re.compile(r"^/"),
    "host.name": re.compile(r"."),
    "host.arch": re.compile(r"^(amd64|arm64|arm32|x86)$"),
    "os.type": re.compile(r"^linux$"),
}
SCHEMA = re.compile(r"^https://opentelemetry\.io/schemas/1\.\d+\.\d+$")


def wrong_with(resource_spans, scope_spans, span):
    """What breaks a rule of the protocol or of the semantic conventions, as words."""
    wrong = []
    resource = values(resource_spans.resource)
    for key, shape in REQUIRED.items():
        if key not in resource:
            wrong.append(f"resource: no {key}")
        elif not shape.search(str(resource[key])):
            wrong.append(f"resource: {key} is {resource[key]!r}")
    if not SCHEMA.match(resource_spans.schema_url):
        wrong.append(f"schema url of the resource: {resource_spans.schema_url!r}")
    if not scope_spans.scope.name or not scope_spans.scope.version:
        wrong.append("scope: no name or version")
    if scope_spans.schema_url and not SCHEMA.match(scope_spans.schema_url):
        wrong.append(f"schema url of the scope: {scope_spans.schema_url!r}")
    if len(span.trace_id) != 16 or not any(span.trace_id):
        wrong.append(f"trace id {span.trace_id.hex()}")
    if len(span.span_id) != 8 or not any(span.span_id):
        wrong.append(f"span id {span.span_id.hex()}")
    if len(span.parent_span_id) not in (0, 8):
        wrong.append(f"parent id {span.parent_span_id.hex()}")
    if span.kind != 2:
        wrong.append(f"kind {span.kind}")
    if not span.flags & 0x100 or span.flags >> 10:
        wrong.append(f"flags {span.flags:#x}")
    if bool(span.flags & 0x200) != bool(span.parent_span_id):
        wrong.append(f"flags {span.flags:#x} with parent {span.parent_span_id.hex()!r}")
    if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano:
        wrong.append("times")
    have = values(span)
    if len(have) != len(span.attributes):
        wrong.append("an attribute twice")
    for key, kind in {"http.request.method": str, "url.path": str, "url.scheme": str}.items():
        if not isinstance(have.get(key), kind):
            wrong.append(f"{key} is {have.get(key)!r}")
    for key, value in have.items():
        if key.endswith((".port", "status_code")) and not isinstance(value, int):
            wrong.append(f"{key} is {value!r}, not an integer")
        if value is None or value == "" and key != "url.query":
            wrong.append(f"{key} is empty")
    method = have.get("http.request.method")
    if span.name != ("HTTP" if method == "_OTHER" else method):
        wrong.append(f"name {span.name!r} for method {method!r}")
    if "http.route" in have:
        wrong.append("http.route is not ours to set")
    if span.status.code == 1:
        wrong.append("status Ok is not ours to set")
    if (span.status.code == 2) != ("error.type" in have):
        wrong.append(f"status {span.status.code} with error.type {have.get('error.type')!r}")
    return wrong
