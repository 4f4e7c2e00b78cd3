# SPDX-License-Identifier: Apache-2.0
"""Repairs an application that builds its BatchSpanProcessor and OTLPSpanExporter at import, in a master that forks.

Nothing is imported before the application imports it. Then:
- the batches of an OTLPSpanExporter (gRPC or HTTP) that sends to forkspan's own collector are handed to forkspan:
  no connection that two processes share, no thread of gRPC that a fork loses, and a batch outlives its worker;
- one that sends elsewhere gets its own session or channel in each child (gRPC: see the warning below);
- a BatchSpanProcessor from before the SDK looked after forks itself (1.7) gets locks, queue and thread of its own in
  each child;
- the application's spans become children of forkspan's span of the request also where its client sent no traceparent.
One line on standard error says what was repaired.
"""
import os
import sys
import weakref

PART = 64 * 1024  # what forkspan_submit takes at once
WAIT_MS = 1000  # for room in the ring, in the SDK's own export thread

_said = set()


def say(line):
    if line not in _said:
        _said.add(line)
        sys.stderr.write(f"forkspan: {line}\n")


# ---------------------------------------------------------------------------------------- libforkspan.so


def library():
    """Loaded when the SDK is: ctypes is nothing that every Python process should pay for."""
    from . import _library

    return _library


def hand_over(data):
    return library().submit(data) or (library().flush(WAIT_MS) and library().submit(data))


# ---------------------------------------------------------------------------------------- whose collector


def _place(url, port):
    """(host, port) of an endpoint with or without a scheme; every name of this machine's loopback is one."""
    from urllib.parse import urlsplit

    parts = urlsplit(url if "://" in url else "//" + url)
    host = (parts.hostname or "").lower()
    return ("localhost" if host in ("127.0.0.1", "::1") else host), parts.port or {"https": 443, "http": 80}.get(parts.scheme, port)


def _forkspan_places():
    """Where forkspan sends; None where it does not send by OTLP."""
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp", "forkspan"):
        return None
    named = [os.environ.get(name, "").strip() for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")]
    return {_place(url, 4317) for url in named if url} or {("localhost", 4317), ("localhost", 4318)}


def _ours(exporter):
    """It sends to forkspan's collector: the same host, and the same port or the other one of OTLP's two."""
    places = _places()
    endpoint = getattr(exporter, "_endpoint", None) or _endpoints.get(exporter)
    if places is None or not endpoint:
        return False
    host, port = _place(endpoint, 4317)
    return any(host == h and (port == p or {port, p} == {4317, 4318}) for h, p in places)


def _asked_for(init, exporter, args, kwargs):
    """The endpoint as an exporter finds it that does not keep it (before 1.5)."""
    import inspect

    given = inspect.signature(init).bind(exporter, *args, **kwargs).arguments.get("endpoint")
    return given or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4317"


_endpoints = weakref.WeakKeyDictionary()
_known_places = []


def _places():
    if not _known_places:
        _known_places.append(_forkspan_places())
    return _known_places[0]


# ---------------------------------------------------------------------------------------- exporters

_exporters = weakref.WeakKeyDictionary()  # an exporter over HTTP that sends by itself: how it was built
_abandoned = []  # the parent's sessions and channels: never closed in a child


def _submit(module, exporter, spans):
    translate = getattr(exporter, "_translate_data", None) or module.encode_spans
    data = translate(spans).SerializeToString()
    if len(data) <= PART or len(spans) == 1:
        return hand_over(data)
    half = len(spans) // 2
    return _submit(module, exporter, spans[:half]) & _submit(module, exporter, spans[half:])


def _repair_exporter(module, transport):
    exporter = module.OTLPSpanExporter
    init, export = exporter.__init__, exporter.export
    connect = getattr(exporter, "_initialize_channel_and_stub", None)

    def new_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if not hasattr(self, "_endpoint"):
            _endpoints[self] = _asked_for(init, self, args, kwargs)
        if _ours(self) and library().enabled():
            library().prepare()
            say(f"the batches of OTLPSpanExporter ({transport}) are sent by forkspan")
        elif transport == "gRPC":
            say("an OTLPSpanExporter over gRPC sends to another collector than forkspan: a channel made before a fork can "
                "not be repaired; build it in the worker, or use OTLP over HTTP")
        else:
            _exporters[self] = (args, kwargs)

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


_looking = False


def _look_after_forks():
    global _looking
    if not _looking:
        import threading  # noqa: F401  its own hook, which declares every other thread dead, is to run before ours

        _looking = True
        os.register_at_fork(after_in_child=_after_in_child)


def _after_in_child():
    for exporter, (args, kwargs) in list(_exporters.items()):
        if kwargs.get("session") is None:
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


# ---------------------------------------------------------------------------------------- parents


def _repair_propagate(module):
    """What instrumentation extracts from a request without a traceparent is forkspan's span of that request."""
    if os.environ.get("FORKSPAN_PROPAGATE", "true").strip().lower() == "false" or not library().enabled():
        return
    extract = module.extract

    def new_extract(*args, **kwargs):
        from ._propagator import with_request

        return with_request(extract(*args, **kwargs))

    module.extract = new_extract


# ---------------------------------------------------------------------------------------- opentelemetry-instrument


def _repair_instrument(module):
    """It puts a sitecustomize in front of ours that goes on to no other; ours goes on to it."""
    execl = module.execl
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def new_execl(*args):
        others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != here]
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *others])
        execl(*args)

    module.execl = new_execl


# ---------------------------------------------------------------------------------------- imports

REPAIRS = {
    "opentelemetry.sdk.trace.export": _repair_processor,
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter": lambda module: _repair_exporter(module, "gRPC"),
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": lambda module: _repair_exporter(module, "HTTP"),
    "opentelemetry.propagate": _repair_propagate,
    "opentelemetry.instrumentation.auto_instrumentation": _repair_instrument,
}


class _Finder:
    """Sees these modules when they are imported, and touches them after they have run."""

    def find_spec(self, name, path=None, target=None):
        if name not in REPAIRS:
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for found in specs if found), None)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                _look_after_forks()
                try:
                    REPAIRS[name](module)
                except Exception as error:
                    say(f"{name} is of a kind that is not known here, and not repaired: {error!r}")

            spec.loader.exec_module = exec_module
        return spec


def install():
    sys.meta_path.insert(0, _Finder())
