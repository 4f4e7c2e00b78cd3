# SPDX-License-Identifier: Apache-2.0
"""Random spans through the C API, read back by the official protobuf classes, against a model of the OpenTelemetry rules.

property.py PROGRAM PRELOAD [--spans N] [--seed N]. The model shares no code with forkspan.
"""
import argparse
import math
import os
import pathlib
import random
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "servers"), str(HERE.parent / "export")]

from harness import Tap, clean_environment  # noqa: E402
from sink import Sink, values  # noqa: E402

LIMITS = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": 10, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": 40, "OTEL_SPAN_EVENT_COUNT_LIMIT": 3,
          "OTEL_SPAN_LINK_COUNT_LIMIT": 2, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": 3, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": 2}
UNLIMITED = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": 128, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": None, "OTEL_SPAN_EVENT_COUNT_LIMIT": 128,
             "OTEL_SPAN_LINK_COUNT_LIMIT": 128, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": 128, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": 128}
PIECES = [b"", b"a", b"key", b" ", b"\x01", "\u00e9".encode(), "\u20ac".encode(), "\U0001f600".encode(), b"=,;", b'"\\']
BAD = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80", b"\x80", b"\xf5\x80\x80\x80"]


def utf8(data):
    """U+FFFD for each byte that is of no valid sequence."""
    text = ""
    while data:
        for n in (1, 2, 3, 4):
            try:
                text += data[:n].decode()
                data = data[n:]
                break
            except UnicodeDecodeError:
                continue
        else:
            text += "\ufffd"
            data = data[1:]
    return text


def characters(data, limit):
    """The first `limit` characters, a stray continuation byte being part of what is before it."""
    if limit is None or len(data) <= limit:
        return data
    seen = 0
    for i, byte in enumerate(data):
        if byte & 0xC0 != 0x80:
            if seen == limit:
                return data[:i]
            seen += 1
    return data


def c_string(data, room=256):
    """Up to room - 1 bytes, whole characters."""
    if len(data) < room:
        return data
    n = room - 1
    while n and data[n] & 0xC0 == 0x80:
        n -= 1
    return data[:n]


def word(data):
    return "-" if data is None else "=" if data == b"" else data.hex()


class Maker:
    def __init__(self, seed, limits):
        self.random, self.limits = random.Random(seed), limits

    def data(self, most=8, bad=0.1, nul=False):
        pieces = PIECES + ([b"\0"] if nul else [])
        return b"".join(self.random.choice(BAD if self.random.random() < bad else pieces) for _ in range(self.random.randrange(most)))

    def attribute(self):
        """(words, key, value), value None for one that is none."""
        key = self.random.choice([f"k{self.random.randrange(14)}".encode(), self.data(4, 0.15)])
        kind = self.random.choice("sssidb")
        if kind == "s":
            raw = None if self.random.random() < 0.05 else self.data(self.random.choice([3, 30]), nul=True)
            value = None if raw is None else utf8(characters(raw, self.limits["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"]))
            return f"{word(key)} s {word(raw)}", key, value
        if kind == "i":
            value = self.random.choice([0, 1, -1, 127, 128, 2**63 - 1, -2**63, self.random.getrandbits(40)])
            return f"{word(key)} i {value}", key, value
        if kind == "d":
            value = self.random.choice([0.0, -0.0, 1.5, -1e300, math.inf, 5e-324, self.random.random()])
            return f"{word(key)} d {value.hex() if math.isfinite(value) else value}", key, value
        value = self.random.random() < 0.5
        return f"{word(key)} b {int(value)}", key, value

    @staticmethod
    def key_of(key):
        try:
            return key.decode()
        except UnicodeDecodeError:
            return None

    def some(self, limit):
        """Attributes of an event or link: the words, what arrives, how many are dropped."""
        made = [self.attribute() for _ in range(self.random.randrange(5))]
        real = [(key, value) for _, key, value in made if key and value is not None]
        kept, dropped = {}, 0
        for i, (key, value) in enumerate(real):
            if any(later == key for later, _ in real[i + 1:]):
                continue
            if len(kept) == limit or self.key_of(key) is None:
                dropped += 1
            else:
                kept[key.decode()] = value
        return " ".join(w for w, _, _ in made), kept, dropped

    def span(self, number):
        r, limits = self.random, self.limits
        name = f"{number} ".encode() + self.data(r.choice([4, 200]))
        start = r.randrange(1, 2**62)
        end = r.choice([start + r.randrange(10**12), start - 1, start])
        kind = r.randrange(8)
        lines = [f"start {word(name)} {kind} {start}"]
        want = dict(name=utf8(c_string(name)), kind=kind if 1 <= kind <= 5 else 1, start=start, end=max(start, end), attributes={},
                    dropped=0, events=[], dropped_events=0, links=[], dropped_links=0, status=(0, ""))
        for _ in range(r.randrange(12)):
            what = r.choice(["set", "set", "set", "event", "link", "status", "rename"])
            if what == "set":
                words = []
                for _ in range(r.randrange(1, 4)):
                    text, key, value = self.attribute()
                    words.append(text)
                    if not key or value is None:
                        continue
                    known = self.key_of(key)
                    if known is not None and known in want["attributes"]:
                        del want["attributes"][known]
                    if known is None or len(want["attributes"]) >= limits["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"]:
                        want["dropped"] += 1
                    else:
                        want["attributes"][known] = value
                lines.append("set " + " ".join(words))
            elif what == "event":
                words, kept, dropped = self.some(limits["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"])
                event, when = self.data(), r.randrange(1, 2**62)
                lines.append(f"event {word(event)} {when} {words}")
                if len(want["events"]) < limits["OTEL_SPAN_EVENT_COUNT_LIMIT"]:
                    want["events"].append((utf8(event), when, kept, dropped))
                else:
                    want["dropped_events"] += 1
            elif what == "link":
                trace = r.choice([r.randbytes(16), bytes(16)])
                span, flags, state = r.randbytes(8), r.randrange(256), r.choice([None, b"a=1", b"x=y,z=1"])
                words, kept, dropped = self.some(limits["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"])
                lines.append(f"link {trace.hex()} {span.hex()} {flags} {word(state)} {words}")
                if not any(trace) and not words and not state:
                    continue
                if len(want["links"]) < limits["OTEL_SPAN_LINK_COUNT_LIMIT"]:
                    want["links"].append((trace, span, (state or b"").decode(), flags & 3 | 0x100, kept, dropped))
                else:
                    want["dropped_links"] += 1
            elif what == "status":
                status, text = r.randrange(4), r.choice([None, self.data(r.choice([4, 100]))])
                lines.append(f"status {status} {word(text)}")
                if status in (1, 2) and want["status"][0] != 1:
                    want["status"] = (status, utf8(c_string(text or b"")) if status == 2 else "")
            else:
                name = f"{number} ".encode() + self.data()
                want["name"] = utf8(c_string(name))
                lines.append(f"rename {word(name)}")
        lines.append(f"end {end}")
        return lines, want


