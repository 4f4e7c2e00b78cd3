# SPDX-License-Identifier: Apache-2.0
"""The ledger: every request sent against every span the Collector wrote.

ledger.py --collector BINARY [--forkspan COMMAND] [--requests N] [--seed N] [--only REGEX] [--export process]
          [--table FILE] [--self-test]

Without --forkspan the servers run plain, and only the answers are checked. cells.py has the servers. --table writes
what was counted as a table.
"""
import argparse
import asyncio
import collections
import pathlib
import platform
import random
import re
import time

from cells import CELLS, Cell, missing, versions
from harness import Collector, Server, Tap, attributes, consumers, sent_again, until, workspace

CONCURRENCY = 32
# The clock may be a coarse one (a tick of 4 ms); the server may lose its CPU between its last byte and its clock.
EARLY_NS, LATE_NS = 10_000_000, 1_000_000_000
SERVICE = "ledger"


def cell_hangs(cell):
    """The numbers of the requests that are never answered."""
    return range(100, 100 + 100 * cell.hangs, 100)


class Request:
    """One line of the journal."""

    def __init__(self, number, cell, rng):
        self.method = rng.choice(["GET"] * 6 + ["POST"] * 4 + ["HEAD"])
        self.code = rng.choice([200] * 12 + [201, 204, 302, 304, 404, 500, 503])
        self.kind = rng.choice(cell.kinds)
        if number in cell_hangs(cell):
            self.method, self.kind = "GET", "hang"
        self.path = f"/{self.code}/{self.kind}/{cell.name}-{number}"
        self.query = f"q={number}&x=%20y" if rng.random() < 0.3 else ""
        self.body = rng.randbytes(rng.choice([0, 1, 10, 1000, 20000])) if self.method == "POST" else None
        self.chunked = self.method == "POST" and rng.random() < 0.5 and cell.chunked
        self.pieces = rng.choice([1, 1, 2])
        self.cut = rng.random()
        self.fresh = rng.random() < 0.3 or cell.fresh
        self.to_end = cell.fresh
        self.trace = self.parent = self.state = None
        self.sampled = True
        kind = rng.random()
        if kind < 0.25:
            self.trace, self.parent = rng.randbytes(16).hex(), rng.randbytes(8).hex()
            self.sampled = kind < 0.20
            self.state = rng.choice([None, "vendor=a1,other=b"])
        self.status = self.pid = self.start = self.sent = self.began = self.first = self.end = None
        self.error = None

    def head(self, host):
        lines = [f"{self.method} {self.path}{'?' + self.query if self.query else ''} HTTP/1.1", f"Host: {host}",
                 "User-Agent: ledger/1", "Accept: */*"]
        if self.trace:
            lines.append(f"traceparent: 00-{self.trace}-{self.parent}-{'01' if self.sampled else '00'}")
            if self.state:
                lines.append(f"tracestate: {self.state}")
        if self.body is not None:
            lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.body)}")
        if self.fresh:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def payload(self):
        if self.body is None:
            return b""
        if not self.chunked:
            return self.body
        half = len(self.body) // 2
        parts = [part for part in (self.body[:half], self.body[half:]) if part]
        return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

    def __str__(self):
        return (f"{self.method} {self.path}?{self.query} status={self.status} pid={self.pid} fresh={self.fresh} "
                f"pieces={self.pieces} body={None if self.body is None else len(self.body)} chunked={self.chunked} "
                f"trace={self.trace} parent={self.parent} sampled={self.sampled} start={self.start} end={self.end} "
                f"error={self.error}")


async def read_answer(reader, request):
    """Reads one answer to its end; True if the connection may be used again."""
    head = await reader.readuntil(b"\r\n\r\n")
    request.first = time.time_ns()
    lines = head.decode("latin-1").split("\r\n")
    request.status = int(lines[0].split()[1])
    headers = {}
    for line in lines[1:]:
        if line:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
    request.pid, request.began = int(headers.get("x-pid", 0)), int(headers.get("x-began", 0))
    close = headers.get("connection", "").lower() == "close"
    if request.method == "HEAD" or request.status in (204, 304):
        pass
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    elif "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    else:
        await reader.read()
        close = True
    if request.to_end:
        await reader.read()
    request.end = time.time_ns()
    return not close


