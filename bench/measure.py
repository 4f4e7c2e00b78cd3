# SPDX-License-Identifier: Apache-2.0
"""measure.py --build DIRECTORY [--report FILE] [--tiny] [--rounds N] [--only REGEX] [--seed N]

Measures what forkspan costs and writes it down as Markdown. Says nothing about good or bad but for the marks it prints
beside; ends with 1 where a figure could not be had. --tiny shows that it works; its figures mean nothing.
"""
import argparse
import datetime
import os
import pathlib
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile

import export
import homes
import sdk
import servers

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARM_BURSTS = 20  # of bench/span.c
CALLS = ("read", "recv", "write", "send", "close")


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_")) and k != "LD_PRELOAD"}
    return dict(env, OTEL_SERVICE_NAME="bench", **more)


class Sink:
    def __init__(self, build):
        self.process = subprocess.Popen([f"{build}/bench/sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def spans(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def instructions(command, preload=None, toggle=None, **more):
    env = environment(**{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **more})
    if preload:
        env["LD_PRELOAD"] = preload
    grind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    if toggle:
        grind.append(f"--toggle-collect={toggle}")
    done = subprocess.run([*grind, *command], env=env, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(done.stderr[-1000:])
    return int(found[1])


def several(program, what, size, options, sink, **env):
    """Median over several processes: where its memory lies matters to a run, too."""
    runs = []
    for _ in range(1 if options.tiny else 7):
        out = subprocess.run([f"{options.build}/bench/{program}", what, str(size)],
                             env=environment(OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, **env), capture_output=True, text=True, check=True)
        runs.append({name: float(value) for name, value, _ in map(str.split, out.stdout.splitlines())})
    return {name: (statistics.median(r[name] for r in runs), min(r[name] for r in runs), max(r[name] for r in runs))
            for name in runs[0]}


def row(name, value, mark="", beside=""):
    return f"| {name} | {value} | {mark} | {beside} |"


def shown(figures, options):
    """Rows of (title, what several() found, name of it, unit, mark)."""
    rows = []
    for title, found, name, unit, mark in figures:
        mid, low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in found[name])
        rows.append(row(title, f"{mid} {unit}", mark, f"{low} to {high} in {1 if options.tiny else 7} processes"))
    return rows


def of_spans(options, sink):
    api, each, http = (several("span", what, options.bursts, options, sink) for what in ("api", "each", "http"))
    return shown((
            ("a span with 8 attributes by the API, start to queued", api, "start_to_queued_median", "ns", "200 ns"),
            ("the same, CPU of all threads a span exported at batch 512", api, "cpu_a_span_exported", "ns", "1000 ns"),
            ("each attribute set by a call of its own, start to queued", each, "start_to_queued_median", "ns", ""),
            ("a request as a span: bytes read and written, to queued", http, "start_to_queued_median", "ns", ""),
            ("the same, CPU of all threads a span exported at batch 512", http, "cpu_a_span_exported", "ns", "")), options) + counted(options)


def counted(options):
    rows = []
    for what, title in (("api", "a span with 8 attributes by the API"), ("http", "a request as a span")):
        bursts = WARM_BURSTS + 1
        n = instructions([f"{options.build}/bench/span", what, "1"], None, f"one_{what}", OTEL_TRACES_EXPORTER="otlp/stdout",
                         FORKSPAN_FILE="/dev/null")
        rows.append(row(f"{title}, on the thread that ends it", f"{n / bursts / 512:.0f} instructions"))
    return rows


def of_export(options, sink):
    rows, marks = [], {"none": "600 ns", "gzip": "2500 ns"}
    found = export.figures(options.build, sink.endpoint, 1 if options.tiny else 9, options.bursts // 2, not options.tiny)
    for (who, compression), values in found.items():
        rows.append(row(f"a span exported by {who}, OTLP/HTTP protobuf, compression {compression}: CPU of all threads at batch 512",
                        f"{statistics.median(values):.0f} ns", marks[compression] if who == "forkspan" else "",
                        f"{min(values):.0f} to {max(values):.0f} in {len(values)} processes in turn"))
    return rows


def of_arena(options, sink):
    claim = several("arena", "claim", options.claims, options, sink)
    tick = several("arena", "tick", options.claims, options, sink, FORKSPAN_WORKERS="254")
    memory = several("arena", "memory", 1, options, sink)
    return shown((
            ("a worker's slot claimed", claim, "slot_median", "us", "50 us"),
            ("a worker's first word: slot claimed, batch thread started", claim, "claim_median", "us", ""),
            ("a look of a consumer at 256 slots of living workers", tick, "tick_median", "us", "2 us"),
            ("memory of a worker that serves nothing, beside the exporter's", memory, "idle", "KiB", "64 KiB"),
            ("memory of one that has had 128 requests at once and filled its ring", memory, "busy", "KiB", "2048 KiB")), options)


def of_calls(options, sink):
    rows = []
    for mode, title in (([], "in a process that serves nothing"), (["serving"], "in a server")):
        for call in CALLS[:1] if options.tiny else CALLS:
            cost = []
            for preload in (None, options.preload):
                # two lengths: what is done once is in both
                few, many = (instructions([f"{options.build}/bench/calls", call, str(n), *mode], preload, "measured") for n in (20, 100))
                cost.append((many - few) / 80)
            rows.append(row(f"{call}() on an fd of no interest {title}", f"{cost[1] - cost[0]:.0f} instructions", "20",
                            f"{cost[0]:.0f} without"))
    return rows


def of_true(options, sink):
    without, under = instructions(["/bin/true"]), instructions(["/bin/true"], options.preload)
    return [row("`true` under the preload", f"{under / without:.3f} times its instructions", "1.25", f"{under} and {without}")]


def of_servers(options, sink):
    rows, paced = [], f"{options.build}/bench/load"
    for kind, name, pacer, mark in (
            ("gunicorn", "gunicorn, sync, 4 workers: CPU a request", None, ""),
            ("nginx", "nginx, a static file of 1 KiB, keep-alive, 2 workers, at {rate} requests a second: CPU a request", paced, "1.10"),
            ("nginx", "nginx, the same, asked again as soon as it has answered: CPU a request", None, "")):
        with tempfile.TemporaryDirectory(prefix="forkspan-bench-") as folder:
            os.chmod(folder, 0o755)
            found = servers.measure(kind, pacer, folder, options.preload, sink, options.rounds, 1, random.Random(options.seed))
        ratio, control = found["ratio"]["preload"], found["ratio"]["none2"]
        rows.append(row(name.format(rate=found["rate"]),
                        f"{ratio['median']:.3f} times (quartiles {ratio['low']:.3f} to {ratio['high']:.3f})", mark,
                        f"control {control['median']:.3f} +- {control['half_range']:.3f}; {found['cpu_us']['preload']:.1f} us and "
                        f"{found['cpu_us']['none']:.1f} us; {found['spans']} spans of {found['requests']} requests exported"))
    return rows


def of_homes(options, sink):
    with tempfile.TemporaryDirectory(prefix="forkspan-bench-") as folder:
        took, seen = homes.measure(folder, options.preload, sink, options.rounds, 1, random.Random(options.seed))
    rows = []
    for home in ("thread", "process"):
        more = [a - b for a, b in zip(took[home], took["none"])]
        mid = servers.middle(more)
        rows.append(row(f"gunicorn, sync, 4 workers, FORKSPAN_EXPORT={home}: CPU a span, exported, of all processes",
                        f"{mid['median']:.1f} us (quartiles {mid['low']:.1f} to {mid['high']:.1f})", "",
                        f"{statistics.median(took[home]):.1f} us and {statistics.median(took['none']):.1f} us a request, {len(more)} rounds"))
    for home in ("thread", "process"):
        of, base = seen[home], seen["none"]
        sender = f"; its own process {of['sender_kib']} KiB" if of["sender_kib"] else ""
        rows.append(row(f"the same: memory of a worker (PSS), its threads and file descriptors, FORKSPAN_EXPORT={home}",
                        f"{of['pss_kib'] - base['pss_kib']:+.0f} KiB, {of['threads'] - base['threads']:+.0f}, {of['fds'] - base['fds']:+.0f}", "",
                        f"without: {base['pss_kib']:.0f} KiB, {base['threads']:.0f}, {base['fds']:.0f}; the master's threads "
                        f"{of['master_threads'] - base['master_threads']:+d}{sender}"))
    return rows


def of_python(options, sink):
    """In two pieces of less than a minute, or --only one of them."""
    rows, rng = [], random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="forkspan-bench-") as folder:
        sdk.install(folder)
        rounds, bursts = (1, 4) if options.tiny else (7, 20)
        took, more = sdk.spans(folder, options.preload, sink.endpoint, rounds, bursts, rng, environment())
        marks = {"batch": ("", ""), "forkspan": ("6 us", "10 us"), "forkspan-python": ("", "")}
        names = {"batch": "its own BatchSpanProcessor, OTLP over HTTP", "forkspan": "ForkspanSpanProcessor, its C part",
                 "forkspan-python": "ForkspanSpanProcessor, Python alone"}
        for kind, title in names.items():
            for which, what in enumerate(("the calling thread's CPU", "CPU of the process in all, at batch 512")):
                values = [pair[which] for pair in more[kind]]
                base = statistics.median(pair[which] for pair in took["none"])
                rows.append(row(f"a span of Python's SDK with 8 attributes, {title}: {what}", f"{statistics.median(values):.1f} us more", marks[kind][which],
                                f"{min(values):.1f} to {max(values):.1f} in {len(values)} pairs; {base:.1f} us without a processor"))
    return rows


def of_python_tails(options, sink):
    with tempfile.TemporaryDirectory(prefix="forkspan-bench-") as folder:
        sdk.install(folder)
        found = sdk.tails(folder, folder, options.preload, sink.endpoint, *((1, 1) if options.tiny else (8, 2)), random.Random(options.seed))
    ratio, control = ([a / b for a, b in zip(found[v], found["batch"])] for v in ("forkspan", "batch2"))
    mid, ctl = servers.middle(ratio), servers.middle(control)
    return [row("gunicorn, sync, 4 workers, 4 spans a request by Python's SDK: p99 with ForkspanSpanProcessor and the request's own span",
                f"{mid['median']:.3f} times that with BatchSpanProcessor (quartiles {mid['low']:.3f} to {mid['high']:.3f})", "1.0",
                f"control {ctl['median']:.3f} +- {ctl['half_range']:.3f}; {statistics.median(found['forkspan']):.0f} us and "
                f"{statistics.median(found['batch']):.0f} us; {len(ratio)} rounds of 2 s")]


PARTS = {"spans": of_spans, "export": of_export, "arena": of_arena, "calls": of_calls, "true": of_true, "servers": of_servers, "homes": of_homes, "python": of_python, "python-tails": of_python_tails}


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
            f"{' '.join(platform.libc_ver())}, load {os.getloadavg()[0]:.1f} at the start")


def commit():
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--", ".", ":!docs/bench.md"], cwd=ROOT, capture_output=True, text=True).stdout
        return head + ("-changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--report")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.preload = f"{options.build}/shim/libforkspan.so"
    options.rounds = options.rounds or (2 if options.tiny else 30)
    options.bursts, options.claims = (5, 3) if options.tiny else (400, 100)
    lines = ["# What forkspan costs", "",
             f"`bench/run` at commit {commit()}, {datetime.date.today()}, on {machine()}. Seed {options.seed}; "
             f"{options.rounds} rounds of 1 s a server and variant, {options.bursts} bursts of 512 spans a process, "
             f"{options.claims} workers.", "",
             "| what | measured | mark | beside |", "|---|---|---|---|"]
    failed = 0
    sink = Sink(options.build)
    for name, part in PARTS.items():
        if not re.search(options.only, name):
            continue
        try:
            rows = part(options, sink)
        except (RuntimeError, OSError, subprocess.CalledProcessError, AttributeError, ValueError) as error:
            rows = [row(name, f"not measured: {error!r}".replace("\n", " ").replace("|", "/"))]
            failed = 1
        lines += rows
        print("\n".join(rows), flush=True)
    sink.stop()
    lines += ["", "A server's figure is the median, over the rounds, of its CPU time a request divided by that of the same server "
              "without the preload; the control is a second one without it, in the same rounds, with half the range of its "
              "ratios. All threads of all its processes count, exporting too; the client's do not. Where it is asked again as soon as it "
              "has answered, the client falls asleep the more often the longer an answer takes, and waking it is the server's CPU; at a "
              "fixed rate, half of what the server without the preload answers at most, it sleeps about as often with it as without, so "
              "the mark is set there. Instructions are those of "
              "callgrind, of the call with its way through libc but without the kernel's."]
    if options.report:
        pathlib.Path(options.report).write_text("<!-- SPDX-License-Identifier: Apache-2.0 -->\n" + "\n".join(lines) + "\n")
    sys.exit(failed)


main()
