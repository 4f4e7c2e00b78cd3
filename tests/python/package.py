# SPDX-License-Identifier: Apache-2.0
"""The forkspan Python package with the real SDK: package.py --forkspan COMMAND --preload LIBRARY [--spans N] [--requests N] [--controls N]

Built as a wheel and installed into a folder of its own, as a user has it.
"""
import argparse
import collections
import difflib
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "servers"), str(HERE.parent / "export")]

import package_wheel  # noqa: E402
from harness import Gunicorn, Tap, clean_environment, fetch, until, workspace  # noqa: E402
from sink import Sink, values  # noqa: E402

BY_ENVIRONMENT = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry import trace
_OTelSDKConfigurator().configure()
for i in range(1000):
    with trace.get_tracer("env").start_as_current_span(f"s{i}", attributes={"text": "x" * 300}):
        pass
print(type(trace.get_tracer_provider()._active_span_processor._span_processors[0].span_exporter).__name__)
"""
BY_PROCESSOR = """
import os, sys
from forkspan import ForkspanSpanProcessor, ForkspanSpanExporter, preloaded
from opentelemetry.sdk.trace import TracerProvider
ForkspanSpanExporter()
provider = TracerProvider()
provider.add_span_processor(ForkspanSpanProcessor())
with provider.get_tracer("one").start_as_current_span("a span"):
    pass
print(preloaded(), provider.force_flush(20000))
sys.stdout.flush()
os._exit(0)
"""
BY_POOL = """
import multiprocessing
from forkspan import ForkspanSpanProcessor
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
provider.add_span_processor(ForkspanSpanProcessor())
tracer = provider.get_tracer("pool")
def work(n):
    with tracer.start_as_current_span(f"s{n}"):
        pass
    return n
if __name__ == "__main__":
    pool = multiprocessing.get_context("fork").Pool(4)
    print(sum(pool.map(work, range(200), 1)))
    pool.terminate()
    pool.join()
"""


def oracle(spans, seed, encode):
    """Differences between our encoding of random spans and the official exporter's."""
    from forkspan._encode import Encoder
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace.status import Status, StatusCode

    logging.disable()  # each limit is told
    r = random.Random(seed)
    memory = InMemorySpanExporter()
    tracers = []
    for n in range(3):
        provider = TracerProvider(resource=Resource({"service.name": f"s{n}", "n": n}, "https://schema" if n else None), shutdown_on_exit=False,
                                  span_limits=SpanLimits(max_span_attributes=6, max_events=3, max_links=2, max_event_attributes=2, max_link_attributes=2))
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracers += [provider.get_tracer("scope", "1.0", "https://scope.schema", {"a": 1}), provider.get_tracer("bare")]

    def value():
        return r.choice([0, 1, -1, 2**63 - 1, -2**63, 127, 128, 0.0, -0.5, 1e300, True, False, "", "caf\u00e9 \U0001f600", "x" * r.randrange(300),
                         ["a", "", "b"], [1, 2, -3], [True, False], [0.5], [], b"\x00\xff", ("t", "u")])

    def some():
        return {f"k{r.randrange(12)}": value() for _ in range(r.randrange(9))}

    state = trace.TraceState([("a", "1"), ("b", "x y")])
    for _ in range(spans):
        remote = trace.SpanContext(r.getrandbits(128) | 1, r.getrandbits(64) | 1, r.random() < 0.5, trace.TraceFlags(1), r.choice([None, state]))
        parent = r.choice([None, trace.set_span_in_context(trace.NonRecordingSpan(remote))])
        links = [trace.Link(remote, some()) for _ in range(r.randrange(4))]
        s = r.choice(tracers).start_span(r.choice(["", "name", "\u20ac" * 90]), parent, r.choice(list(trace.SpanKind)), some(), links, r.randrange(1, 2**62))
        for _ in range(r.randrange(6)):
            s.add_event(r.choice(["", "event"]), some(), r.randrange(1, 2**62))
        if r.random() < 0.5:
            s.set_status(Status(r.choice(list(StatusCode)), None) if r.random() < 0.5 else Status(StatusCode.ERROR, "broken \u00e9"))
        s.end(2**62 + r.randrange(10**9))
    wrong = []
    encoder = Encoder(encode)

    def comparable(s):
        """The official exporter leaves out W3C flags and links' trace states, and writes a status that says nothing."""
        copy = type(s)()
        copy.CopyFrom(s)
        for holder in (copy, *copy.links):
            holder.flags &= ~0xFF
        for x in copy.links:
            x.ClearField("trace_state")
        if not copy.status.ByteSize():
            copy.ClearField("status")
        return copy.SerializeToString(deterministic=True)

    def flat(message):
        return sorted((rs.resource.SerializeToString(deterministic=True), rs.schema_url, ss.scope.SerializeToString(deterministic=True), ss.schema_url,
                       comparable(s)) for rs in message.resource_spans for ss in rs.scope_spans for s in ss.spans)

    done = memory.get_finished_spans()
    wanted = ExportTraceServiceRequest.FromString(encode_spans(done).SerializeToString())
    together = [ExportTraceServiceRequest.FromString(part) for part in encoder.requests(done)]
    sizes = [len(part) for part in encoder.requests(done)]
    if sorted(x for part in together for x in flat(part)) != flat(wanted):
        wrong.append("together")
    if max(sizes) > 65536:
        wrong.append(f"a request of {max(sizes)} bytes")
    for s in done:
        sent = ExportTraceServiceRequest.FromString(encoder.request(s)).resource_spans[0].scope_spans[0].spans[0]
        if sent.flags & 0xFF != s.context.trace_flags or [x.flags & 0xFF for x in sent.links] != [x.context.trace_flags for x in s.links]:
            wrong.append(f"flags {sent.flags:x}")
        if [x.trace_state for x in sent.links] != [x.context.trace_state.to_header() for x in s.links]:
            wrong.append("a link's trace state")
        if flat(ExportTraceServiceRequest.FromString(encoder.request(s))) != flat(encode_spans([s])):
            have, want = str(ExportTraceServiceRequest.FromString(encoder.request(s))), str(encode_spans([s]))
            wrong.append("\n".join(difflib.unified_diff(want.splitlines(), have.splitlines(), lineterm="", n=2)))
    return len(done), wrong


