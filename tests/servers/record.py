# SPDX-License-Identifier: Apache-2.0
"""Records conversations with real servers, not traced, for tests/unit/io/orders_test.c and the parser's fuzzer.

record.py CONVERSATIONS CORPUS
Run by hand when there is a new kind of conversation; what it writes is kept in the repository. A conversation is a
file of blocks: "> LENGTH\\n" and bytes of the client, each one message or more, "< LENGTH\\n" and one response.
"""
import pathlib
import socket
import sys

from harness import Gunicorn, workspace
from others import Nginx, Simple

HOST = b"Host: shop.example\r\n"


def get(path, *headers, method=b"GET"):
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"".join(h + b"\r\n" for h in headers) + b"\r\n"


def post(path, body, *headers):
    return get(path, b"Content-Length: %d" % len(body), *headers, method=b"POST") + body


CHUNKED = get(b"/200/fixed/c", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
CLOSE = b"Connection: close"
# Each: (server, name, list of what is sent at once: the methods of its requests, and the bytes)
TALKS = {
    "http.server": [
        ("keep-alive", [([b"GET"], get(b"/a")), ([b"HEAD"], get(b"/b", method=b"HEAD")), ([b"POST"], post(b"/c", b"hello")),
                        ([b"PUT"], get(b"/d", CLOSE, method=b"PUT"))]),
        ("continue", [([b"POST"], post(b"/a", b"hello", b"Expect: 100-continue")), ([b"GET"], get(b"/b", CLOSE))]),
    ],
    "sync": [("one", [([b"GET"], get(b"/404/fixed/a?sig=secret", b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"))]),
             ("until-close", [([b"GET"], b"GET /200/chunked/a HTTP/1.0\r\n\r\n")])],
    "gthread": [("chunked", [([b"GET"], get(b"/200/chunked/a")), ([b"POST"], CHUNKED), ([b"HEAD"], get(b"/200/fixed/b", method=b"HEAD")),
                             ([b"GET"], get(b"/304/fixed/c")), ([b"GET"], get(b"/503/empty/d", CLOSE))])],
    "nginx": [
        ("pipelined", [([b"GET", b"GET", b"HEAD"], get(b"/a") + get(b"/file/small") + get(b"/file/small", CLOSE, method=b"HEAD"))]),
        ("early", [([b"POST", b"GET"], post(b"/file/small", b"hello") + get(b"/file/none", CLOSE))]),
        ("errors", [([b"DELETE"], get(b"/file/small", method=b"DELETE")), ([b"GET"], get(b"/file/small", b"If-None-Match: x", b"Range: bytes=1-2")),
                    ([b"BREW"], get(b"/b", CLOSE, method=b"BREW"))]),
    ],
}
SERVERS = {
    "http.server": Simple,
    "sync": lambda folder: Gunicorn(folder, ["--workers", "1"]),
    "gthread": lambda folder: Gunicorn(folder, ["--worker-class", "gthread", "--workers", "1", "--threads", "2"]),
    "nginx": Nginx,
}


def response(file, method):
    """The bytes of one response."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        assert line, head
        head += line
    status = int(head.split(b" ")[1])
    fields = {k.strip().lower(): v.strip() for k, v in (line.split(b":", 1) for line in head.split(b"\r\n")[1:] if line)}
    if status < 200:
        return head, False
    if method == b"HEAD" or status in (204, 304):
        return head, True
    if fields.get(b"transfer-encoding") == b"chunked":
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += file.readline()
        return head + body, True
    if b"content-length" in fields:
        return head + file.read(int(fields[b"content-length"])), True
    return head + file.read(), True


def converse(port, sends):
    blocks = []
    with socket.create_connection(("127.0.0.1", port), 20) as connection, connection.makefile("rb") as file:
        for methods, text in sends:
            connection.sendall(text)
            blocks.append((b">", text))
            for method in methods:
                final = False
                while not final:
                    text, final = response(file, method)
                    blocks.append((b"<", text))
    return blocks


def main():
    conversations, corpus = (pathlib.Path(p) for p in sys.argv[1:])
    for server, talks in TALKS.items():
        with workspace() as folder:
            running = SERVERS[server](folder)
            try:
                for name, sends in talks:
                    blocks = converse(running.port, sends)
                    (conversations / f"{server}-{name}").write_bytes(b"".join(b"%s %d\n" % (d, len(t)) + t for d, t in blocks))
                    # For the fuzzer a byte first: a request, or a response (to HEAD where that is all there is).
                    heads = {m for methods, _ in sends for m in methods} == {b"HEAD"}
                    (corpus / f"recorded-{server}-{name}-request").write_bytes(b"\0" + b"".join(t for d, t in blocks if d == b">"))
                    (corpus / f"recorded-{server}-{name}-response").write_bytes(
                        (b"\3" if heads else b"\1") + b"".join(t for d, t in blocks if d == b"<"))
            finally:
                running.kill()


main()
