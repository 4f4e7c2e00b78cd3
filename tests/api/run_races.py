# SPDX-License-Identifier: Apache-2.0
"""The C API where two things happen at once, as TAP: run_races.py PROGRAM PRELOAD. FORKSPAN_API_ROUNDS: how often.
PRELOAD "inside": PROGRAM is the library, too, built with ThreadSanitizer.
"""
import collections
import os
import sys

from harness import Tap, by_name, run, values

watched = sys.argv[2] == "inside"

rounds = int(os.environ.get("FORKSPAN_API_ROUNDS", "300"))
tap = Tap()
check = tap.check


def names(spans):
    return collections.Counter(span["name"] for span in spans)


def ids_differ(spans, what):
    check(len({s["spanId"] for s in spans}) == len(spans), f"{what}: all span ids differ")


def first():
    for _ in range(max(5, rounds // 30)):
        code, out, spans = run("first")
        if code or out != "without 0\n" or names(spans) != {f"first-{i}": 1 for i in range(8)}:
            check(False, "the first span of 8 threads at once", f"{code} {out} {names(spans)}")
            return
    check(True, "the first span of 8 threads at once: each has one")


def threads():
    code, _, spans = run("threads", rounds)
    count = names(spans)
    s = by_name(spans)
    wanted = {f"{kind}-{n}" for kind in ("outer", "inner") for n in range(8 * rounds)}
    check(code == 0 and all(count[n] == 1 for n in wanted), f"8 threads: each of {len(wanted)} spans arrives once",
          [n for n in wanted if count[n] != 1][:5])
    wrong = [n for n in range(8 * rounds) if s[f"inner-{n}"].get("parentSpanId") != s[f"outer-{n}"]["spanId"]
             or "parentSpanId" in s[f"outer-{n}"]]
    check(not wrong, "8 threads: every parent is right", wrong[:5])
    shared = [x for x in spans if x["name"] == "shared"]
    check(len(shared) > 0 and all(len(x.get("attributes", [])) <= 1 for x in shared), "a span that 8 threads write to stays whole")
    ids_differ(spans, "8 threads")


def handler():
    code, out, spans = run("handler", rounds * 10)
    words = out.split()
    ticks, mains = int(words[1]), int(words[3])
    count = names(spans)
    wanted = {f"main-{n}" for n in range(mains)} | {f"part-{n}" for n in range(mains)} | {f"tock-{n}" for n in range(ticks)}
    check(code == 0 and ticks >= rounds * 10 and count == {n: 1 for n in wanted},
          f"a handler that interrupted every function {ticks} times: each of {len(wanted)} spans arrives once",
          f"{code} {len(wanted - set(count))} missing, {[n for n in count if count[n] > 1 or n not in wanted][:5]}")
    s = by_name(spans)
    parents = {f"main-{n}" for n in range(mains)} | {f"part-{n}" for n in range(mains)}
    ids = {s[n]["spanId"]: n for n in parents if n in s}
    wrong = [n for n in range(mains) if s[f"part-{n}"].get("parentSpanId", s[f"main-{n}"]["spanId"]) != s[f"main-{n}"]["spanId"]]
    check(not wrong, "what it interrupted has the right parents, or none where the handler had ended it", wrong[:5])
    wrong = [x["name"] for x in spans if x["name"].startswith("tock") and x.get("parentSpanId") and x["parentSpanId"] not in ids]
    check(not wrong and any(x.get("parentSpanId") for x in spans if x["name"].startswith("tock")), "so have the handler's own", wrong[:5])
    odd = [x["name"] for x in spans if x["name"].startswith("tock") and (x["status"] != {"code": 1} or values(x)["s"] != "v" or "parentSpanId" in x
           and int(values(x)["n"]) % 2)]
    check(not odd, "the handler's spans are whole", odd[:5])
    ids_differ(spans, "handler")


def forks():
    children = min(rounds, 60)
    # ThreadSanitizer follows libc's fork of one thread only
    for how in ("fork",) if watched else ("fork", "_Fork", "clone", "raw"):
        for beside in ((),) if watched else ((), ("threads",)):
            what = f"{how}{' beside threads' if beside else ''}"
            code, out, spans = run("forks", children, how, *beside)
            count = names(spans)
            counts = [int(line.split()[1]) for line in out.splitlines()]
            wanted = ({"before"} | {f"{kind}-{i}" for kind in ("child", "after") for i in range(children)}
                      | {f"busy-{t * 100000000 + i}" for t, n in enumerate(counts) for i in range(n)})
            check(code == 0 and count == {n: 1 for n in wanted}, f"{what}: each of {len(wanted)} spans arrives once",
                  f"{code} {sorted(wanted - set(count))[:5]} missing, {[n for n in count if count[n] > 1 or n not in wanted][:5]}")
            s = by_name(spans)
            wrong = [i for i in range(children) if s[f"child-{i}"].get("parentSpanId") != s["before"]["spanId"]
                     or "parentSpanId" in s[f"after-{i}"]]
            check(not wrong and "spoilt" not in values(s["before"]), f"{what}: parents are right, the parent's span is its own", wrong[:5])
            pids = {s[f"child-{i}"]["resource"]["process.pid"] for i in range(children)}
            check(len(pids) == children and s["before"]["resource"]["process.pid"] not in pids, f"{what}: each process has its own resource", len(pids))
            ids_differ(spans, what)


def over():
    code, out, spans = run("over")
    s, count = by_name(spans), names(spans)
    check(code == 0 and out == "known 0 at once 1024\n", "a span that has ended is known for it; 1,024 are under way at once", f"{code} {out}")
    check(count == {n: 1 for n in ("one", "two", "outer", "elsewhere", "reused")}, "an end twice, and calls after it, do nothing", count)
    check("attributes" not in s["two"] and "events" not in s["two"], "nor to the span in its place", s["two"])
    check("parentSpanId" not in s["elsewhere"] and "parentSpanId" not in s["reused"], "ended by another thread, it is nobody's parent", spans)


def control():
    print("# the control's race follows")
    check(run("control")[0] == "data race", "a race is found where there is one")


tap.end((control, first, threads, handler, forks, over) if watched else (first, threads, handler, forks, over))