def odd(_encode, _native):
    """What is wrong, or nothing."""
    from opentelemetry.sdk.trace import TracerProvider

    s = TracerProvider(shutdown_on_exit=False).get_tracer("odd").start_span("\ud800 lone")
    s.end()
    for value in ("\udfff", 2**70, -2**63 - 1, None, {"a": {"b": [1, None, "x"]}}, bytearray(b"x"), object, float("nan"), ["a", None], (), "\0"):
        s._attributes = {"k": value, 5: "a key that is no string"}
        if _native.span(s) != _encode.span(s):
            return repr(value)
    for broken in (None, 5, object(), type("S", (), {"_name": 5})()):
        try:
            return f"{broken} is a span: {_native.span(broken)}"
        except (AttributeError, TypeError):
            pass
    s._name = 5
    try:
        return f"a number is a name: {_native.span(s)}"
    except TypeError:
        pass
    s._name, s._attributes = "good again", {}
    before = resident()
    for _ in range(30000):
        _native.span(s)
    return "" if resident() - before < 4096 else f"{resident() - before} KiB more"


def resident():
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def killed(options, site, forkspan):
    """Requests to a server whose workers are killed after each 50: (paths answered, times that each of their spans
    arrived, workers killed, what was wrong)"""
    sink = Sink()
    under = {"FORKSPAN_LIBRARY": os.path.abspath(options.preload), "OTEL_BSP_SCHEDULE_DELAY": "60000"}  # nothing leaves before it must
    alone = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}
    with workspace() as folder:
        gunicorn = Gunicorn(folder, ["--workers", "2", "--preload", "--pythonpath", str(HERE)], forkspan, sink.endpoint, "package",
                            {"PYTHONPATH": site, **(under if forkspan else alone)}, "package_app:application")
        try:
            paths, dead = [], 0
            for n in range(options.requests):
                status, pid, _ = fetch(gunicorn.port, f"/{n}")
                if status == 200:
                    paths.append(f"/{n}")
                if n % 50 == 49:
                    os.kill(int(pid), signal.SIGKILL)
                    until(lambda: not os.path.exists(f"/proc/{int(pid)}"), "the worker is gone")
                    dead += 1
            stopped = gunicorn.stop() is not None
        finally:
            gunicorn.kill()
    sink.stop()
    count = collections.Counter((s.name, values(s).get("path")) for _, ss, s in sink.decode() if ss.scope.name == "package_app")
    return paths, count, dead, sink.wrong[:3] if stopped else "it had to be killed"


