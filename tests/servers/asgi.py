# SPDX-License-Identifier: Apache-2.0
"""The application of app.py, as ASGI."""
import os
import zlib

from app import REASONS


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    parts = scope["path"].split("/")
    code = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() and int(parts[1]) in REASONS else 404
    kind = parts[2] if len(parts) > 2 else "fixed"
    length = total = 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        length += len(piece)
        total = zlib.crc32(piece, total)
        if not message.get("more_body"):
            break
    headers = [(b"content-type", b"text/plain"), (b"x-pid", b"%d" % os.getpid()), (b"x-body", b"%d %d" % (length, total))]
    body = b"path " + scope["path"].encode("latin-1") + b"\n"
    if kind == "empty" or code in (204, 304):
        body = b""
    if kind != "chunked" and code not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    if scope["method"] == "HEAD":
        body = b""
    await send({"type": "http.response.start", "status": code, "headers": headers})
    if kind == "chunked" and body:
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        body = body[5:]
    await send({"type": "http.response.body", "body": body})
