# SPDX-License-Identifier: Apache-2.0
"""Repairs an application that builds its BatchSpanProcessor and OTLPSpanExporter at import, in a master that forks.

Nothing is imported before the application imports it. Then:
- the batches of an OTLPSpanExporter (gRPC or HTTP) that sends to forkspan's own collector are handed to forkspan:
  no connection that two processes share, no thread of gRPC that a fork loses, and a batch outlives its worker;
- one that sends elsewhere gets its own session or channel in each child (gRPC: see the warning below);
- a BatchSpanProcessor from before the SDK looked after forks itself (1.7) gets locks, queue and thread of its own in
  each child.
One line on standard error says what was repaired.
"""
import os
import sys
import weakref

EXPORTERS = {
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter": "gRPC",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": "HTTP",
}
PROCESSORS = "opentelemetry.sdk.trace.export"
PART = 64 * 1024  # what forkspan_submit takes at once
WAIT_MS = 1000  # for room in the ring, in the SDK's own export thread

_said = set()


def say(line):
    if line not in _said:
        _said.add(line)
        sys.stderr.write(f"forkspan: {line}\n")


# ---------------------------------------------------------------------------------------- libforkspan.so


class _Library:
    """forkspan_submit and forkspan_flush of the preloaded library (include/forkspan.h, struct forkspan_api)."""

    def __init__(self):
        import ctypes

        function = ctypes.CFUNCTYPE
        before = ("start", "rename", "set", "event", "link", "status", "end", "context", "current", "attach", "detach",
                  "inject", "extract")

        class Api(ctypes.Structure):
            _fields_ = [("size", ctypes.c_size_t), ("enabled", function(ctypes.c_bool)),
                        *((name, ctypes.c_void_p) for name in before),
                        ("submit", function(ctypes.c_bool, ctypes.c_char_p, ctypes.c_size_t)),
                        ("flush", function(ctypes.c_bool, ctypes.c_uint32))]

        self.api = None
        try:
            api = Api.in_dll(ctypes.CDLL(None), "forkspan_api_1")
            if api.size >= ctypes.sizeof(Api):
                self.api = api
        except ValueError:
            pass

    def enabled(self):
        return self.api is not None and self.api.enabled()

    def submit(self, data):
        return self.api.submit(data, len(data)) or (self.api.flush(WAIT_MS) and self.api.submit(data, len(data)))


_library = None


def library():
    global _library
    if _library is None:
        _library = _Library()
    return _library


# ---------------------------------------------------------------------------------------- whose collector


def _place(url, port):
    """(host, port) of an endpoint with or without a scheme; every name of this machine's loopback is one."""
    from urllib.parse import urlsplit

    parts = urlsplit(url if "://" in url else "//" + url)
    host = (parts.hostname or "").lower()
    return ("localhost" if host in ("127.0.0.1", "::1") else host), parts.port or {"https": 443, "http": 80}.get(parts.scheme, port)


def _forkspan_places():
    """Where forkspan sends; None where it does not send by OTLP."""
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp"):
        return None
    named = [os.environ.get(name, "").strip() for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")]
    return {_place(url, 4317) for url in named if url} or {("localhost", 4317), ("localhost", 4318)}


def _ours(exporter):
    """It sends to forkspan's collector: the same host, and the same port or the other one of OTLP's two."""
    places = _places()
    endpoint = getattr(exporter, "_endpoint", None)
    if places is None or not endpoint:
        return False
    host, port = _place(endpoint, 4317)
    return any(host == h and (port == p or {port, p} == {4317, 4318}) for h, p in places)


_known_places = []


def _places():
    if not _known_places:
        _known_places.append(_forkspan_places())
    return _known_places[0]


# ---------------------------------------------------------------------------------------- exporters

_exporters = weakref.WeakKeyDictionary()  # an exporter that sends by itself: how it was built
_abandoned = []  # the parent's sessions and channels: never closed in a child


def _submit(module, exporter, spans):
    translate = getattr(exporter, "_translate_data", None) or module.encode_spans
    data = translate(spans).SerializeToString()
    if len(data) <= PART or len(spans) == 1:
        return library().submit(data)
    half = len(spans) // 2
    return _submit(module, exporter, spans[:half]) & _submit(module, exporter, spans[half:])


def _repair_exporter(module, transport):
    exporter = module.OTLPSpanExporter
    init, export = exporter.__init__, exporter.export
    connect = getattr(exporter, "_initialize_channel_and_stub", None)

    def new_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if _ours(self) and library().enabled():
            say(f"the batches of OTLPSpanExporter ({transport}) are sent by forkspan")
        else:
            _exporters[self] = (args, kwargs)
            if transport == "gRPC":
                say("an OTLPSpanExporter over gRPC sends to another collector than forkspan: a channel made before a fork can "
                    "not be repaired; build it in the worker, or use OTLP over HTTP")

    def new_export(self, spans):
        if not (_ours(self) and library().enabled()):
            if connect and self._client is None:
                connect(self)
            return export(self, spans)
        if getattr(self, "_shutdown", False):
            return module.SpanExportResult.FAILURE
        good = _submit(module, self, spans)
        return module.SpanExportResult.SUCCESS if good else module.SpanExportResult.FAILURE

    def new_connect(self):
        # No channel where none is used: gRPC's threads would be a worker's inheritance.
        if not (_ours(self) and library().enabled()):
            connect(self)

    exporter.__init__, exporter.export = new_init, new_export
    if connect:
        exporter._initialize_channel_and_stub = new_connect


def _after_in_child():
    for exporter, (args, kwargs) in list(_exporters.items()):
        if kwargs.get("session") is None and not hasattr(exporter, "_channel"):
            _abandoned.append(dict(exporter.__dict__))
            exporter.__init__(*args, **kwargs)
            say("an OTLPSpanExporter (HTTP) has a session of its own in each worker")
    for processor in list(_processors):
        _restart(processor)


# ---------------------------------------------------------------------------------------- processors before 1.7

_processors = weakref.WeakSet()


def _restart(processor):
    import threading

    _abandoned.append((processor.condition, processor.worker_thread))
    processor.condition = threading.Condition(threading.Lock())
    processor._flush_request = None
    processor.queue.clear()
    processor.worker_thread = threading.Thread(target=processor.worker, daemon=True)
    processor.worker_thread.start()


def _repair_processor(module):
    processor = module.BatchSpanProcessor
    if hasattr(processor, "_at_fork_reinit") or not hasattr(processor, "worker"):
        return
    init = processor.__init__

    def new_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if hasattr(self, "condition") and hasattr(self, "worker_thread") and hasattr(self, "queue"):
            _processors.add(self)
            say("a BatchSpanProcessor of an SDK that does not look after forks has a thread of its own in each worker")

    processor.__init__ = new_init


# ---------------------------------------------------------------------------------------- imports


class _Finder:
    """Sees the modules above when they are imported, and touches them after they have run."""

    def find_spec(self, name, path=None, target=None):
        if name not in EXPORTERS and name != PROCESSORS:
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for found in specs if found), None)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                try:
                    if name == PROCESSORS:
                        _repair_processor(module)
                    else:
                        _repair_exporter(module, EXPORTERS[name])
                except Exception as error:
                    say(f"{name} is of a kind that is not known here, and not repaired: {error!r}")

            spec.loader.exec_module = exec_module
        return spec


def install():
    sys.meta_path.insert(0, _Finder())
    os.register_at_fork(after_in_child=_after_in_child)