def got(span):
    return dict(name=span.name, kind=span.kind, start=span.start_time_unix_nano, end=span.end_time_unix_nano, attributes=values(span),
                dropped=span.dropped_attributes_count, dropped_events=span.dropped_events_count, dropped_links=span.dropped_links_count,
                events=[(e.name, e.time_unix_nano, values(e), e.dropped_attributes_count) for e in span.events],
                links=[(x.trace_id, x.span_id, x.trace_state, x.flags, values(x), x.dropped_attributes_count) for x in span.links],
                status=(span.status.code, span.status.message))


def exact(value):
    """1, 1.0 and True are three values, so are 0.0 and -0.0."""
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(v) for v in value]
    return type(value).__name__, repr(value)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("preload")
    parser.add_argument("--spans", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    tap = Tap()
    print(f"# seed {options.seed}")
    for what, limits in (("limits", LIMITS), ("defaults", UNLIMITED)):
        maker = Maker(options.seed, limits)
        lines, wanted = [], []
        for number in range(options.spans):
            some, want = maker.span(number)
            lines += some
            wanted.append(want)
        sink = Sink()
        env = clean_environment(LD_PRELOAD=os.path.abspath(options.preload), OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, OTEL_SERVICE_NAME="property",
                                **{k: str(v) for k, v in limits.items() if v is not None and limits is LIMITS})
        done = subprocess.run([options.program], input="\n".join(lines) + "\n", text=True, env=env, timeout=300, capture_output=True)
        sink.stop()
        spans = sorted(sink.decode(), key=lambda found: int(found[2].name.split(" ")[0]))
        tap.check(done.returncode == 0 and not sink.wrong, f"{what}: everything sent is a readable request", f"{done.returncode} {done.stderr[-500:]} {sink.wrong[:3]}")
        wrong = [f"{options.seed}/{i}: {key}: {have[key]!r}\n  wanted {want[key]!r}" for i, (want, have) in enumerate(zip(wanted, (got(s) for _, _, s in spans)))
                 for key in want if exact(want[key]) != exact(have[key])]
        tap.check(len(spans) == len(wanted) and not wrong, f"{what}: {len(wanted)} random spans have the values they were given",
                  f"{len(spans)} spans\n" + "\n".join(wrong[:4]))
        ids = {(s.trace_id, s.span_id) for _, _, s in spans}
        tap.check(len(ids) == len({i for _, i in ids}) == len(spans), f"{what}: all ids differ")
    tap.end()


main()
