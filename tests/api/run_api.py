# SPDX-License-Identifier: Apache-2.0
"""The C API as a program sees it, as TAP: run_api.py PROGRAM PRELOAD. What is sent is read from the JSON lines."""
import collections
import os
import struct
import subprocess
import sys
import tempfile

from harness import Tap, by_name, run, values

program = sys.argv[1]
rounds = int(os.environ.get("FORKSPAN_API_ROUNDS", "300"))
tap = Tap()
check = tap.check


def fields():
    code, out, spans = run("fields")
    s = by_name(spans)
    check(code == 0 and len(spans) == len(s) == 7, "every span arrives once", f"{code} {sorted(x['name'] for x in spans)}")
    root, child, grand = s["root"], s["child"], s["grandchild"]
    check(values(root) == {"text": "caf\u00e9 \ufffd", "int": "-7", "double": 0.5, "bool": False, "empty": ""},
          "attributes have their types, a key is there once, bad bytes are U+FFFD", values(root))
    events = root["events"]
    check([e["name"] for e in events] == ["happened", "now"] and events[0]["timeUnixNano"] == "1700000000000000001"
          and values(events[0]) == {"twice": "2", "at": "here"}, "events have name, time and attributes", events)
    check(int(root["startTimeUnixNano"]) <= int(events[1]["timeUnixNano"]) <= int(root["endTimeUnixNano"]),
          "an event of now is within its span", events)
    check("parentSpanId" not in root and child["parentSpanId"] == root["spanId"] and grand["parentSpanId"] == child["spanId"]
          and s["second, renamed"]["parentSpanId"] == root["spanId"] and "parentSpanId" not in s["alone"],
          "parents are those attached", spans)
    check([root["kind"], child["kind"], grand["kind"], s["second, renamed"]["kind"]] == [2, 3, 4, 1], "kinds; a strange one is INTERNAL")
    check(child["status"] == {"code": 1} and grand["status"] == {"code": 2, "message": "it broke"} and not root.get("status", {}).get("code"),
          "OK is final, an error has its description", [child.get("status"), grand.get("status")])
    link = s["second, renamed"]["links"]
    check(len(link) == 1 and link[0]["traceId"] == root["traceId"] and link[0]["spanId"] == root["spanId"]
          and values(link[0]) == {"twice": "1"} and link[0]["flags"] == 0x103, "a link has ids, flags and attributes", link)
    then = s["then"]
    check((then["startTimeUnixNano"], then["endTimeUnixNano"]) == ("1700000000000000000", "1700000001000000000"), "explicit times", then)
    continued = s["continued"]
    check(continued["traceId"] == "0af7651916cd43dd8448eb211c80319c" and continued["parentSpanId"] == "b7ad6b7169203331"
          and continued["traceState"] == "a=1,b=2" and continued["flags"] == 0x301, "a remote parent is continued", continued)
    check(out == f"traceparent 00-{continued['traceId']}-{continued['spanId']}-01 tracestate a=1,b=2\n", "and passed on", out)
    check({x["scope"] for x in spans} == {"forkspan.api"} and {x["resource"]["service.name"] for x in spans} == {"api"}, "scope and resource")


def limits():
    code, _, spans = run("fields", OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="3", OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT="4",
                         OTEL_SPAN_EVENT_COUNT_LIMIT="1", OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT="1", OTEL_SPAN_LINK_COUNT_LIMIT="0")
    root, second = by_name(spans)["root"], by_name(spans)["second, renamed"]
    check(values(root) == {"text": "caf\u00e9", "int": "-7", "double": 0.5} and root["droppedAttributesCount"] == 2,
          "what is over a limit of attributes is left out and counted", root)
    check(len(root["events"]) == 1 and root["droppedEventsCount"] == 1 and len(root["events"][0]["attributes"]) == 1
          and root["events"][0]["droppedAttributesCount"] == 1, "so are events and their attributes", root)
    check("links" not in second and second["droppedLinksCount"] == 1, "and links", second)


