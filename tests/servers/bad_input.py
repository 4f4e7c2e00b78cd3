# SPDX-License-Identifier: Apache-2.0
"""Bad input: the server's own answer is the same, byte for byte, with and without forkspan.

bad_input.py --forkspan COMMAND [--random N] [--seed N]
Without --forkspan the plain server is compared with another plain one: the control of the comparison.
"""
import argparse
import pathlib
import random
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "export"))

from harness import Gunicorn, Tap, until, workspace  # noqa: E402
from others import Nginx, Simple  # noqa: E402
from raw import exchange  # noqa: E402
from sink import Sink  # noqa: E402

GOOD = b"GET /200/fixed/good HTTP/1.1\r\nHost: a\r\n\r\n"
TRACEPARENT = b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
TRIES = 10


def cases(rng, count):
    def get(*headers, path=b"/200/fixed/x", version=b"HTTP/1.1"):
        return [b"\r\n".join([b"GET " + path + b" " + version, b"Host: a", *headers]) + b"\r\n\r\n"]

    def post(body, *headers):
        return [b"\r\n".join([b"POST /200/fixed/p HTTP/1.1", b"Host: a", *headers]) + b"\r\n\r\n" + body]

    yield "a good request", get(), {}
    yield "a 1 MiB header", get(b"X-Long: " + b"a" * (1 << 20)), {}
    yield "a 1 MiB header name", get(b"X" * (1 << 20) + b": 1"), {}
    yield "a 1 MiB path", get(path=b"/" + b"p" * (1 << 20)), {}
    yield "a path as long as allowed", get(path=b"/200/fixed/" + b"p" * 4000), {}
    yield "90 headers", get(*[b"X-%d: %d" % (n, n) for n in range(90)]), {}
    yield "5000 headers", get(*[b"X-%d: %d" % (n, n) for n in range(5000)]), {}
    yield "a NUL in a header", get(b"X-Nul: a\0b"), {}
    yield "a NUL in a header name", get(b"X-N\0ul: ab"), {}
    yield "a NUL in the path", get(path=b"/200/fixed/a\0b"), {}
    yield "bytes that are not UTF-8", get(b"User-Agent: \xff\xfe\xc3(", path=b"/200/fixed/\xff\xfe\xc3(?\x80=\xf0"), {}
    yield "a bad traceparent", get(b"traceparent: 00-zz-\xff-01", b"traceparent: 00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"), {}
    yield "a long tracestate", get(b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01", b"tracestate: " + b"a=b," * 1500), {}
    yield "an empty header name", get(b": value"), {}
    yield "a folded header", get(b"X-Fold: a", b" b"), {}
    yield "a space before the colon", get(b"X-Space : a"), {}
    yield "no Host", [b"GET /200/fixed/x HTTP/1.1\r\n\r\n"], {}
    yield "two Hosts", get(b"Host: b"), {}
    yield "HTTP/1.0", get(version=b"HTTP/1.0"), {}
    yield "HTTP/1.0 that stays", get(b"Connection: keep-alive", version=b"HTTP/1.0"), {}
    yield "HTTP/9.9", get(version=b"HTTP/9.9"), {}
    yield "HTTP/0.9", [b"GET /200/fixed/x\r\n"], {}
    yield "a method of 10000 bytes", [b"A" * 10000 + b" / HTTP/1.1\r\n\r\n"], {}
    yield "a method in small letters", [b"get /200/fixed/x HTTP/1.1\r\nHost: a\r\n\r\n"], {}
    yield "line feeds alone", [b"GET /200/fixed/x HTTP/1.1\nHost: a\n\n"], {}
    yield "empty lines first", [b"\r\n\r\n" + GOOD], {}
    yield "nothing", [], {}
    yield "half a head", [b"GET /200/fixed/x HTTP/1.1\r\nHost"], {}
    yield "half a head, then reset", [b"GET /200/fixed/x HTTP/1.1\r\nHost"], {"reset": True}
    yield "half a body", post(b"half", b"Content-Length: 100"), {}
    yield "half a body, then reset", post(b"half", b"Content-Length: 100"), {"reset": True}
    yield "a negative length", post(b"", b"Content-Length: -1"), {}
    yield "an enormous length", post(b"x", b"Content-Length: 99999999999999999999999999"), {}
    yield "two lengths", post(b"xx", b"Content-Length: 1", b"Content-Length: 2"), {}
    yield "length and chunked", post(b"1\r\nx\r\n0\r\n\r\n", b"Content-Length: 3", b"Transfer-Encoding: chunked"), {}
    yield "a bad chunk size", post(b"zz\r\nx\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"), {}
    yield "an enormous chunk size", post(b"f" * 40 + b"\r\nx", b"Transfer-Encoding: chunked"), {}
    yield "a chunk without its end", post(b"5\r\nab", b"Transfer-Encoding: chunked"), {}
    yield "chunk extensions and trailers", post(b"2;a=b\r\nab\r\n0\r\nX-T: 1\r\n\r\n", b"Transfer-Encoding: chunked"), {}
    yield "an unknown transfer encoding", post(b"ab", b"Transfer-Encoding: gzip, identity"), {}
    yield "Expect: 100-continue", post(b"ab", b"Content-Length: 2", b"Expect: 100-continue"), {}
    yield "an upgrade", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: eA==", b"Sec-WebSocket-Version: 13"), {}
    yield "the HTTP/2 preface", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"], {}
    yield "a TLS hello", [b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + rng.randbytes(240)], {}
    yield "a slow-loris head", [bytes([byte]) for byte in GOOD], {"pause": 0.002}
    yield "a slow-loris head that never ends", [bytes([byte]) for byte in GOOD[:-2] + b"X-A: b\r\n" * 10], {"pause": 0.002}
    yield "three pipelined requests", [GOOD * 3], {}
    yield "three pipelined requests, cut anywhere", [(GOOD * 3)[n:n + 7] for n in range(0, len(GOOD) * 3, 7)], {"pause": 0.002}
    yield "pipelining after a chunked body", [post(b"1\r\nx\r\n0\r\n\r\n", b"Transfer-Encoding: chunked")[0] + GOOD], {}
    yield "a head beside a body that looks like one", post(GOOD, b"Content-Length: %d" % len(GOOD)), {}
    yield "a body of a GET", [get(b"Content-Length: %d" % len(GOOD))[0] + GOOD], {}
    yield "two equal lengths", [post(b"", b"Content-Length: 2", b"Content-Length: 2")[0] + b"ab" + GOOD], {}
    yield "a length list", [post(b"", b"Content-Length: 2, 2")[0] + b"ab" + GOOD], {}
    yield "a length with a sign", post(b"ab", b"Content-Length: +2"), {}
    yield "a length behind a bare CR", [post(b"", b"X: a\rContent-Length: %d" % len(GOOD))[0] + GOOD], {}
    yield "a bare CR in the request line", [b"GET /200/fixed/x\r HTTP/1.1\r\nHost: a\r\n\r\n"], {}
    yield "chunked in HTTP/1.0", [b"POST /200/fixed/p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"], {}
    yield "chunked twice", post(b"1\r\nx\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), {}
    yield "chunks that end in LF", post(b"1\nx\n0\n\n", b"Transfer-Encoding: chunked"), {}
    yield "HEAD", [b"HEAD /200/fixed/x HTTP/1.1\r\nHost: a\r\n\r\n" + GOOD], {}
    yield "OPTIONS *", [b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"], {}
    yield "TRACE", [b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"], {}
    yield "CONNECT, and a tunnel at once", [b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + GOOD], {}
    yield "the whole URL", [b"GET http://u:p@a/200/fixed/x?sig=1 HTTP/1.1\r\nHost: a\r\n\r\n"], {}
    yield "an upgrade to HTTP/2, and its preface", [get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")[0] + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], {}
    yield "Expect of something else", post(b"ab", b"Content-Length: 2", b"Expect: wonders"), {}
    yield "Connection: close, and more", [get(b"Connection: close")[0] + GOOD], {}
    yield "header names of one space", get(b" : a"), {}
    yield "DEL and ESC in a header", get(b"X: a\x7f\x1b[31m"), {}
    yield "two traceparents", get(TRACEPARENT, TRACEPARENT), {}
    yield "a good request, then noise", [GOOD + rng.randbytes(500)], {}
    for number in range(count):
        size = rng.choice([1, 3, 16, 100, 1000, 5000, 70000])
        yield f"random bytes {number} ({size})", [rng.randbytes(size)], {}
    for number in range(count):
        mutated = bytearray(post(b"hello", b"Content-Length: 5", b"User-Agent: x")[0])
        for _ in range(rng.choice([1, 1, 2, 5])):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        yield f"a request with wrong bytes {number}", [bytes(mutated)], {}


def normal(answer):
    """Without what differs between any two answers of the same server: time, worker."""
    answer = re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: -", answer)
    return re.sub(rb"\r\nX-(Pid|Began): \d+", rb"\r\nX-\1: -", answer)


def same(plain, traced, pieces, how):
    """Compares; a server that closes with bytes unread resets the connection, and the reset may overtake the answer:
    then the longest of some tries counts, of the plain server too."""
    seen = ["", ""]
    for _ in range(TRIES):
        answers = [exchange(port, pieces, **how) for port in (plain, traced)]
        texts = [normal(answer) for answer, _ in answers]
        if texts[0] == texts[1]:
            return None
        for index in (0, 1):
            if len(texts[index]) >= len(seen[index]):
                seen[index] = texts[index]
        if seen[0] == seen[1]:
            return None
        if not any(end == "reset" for _, end in answers):
            break
    return f"without: {seen[0][:600]!r}\nwith:    {seen[1][:600]!r}\nends: {[end for _, end in answers]}\nsent: {b''.join(pieces)[:300]!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--forkspan")
    parser.add_argument("--random", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"# seed {options.seed}", flush=True)
    tap = Tap()
    servers = {
        "sync": lambda folder, *traced: Gunicorn(folder, ["--workers", "2", "--preload"], *traced),
        "gthread": lambda folder, *traced: Gunicorn(folder, ["--worker-class", "gthread", "--workers", "2", "--threads", "4"], *traced),
        "http.server": Simple,
        "nginx": Nginx,
    }
    for server, start in servers.items():
        workers = 1 if start is Simple else 2
        sink = Sink()
        with workspace() as one, workspace() as two:
            plain = start(one)
            traced = start(two, *([options.forkspan, sink.endpoint, "bad"] if options.forkspan else []))
            try:
                before = until(lambda: len(found := set(traced.workers())) == workers and found, "the workers")
                wrong, count = [], 0
                for name, pieces, how in cases(random.Random(f"{options.seed}-{server}"), options.random):
                    count += 1
                    different = same(plain.port, traced.port, pieces, how)
                    if different:
                        wrong.append(f"{name}:\n{different}")
                tap.check(not wrong, f"{server}: {count} bad inputs get the same answer with and without",
                          f"{len(wrong)} differ\n" + "\n".join(wrong[:8]))
                tap.check(set(traced.workers()) == before, f"{server}: no worker died of them",
                          f"{before} {traced.workers()}\n{traced.tail()}")
                answer, _ = exchange(traced.port, [GOOD])
                tap.check(answer.startswith(b"HTTP/1.1 200"), f"{server}: serves as before", answer[:200])
                took = traced.stop()
                tap.check(took is not None and plain.stop() is not None and traced.process.returncode == plain.process.returncode,
                          f"{server}: stops as ever", traced.tail())
                if options.forkspan:
                    spans = sink.decode()
                    tap.check(len(spans) > 0 and not sink.wrong, f"{server}: {len(spans)} spans of it, each readable",
                              "\n".join(sink.wrong[:10]))
            finally:
                for each in (plain, traced):
                    each.kill()
        sink.stop()
    tap.end()


main()