def server(tap, options, site):
    """Spans that a worker ended before it was killed are all there; without forkspan they are not."""
    paths, count, dead, wrong = killed(options, site, options.forkspan)
    tap.check(not wrong, "gunicorn with the SDK set up in its master stops", wrong)
    tap.check(len(paths) == options.requests and count == {(name, path): 1 for path in paths for name in ("handle", "inside")},
              f"{dead} workers are killed: each of their {2 * len(paths)} SDK spans arrives once", f"{len(count)} {count.most_common(3)}")
    lost = []
    for _ in range(options.controls):
        paths, count, dead, _ = killed(options, site, None)
        lost.append(2 * len(paths) - len(count))
    tap.check(all(lost), f"the control: without forkspan {dead} kills lose spans in each of {len(lost)} runs: {lost} of {2 * options.requests}", lost)


def python(site, preload, code, **env):
    env = clean_environment(PYTHONPATH=site, **env)
    if preload:
        env["LD_PRELOAD"] = os.path.abspath(preload)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--forkspan", required=True)
    parser.add_argument("--preload", required=True)
    parser.add_argument("--spans", type=int, default=400)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--controls", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    tap = Tap()
    with tempfile.TemporaryDirectory() as site:
        built = package_wheel.install(site)
        tap.check(built.returncode == 0, "the wheel builds and installs", built.stderr[-2000:])
        sys.path.insert(0, site)
        print(f"# seed {options.seed}")
        from forkspan import _encode, _native
        for where, encode in (("in Python", _encode.span), ("in C", _native.span)):
            n, wrong = oracle(options.spans, options.seed, encode)
            tap.check(n == options.spans and not wrong, f"{where}: {n} random SDK spans are encoded as the official exporter does",
                      f"{len(wrong)}\n" + "\n".join(wrong[:3]))
        tap.check(odd(_encode, _native) == "", "odd values: C does as Python, and what is no span is an error", odd(_encode, _native))
        names = os.listdir(os.path.join(site, "forkspan"))
        tap.check("_native.abi3.so" in names, "the C part is for every Python", names)
        server(tap, options, site)
        for preload in (options.preload, None):
            where = "with" if preload else "without"
            sink = Sink()
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}
            done = python(site, preload, BY_ENVIRONMENT, OTEL_TRACES_EXPORTER="forkspan", **env)
            names = collections.Counter(s.name for _, _, s in sink.decode())
            tap.check(done.returncode == 0 and done.stdout == "ForkspanSpanExporter\n" and names == {f"s{i}": 1 for i in range(1000)},
                      f"{where} the preload: OTEL_TRACES_EXPORTER=forkspan needs no code", f"{done} {len(names)}")
            before = len(sink.decode())
            done = python(site, preload, BY_PROCESSOR, **env)
            tap.check(done.returncode == 0 and done.stdout == f"{bool(preload)} True\n" and len(sink.decode()) == before + 1,
                      f"{where} the preload: force_flush sends what was ended", f"{done}")
            tap.check(done.stderr.count("forkspan is not preloaded") == (0 if preload else 1), f"{where} the preload: {'no warning' if preload else 'one warning'}", done.stderr)
            before = len(sink.decode())
            done = python(site, preload, BY_POOL, **env)
            names = collections.Counter(s.name for _, _, s in sink.decode()[before:])
            whole = names == {f"s{i}": 1 for i in range(200)}
            tap.check(done.stdout == "19900\n" and whole == bool(preload),
                      f"{where} the preload: of 200 spans of a multiprocessing pool that is terminated {len(names)} arrive", f"{done} {len(names)}")
            sink.stop()
            tap.check(not sink.wrong, f"{where} the preload: what is sent is right", sink.wrong[:3])
    tap.end()


main()