def threads():
    code, _, spans = run("threads", rounds)
    s, count = by_name(spans), collections.Counter(x["name"] for x in spans)
    wanted = {f"{kind}-{t}-{i}" for kind in ("outer", "inner") for t in range(8) for i in range(rounds)}
    check(code == 0 and set(count) == wanted and max(count.values()) == 1, f"8 threads: each of {len(wanted)} spans arrives once",
          f"{len(wanted - set(count))} missing, {[n for n in count if count[n] > 1][:5]}")
    wrong = [n for n in wanted & set(s) if n.startswith("inner") and s[n].get("parentSpanId") != s.get(n.replace("inner", "outer"), {}).get("spanId")]
    check(not wrong, "8 threads: every inner span is a child of its own thread's outer one", wrong[:5])
    check(len({x["spanId"] for x in spans}) == len(spans), "8 threads: all span ids differ")


def handler():
    code, out, spans = run("handler", rounds)
    words = out.split()
    ticks, mains = (int(words[1]), int(words[3])) if len(words) == 4 else (0, 0)
    count = collections.Counter(x["name"] for x in spans)
    check(code == 0 and ticks >= rounds and sum(n.startswith("tick") for n in count) == min(ticks, 10000), f"a handler's {ticks} spans arrive", out)
    check(sum(n.startswith("main") for n in count) == mains and max(count.values()) == 1, f"and the {mains} of what it interrupts, each once",
          f"{len(count)} {count.most_common(3)}")


def forks():
    children = min(rounds, 100)
    code, _, spans = run("forks", children)
    s, count = by_name(spans), collections.Counter(x["name"] for x in spans)
    check(code == 0 and set(count) == {"before"} | {f"child-{i}" for i in range(children)} and max(count.values()) == 1,
          "around forks: each span once; the parent's is ended by the parent", f"{code} {count.most_common(3)} {len(count)}")
    check(all(s[f"child-{i}"]["parentSpanId"] == s["before"]["spanId"] for i in range(children) if f"child-{i}" in s),
          "around forks: the parent's span is the children's parent")
    pids = {x["resource"]["process.pid"] for x in spans}
    check(len(pids) == children + 1, "around forks: each process has its own pid", len(pids))


def server():
    code, _, spans = run("server")
    s = by_name([x for x in spans if x["scope"] == "forkspan.api"])
    path = {values(x).get("url.path"): x for x in spans if x["scope"] == "forkspan.http"}
    check(code == 0 and set(path) == {"/one", "/two"}, "requests are spans", f"{code} {list(path)}")
    check(all("parentSpanId" not in s[n] for n in ("idle", "in both", "after")), "no request, or two: no parent", s)
    check(s["in one"]["parentSpanId"] == path["/one"]["spanId"] and s["in two"]["parentSpanId"] == path["/two"]["spanId"]
          and s["in one"]["traceId"] == path["/one"]["traceId"], "one request: its span is the parent", s)
    check("in unsampled" not in s, "a request that is not sampled has no sampled children", s.get("in unsampled"))


def delimited(number, content):
    length = len(content)
    head = bytes([number << 3 | 2])
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + content


IDS = delimited(1, bytes(range(1, 17))) + delimited(2, bytes(range(1, 9)))
TIMES = b"\x39" + struct.pack("<Q", 1700000000000000000) + b"\x41" + struct.pack("<Q", 1700000001000000000)


def request_of(span):
    resource = delimited(1, delimited(1, b"service.name") + delimited(2, delimited(1, b"elsewhere")))
    return delimited(1, delimited(1, resource) + delimited(2, delimited(1, delimited(1, b"their.scope")) + delimited(2, span)))


def value_in_values(depth):
    return delimited(5, delimited(1, value_in_values(depth - 1))) if depth else delimited(1, b"deep")