async def connect(port, request):
    """A server that reloads may refuse for a moment: then nothing was asked of it."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)


async def worker(queue, port, journal, events, pace):
    reader = writer = None
    used = False
    while queue:
        if event := events.pop(len(journal), None):
            event()
        request = queue.popleft()
        journal.append(request)
        if pace:  # the load is to be of this size, nothing is waited for
            await asyncio.sleep(pace(len(journal)))
        reused, used = used, True
        try:
            if writer is None:
                reused = False
                reader, writer = await connect(port, request)
            head, payload = request.head(f"127.0.0.1:{port}"), request.payload()
            request.start = time.time_ns()
            if request.pieces == 2:
                cut = 1 + int(request.cut * (len(head) - 2))
                writer.write(head[:cut])
                await writer.drain()
                await asyncio.sleep(0.002)  # not a wait: it makes the kernel deliver two pieces
                request.sent = time.time_ns()
                writer.write(head[cut:] + payload)
            else:
                request.sent = request.start
                writer.write(head + payload)
            await writer.drain()
            again = await asyncio.wait_for(read_answer(reader, request), 60)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            # A server may close an idle connection just when it is used again; a span is then possible, not due.
            request.error = f"{'reused' if reused else 'fresh'} connection: {error!r}"
            again = False
        if not again or request.fresh:
            if writer:
                writer.close()
                try:
                    await writer.wait_closed()
                except OSError:
                    pass
            reader = writer = None
    if writer:
        writer.close()


def send_all(port, requests, events, rate=0):
    """Sends them all; `events` happen one after the other, each when its share of the requests has begun."""
    queue, journal, happening = collections.deque(requests), [], []

    async def happens(function, before):
        if before:
            await before
        await asyncio.get_running_loop().run_in_executor(None, function)

    def begin(function):
        return lambda: happening.append(asyncio.ensure_future(happens(function, happening[-1] if happening else None)))

    async def run():
        due = {len(requests) * (i + 1) // (len(events) + 1): begin(function) for i, function in enumerate(events)}
        began = time.monotonic()
        pace = rate and (lambda number: max(0, began + number / rate - time.monotonic()))
        await asyncio.gather(*(worker(queue, port, journal, due, pace) for _ in range(CONCURRENCY)))
        await asyncio.gather(*happening)

    asyncio.run(run())
    return journal


def wrong_with(request, entry, parent=None, pid=None):
    """What is wrong with the span of this request, as words. `parent`: the router's span, for a worker's."""
    resource, _, scope, span = entry
    have, wrong = attributes(span), []

    def expect(name, got, wanted):
        if got != wanted:
            wrong.append(f"{name}: {got!r}, not {wanted!r}")

    expect("name", span.get("name"), request.method)
    expect("kind", span.get("kind"), 2)
    expect("method", have.get("http.request.method"), request.method)
    expect("path", have.get("url.path"), request.path)
    expect("query", have.get("url.query", ""), request.query)
    expect("scheme", have.get("url.scheme"), "http")
    expect("version", have.get("network.protocol.version"), "1.1")
    expect("server.address", have.get("server.address"), "127.0.0.1")
    expect("user agent", have.get("user_agent.original"), "ledger/1")
    expect("status", have.get("http.response.status_code"), request.status)
    expect("span status", span.get("status", {}).get("code", 0), 2 if request.status >= 500 else 0)
    expect("error.type", have.get("error.type"), str(request.status) if request.status >= 500 else None)
    callers = [request.parent or ""]
    if parent and request.trace:
        # The router passes its own span on; not where the head came in two pieces: then its caller's.
        callers = [parent["spanId"]] + (callers if request.pieces == 2 else [])
    if span.get("parentSpanId", "") not in callers:
        wrong.append(f"parent: {span.get('parentSpanId')!r}, not {' or '.join(callers)!r}")
    if request.trace:
        expect("trace", span.get("traceId"), request.trace)
        expect("tracestate", span.get("traceState", ""), request.state or "")
    flags = span.get("flags", 0)
    if not flags & 1 or not flags & 0x100 or bool(flags & 0x200) != bool(request.trace) or flags >> 10:
        wrong.append(f"flags: {flags:#x}")
    if len(span.get("spanId", "")) != 16 or len(span.get("traceId", "")) != 32:
        wrong.append("ids: wrong length")
    if pid:
        expect("worker", resource.get("process.pid"), pid)
    expect("service", resource.get("service.name"), SERVICE)
    if not scope.get("name"):
        wrong.append("scope: no name")
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    if not request.start - EARLY_NS <= start <= request.first + EARLY_NS:
        wrong.append(f"start: {(start - request.start) / 1e6} ms after the client's")
    # The application's own call lies within its span.
    if request.began and not start - EARLY_NS <= request.began <= end + EARLY_NS:
        wrong.append(f"span: {(start - request.began) / 1e6} to {(end - request.began) / 1e6} ms around the application's call")
    if not request.sent - EARLY_NS <= end <= request.end + LATE_NS or end < start:
        wrong.append(f"end: {(end - request.end) / 1e6} ms after the client's, {(end - start) / 1e6} ms long")
    return wrong


KILLED = ["span status: 2, not 0", "error.type: 'SIGKILL', not None"]


def compare(tap, cell, journal, spans, log=""):
    """Books against books; returns what was counted. `log`: what forkspan said, at debug.

    gunicorn sends its TERM again and again to a worker that is about to leave, and uWSGI kills its router: a process that ends
    so while it sends a batch makes that batch come twice, said and counted. One that got as far as its exit does not."""
    name = cell.name
    again = sent_again(log)
    orderly = set(map(int, re.findall(r"process (\d+) at exit: ", log)))
    tap.check(not orderly & {sender for _, sender in again},
              f"{name}: no batch of a process that came to its exit is sent again ({len(again)} of others)", log)
    arrived, spans = spans, []
    first = {}
    for entry in arrived:
        span_id = entry[3]["spanId"]
        if first.get(span_id) != entry:
            first.setdefault(span_id, entry)
            spans.append(entry)
    twice, due_twice = len(arrived) - len(spans), sum(n for n, _ in again)
    tap.check(twice <= due_twice, f"{name}: what came twice ({twice}) is in a counted re-send ({due_twice})")
    by_path = collections.defaultdict(list)
    for entry in spans:
        by_path[attributes(entry[3]).get("url.path")].append(entry)
    failures = collections.defaultdict(list)
    counted = {"answered": 0, "spans": len(spans), "unanswered": 0, "unanswered spans": 0}
    due = 0
    each, cut_off = 2 if cell.router else 1, set()
    for request in journal:
        got = by_path.pop(request.path, [])
        if request.error:
            counted["unanswered"] += 1
            counted["unanswered spans"] += len(got)
            if len(got) > each:
                failures["once"].append(f"{len(got)} spans for {request}")
            if request.kind == "hang" and request.sampled:
                error = [attributes(span).get("error.type") for _, _, _, span in got]
                if error != ["SIGKILL"]:
                    failures["killed"].append(f"error.type {error} for {request}")
            continue
        counted["answered"] += 1
        if not request.sampled:
            if got:
                failures["unsampled"].append(f"{len(got)} spans for {request}")
            continue
        due += each
        if len(got) != each:
            pids = [entry[0].get("process.pid") for entry in got]
            failures["once"].append(f"{len(got)} spans of {pids} for {request}")
            continue
        if cell.router:
            got.sort(key=lambda entry: entry[0].get("process.pid") == request.pid)
            of_router = wrong_with(request, got[0])
            if of_router == KILLED and got[0][0].get("process.pid") not in cut_off:
                # uWSGI kills its router, perhaps between the last byte of an answer and the end of its span: once at most
                cut_off.add(got[0][0].get("process.pid"))
                of_router = []
            wrong = of_router + [f"worker's {word}" for word in wrong_with(request, got[1], got[0][3], request.pid)]
        else:
            wrong = wrong_with(request, got[0], pid=request.pid)
        if wrong:
            failures["right"].append(f"{'; '.join(wrong)} of {request}")
    counted["wrong"] = sum(len(failures[kind]) for kind in ("once", "right", "unsampled", "killed")) + len(by_path)
    ids = collections.Counter(span["spanId"] for _, _, _, span in spans)
    traces = collections.defaultdict(set)
    for _, _, _, span in spans:
        traces[span["traceId"]].add(attributes(span).get("url.path"))
    instances = collections.defaultdict(set)
    for resource, _, _, _ in spans:
        instances[resource.get("service.instance.id")].add(resource.get("process.pid"))

    def tell(kind):
        return f"{len(failures[kind])} of {due}\n" + "\n".join(failures[kind][:8])

    tap.check(not failures["once"], f"{name}: each answered request is exactly {'two spans' if cell.router else 'one span'}, "
              f"{due} in all, an unanswered one at most that", tell("once"))
    tap.check(not failures["right"], f"{name}: method, path, status, times, parent and worker are right for each", tell("right"))
    tap.check(not failures["unsampled"], f"{name}: a parent that is not sampled makes no span", tell("unsampled"))
    if cell.hangs:
        tap.check(not failures["killed"], f"{name}: the request that killed its worker is one span that says so", tell("killed"))
    tap.check(not by_path, f"{name}: no span without a request", "\n".join(map(str, list(by_path.items())[:10])))
    tap.check(all(n == 1 for n in ids.values()), f"{name}: all {len(ids)} span ids differ",
              [i for i, n in ids.items() if n > 1][:20])
    tap.check(all(len(paths) == 1 for paths in traces.values()), f"{name}: all trace ids differ",
              [i for i, paths in traces.items() if len(paths) > 1][:20])
    tap.check(None not in instances and all(len(pids) == 1 for pids in instances.values()),
              f"{name}: each of {len(instances)} instance ids is of one process", dict(list(instances.items())[:20]))
    return counted


def run(tap, cell, options, again=True):
    """Returns what was counted, or None. uWSGI now and then does not do as it is told (a reload that it forgets, or that
    crashes a thread which has just begun), with forkspan and without: it gets a second chance."""
    name = cell.name
    once_more = False
    rng = random.Random(f"{options.seed}-{name}")
    requests = [Request(n, cell, rng) for n in range(options.requests)]
    counted = None
    with workspace() as folder:
        collector = Collector(options.collector, folder) if options.forkspan else None
        server, said = None, pathlib.Path(folder, "said")
        # At debug each process tells its counters when it leaves.
        Server.more_env = {"OTEL_LOG_LEVEL": "debug", "FORKSPAN_LOG": str(said), "FORKSPAN_EXPORT": options.export}
        try:
            server = cell.start(folder, options.forkspan, collector and collector.endpoint)
            began = time.monotonic()
            journal = send_all(server.port, requests, [lambda f=f: f(server) for _, f in cell.events], cell.rate)
            print(f"# {name}: {len(journal)} requests in {time.monotonic() - began:.1f} s", flush=True)
            bad = [request for request in journal if not request.error and request.status != request.code]
            tap.check(not bad, f"{name}: every answer has its status", "\n".join(map(str, bad[:20])))
            # Only a connection used again may meet a worker that just left, unless an event cuts connections.
            lost = [request for request in journal if request.error and not request.error.startswith("reused")]
            if not cell.abrupt:
                tap.check(not lost, f"{name}: every request on a fresh connection is answered",
                          "\n".join(map(str, lost[:20])) + "\n" + server.tail())
            else:
                tap.check(len(lost) < len(journal) / 5, f"{name}: most requests are answered",
                          f"{len(lost)} are not\n" + "\n".join(map(str, lost[:20])) + "\n" + server.tail())
            print(f"# {name}: {sum(bool(r.error) for r in journal)} requests were not answered", flush=True)
            if collector and cell.settled:
                due = sum(request.sampled and not request.error for request in journal)
                until(lambda: len(collector.spans()) >= due, "the spans have arrived", 30)
            took = server.stop()
            if getattr(server, "forgot", False):
                tap.skip(f"{name}: stops gracefully with status 0",
                         "its workers have ended and uWSGI has forgotten its stop, as it does without forkspan")
            else:
                tap.check(took is not None and server.process.returncode == 0, f"{name}: stops gracefully with status 0",
                          f"{took} s, {server.process.returncode}\n{server.tail()}")
            if collector:
                until(lambda: not consumers(str(said)), "what sends for the server goes when that has gone")
                collector.stop()
                lines = (said.read_text(errors="replace") if said.exists() else "").splitlines()
                lines += [line for line in server.text().splitlines() if line.startswith("forkspan")]
                counted = compare(tap, cell, journal, collector.spans(), "\n".join(lines))
                told = [line for line in lines if " at exit: " in line]
                complaints = [line for line in lines if line not in told and not sent_again(line)]
                tap.check(not complaints, f"{name}: forkspan has nothing to complain of", "\n".join(complaints[:20]))
                # Who is killed, or leaves by _exit, tells nothing.
                counted["unsure"] = sum(int(n) for line in told for n in re.findall(r"unsure (\d+)", line)) if told else "-"
                tap.check(counted["unsure"] in (0, "-"), f"{name}: no connection is unsure, say {len(told)} processes", "\n".join(told[:20]))
        except Exception as error:
            once_more = again and isinstance(error, TimeoutError) and "uwsgi" in cell.server
            if once_more:
                print("\n".join(f"# {line}" for line in f"{name}: once more, after {error!r}\n{server.tail() if server else ''}"
                                .splitlines()), flush=True)
            else:
                tap.check(False, f"{name}: runs", f"{error!r}\n{server.tail() if server else ''}")
        finally:
            if server and server.process.poll() is None:
                server.kill()
            if collector:
                collector.stop()
    return run(tap, cell, options, again=False) if once_more else counted


def table(rows, options):
    """The run as a page of documentation."""
    known = versions()
    lines = [
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "# Servers",
        "",
        f"Written by `tests/servers/ledger.py --table`, {time.strftime('%Y-%m-%d', time.gmtime())}: {options.requests} requests of "
        f"different paths a line, {CONCURRENCY} at a time, seed {options.seed}, into a real OpenTelemetry Collector; "
        f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}, "
        f"Linux {'.'.join(platform.release().split('.')[:2])}, {platform.machine()}.",
        "",
        "Every answered request is in the Collector's file exactly once (twice, as a chain, where a router or nginx is in",
        "front), with its own method, path, status, times, parent and process; one that was not answered, because the server",
        "cut its connection, at most once. Span ids all differ. Requests whose caller did not sample them are answered and",
        "make no span: so there are fewer spans than answers. \"unsure\" are connections whose tracing was given up.",
        "",
        "| server | mode | while the load ran | stopped by | answered | spans | not answered | of these spans | wrong | unsure |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell, counted in rows:
        events = ", ".join(text for text, _ in cell.events) or "-"
        lines.append(f"| {known[cell.server]} | {cell.mode} | {events} | {cell.stop} | {counted['answered']} | {counted['spans']} | "
                     f"{counted['unanswered']} | {counted['unanswered spans']} | {counted['wrong']} | {counted['unsure']} |")
    kept = pathlib.Path(__file__).parent / "servers.md"
    pathlib.Path(options.table).write_text("\n".join(lines) + "\n\n" + kept.read_text().split("\n", 1)[1])


class Quiet(Tap):
    def check(self, good, name, why=""):
        self.number += 1
        self.failed += not good
        return good


def self_test(tap):
    """The control: a ledger that finds nothing wrong in wrong books is no ledger."""
    rng = random.Random(1)
    cell = Cell("self", "", "", lambda: None)

    def books():
        journal, spans = [], []
        for number in range(50):
            request = Request(number, cell, rng)
            request.status, request.pid, request.error = request.code, 7 + number % 3, None
            request.start, request.sent, request.end = 10**18, 10**18, 10**18 + 21 * 10**6
            request.began, request.first = 10**18 + 15 * 10**6, 10**18 + 20 * 10**6
            journal.append(request)
            if not request.sampled:
                continue
            values = {"http.request.method": request.method, "url.path": request.path, "url.scheme": "http",
                      "network.protocol.version": "1.1", "server.address": "127.0.0.1", "user_agent.original": "ledger/1"}
            if request.query:
                values["url.query"] = request.query
            span = {"name": request.method, "kind": 2, "spanId": rng.randbytes(8).hex(), "flags": 0x101,
                    "traceId": request.trace or rng.randbytes(16).hex(), "startTimeUnixNano": str(request.start),
                    "endTimeUnixNano": str(request.end)}
            if request.trace:
                span.update(flags=0x301, parentSpanId=request.parent, traceState=request.state or "")
            if request.status >= 500:
                span["status"] = {"code": 2}
                values["error.type"] = str(request.status)
            span["attributes"] = [{"key": k, "value": {"stringValue": v}} for k, v in values.items()]
            span["attributes"].append({"key": "http.response.status_code", "value": {"intValue": str(request.status)}})
            resource = {"process.pid": request.pid, "service.name": SERVICE, "service.instance.id": f"i{request.pid}"}
            spans.append((resource, "", {"name": "forkspan"}, span))
        return journal, spans

    def spoil(what, change, log="", good=False):
        journal, spans = books()
        change(spans)
        quiet = Quiet()
        compare(quiet, cell, journal, spans, log)
        tap.check((quiet.failed > 0) == (not good), f"the ledger's control: {what} wrong",
                  f"{quiet.failed} checks failed")

    again = "forkspan: 1 spans of process 7 are sent again: process 8 began to and had no answer\n"
    spoil("nothing", lambda spans: None, good=True)
    spoil("a span twice in a counted re-send, nothing", lambda spans: spans.append(spans[5]), again, good=True)
    spoil("two spans twice in a re-send of one", lambda spans: spans.extend(spans[5:7]), again)
    spoil("a re-send for a process that came to its exit", lambda spans: spans.append(spans[5]),
          again + "forkspan: process 8 at exit: started 1, unsure 0")
    spoil("a span lost", lambda spans: spans.pop(5))
    spoil("a span twice", lambda spans: spans.append(spans[5]))
    spoil("a parent", lambda spans: next(s for *_, s in spans if "parentSpanId" in s).update(parentSpanId="00" * 7 + "01"))
    spoil("a status", lambda spans: spans[9][3]["attributes"][-1]["value"].update(intValue="299"))
    spoil("a method", lambda spans: spans[9][3].update(name="BREW"))
    spoil("a path", lambda spans: spans[9][3]["attributes"][1]["value"].update(stringValue="/elsewhere"))
    spoil("a span id that is another's", lambda spans: spans[9][3].update(spanId=spans[8][3]["spanId"]))
    spoil("a span without a request", lambda spans: spans.append((spans[0][0], "", spans[0][2], dict(
        spans[0][3], spanId="12" * 8, traceId="34" * 16, attributes=[{"key": "url.path", "value": {"stringValue": "/none"}}]))))
    spoil("a span that ends before its call", lambda spans: spans[9][3].update(endTimeUnixNano=str(10**18 + 10**6)))
    spoil("a span that starts after its call", lambda spans: spans[9][3].update(
        startTimeUnixNano=str(10**18 + 26 * 10**6), endTimeUnixNano=str(10**18 + 27 * 10**6)))
    spoil("a duration", lambda spans: spans[9][3].update(endTimeUnixNano=str(10**18 + 10**10)))
    spoil("a worker", lambda spans: spans[9][0].update({"process.pid": 1}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector")
    parser.add_argument("--forkspan")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", default="")
    parser.add_argument("--export", choices=("thread", "process"), default="thread", help="FORKSPAN_EXPORT")
    parser.add_argument("--table")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    tap = Tap()
    if options.self_test:
        self_test(tap)
        tap.end()
    print(f"# seed {options.seed}", flush=True)
    rows = []
    for cell in CELLS:
        if not re.search(options.only, cell.name):
            continue
        if why := missing(cell):
            tap.skip(f"{cell.name}: ledger", why)
        elif counted := run(tap, cell, options):
            rows.append((cell, counted))
    if options.table:
        table(rows, options)
    tap.end()


main()