def submits():
    """What a receiver would refuse, with all else that is in the batch."""
    good = IDS + delimited(5, b"good") + TIMES
    attribute = delimited(9, delimited(1, b"k") + delimited(2, value_in_values(5)))
    several = request_of(good) + request_of(good + attribute)
    bad = {
        "a name that is not UTF-8": request_of(IDS + delimited(5, b"\xff") + TIMES),
        "a trace id of 15 bytes": request_of(delimited(1, bytes(15)) + delimited(2, bytes(8)) + TIMES),
        "no ids": request_of(delimited(5, b"x") + TIMES),
        "a name that is a number": request_of(IDS + b"\x28\x01"),
        "a start that is a string": request_of(IDS + delimited(7, b"12345678")),
        "an attribute of bad bytes": request_of(good + delimited(9, delimited(1, b"k") + delimited(2, delimited(1, b"\xc3")))),
        "an attribute that is cut": request_of(good + delimited(9, b"\x0a\x05k")),
        "a group": request_of(good + b"\x4b\x4c"),
        "an event that is none": request_of(good + delimited(11, b"\x09\x01")),
        "a link without its length": request_of(good + delimited(13, delimited(1, bytes(3)))),
        "values in values in values": request_of(good + delimited(9, delimited(1, b"k") + delimited(2, value_in_values(60)))),
        "a field that a request has not": request_of(good) + delimited(2, b""),
        "no span": delimited(1, b""),
        "over 64 KiB": request_of(good + delimited(9, delimited(1, b"k") + delimited(2, delimited(1, b"x" * 65536)))),
    }
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for content in [several, *bad.values(), request_of(good)]:
            files.append(os.path.join(folder, str(len(files))))
            with open(files[-1], "wb") as f:
                f.write(content)
        code, out, spans = run("submits", *files)
        taken = [what for what, digit in zip(bad, out[1:]) if digit == "1"]
        check(code == 0 and out == "1" + "0" * len(bad) + "1" and len(spans) == 3, f"{len(bad)} requests that a receiver would refuse are refused here",
              f"{code} {out} {taken} {len(spans)}")
        with open(files[0], "wb") as f:
            f.write(request_of(good + delimited(9, delimited(1, b"k") + delimited(2, delimited(1, b"x" * 60000)))))
        # a port that nobody listens on
        code, out, _ = run("full", files[0], OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_LOG_LEVEL="none",
                           FORKSPAN_EXIT_FLUSH="100")
        words = out.split()
        check(code == 0 and 0 < int(words[1]) < 100 and int(words[1]) + int(words[3]) == 3000 and words[5] == "0",
              "a full ring refuses, and a flush without a receiver ends in its time and says no", f"{code} {out}")


def many():
    code, _, spans = run("many")
    mine = collections.defaultdict(list)
    path = {values(x).get("url.path"): x["spanId"] for x in spans if x["scope"] == "forkspan.http"}
    for x in spans:
        if x["scope"] == "forkspan.api":
            mine[x["name"]].append(x.get("parentSpanId"))
    check(code == 0 and len(path) == 42, "many requests at once are spans", f"{code} {len(path)}")
    check(mine["in many"] == mine["in the answering thread"] == mine["in none"] == [None, None], "of 20 open requests none is current, nor where others' are answered", dict(mine))
    check([mine[f"in the last of {n}"] for n in (0, 1)] == [[path["/0/0"]], [path["/1/0"]]]
          and [mine[f"again in {n}"] for n in (0, 1)] == [[path["/0/again"]], [path["/1/again"]]], "the one that is left is, and the next one", dict(mine))


def submit():
    request = request_of(IDS + delimited(5, b"submitted") + TIMES)
    with tempfile.NamedTemporaryFile() as f:
        f.write(request)
        f.flush()
        code, out, spans = run("submit", f.name)
    check(out == "good 1 cut 0 nothing 0 other 0\n" and code == 0, "a request is taken, what is none is not", out)
    check(len(spans) == 1 and spans[0]["name"] == "submitted" and spans[0]["scope"] == "their.scope"
          and spans[0]["resource"] == {"service.name": "elsewhere"}, "and sent with its own resource and scope", spans)


plain = subprocess.run([program, "absent"], env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}, timeout=60,
                       capture_output=True, text=True)
check(plain.returncode == 0 and plain.stdout == "extract 0\n", "without the preload every function does nothing", plain)
code, out, spans = run("absent", OTEL_SDK_DISABLED="true")
check(code == 0 and out == "extract 1\n" and not spans, "with OTEL_SDK_DISABLED only propagation is left", out)
tap.end((fields, limits, threads, handler, forks, server, many, submit, submits))
