# SPDX-License-Identifier: Apache-2.0
"""A WSGI application whose worker dies on request; see prefork.c for the paths."""
import os
import resource
import time


def application(environ, start_response):
    what = environ["PATH_INFO"].split("/")[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if what in ("hang", "harakiri"):
        time.sleep(3600)
    elif what == "abort":
        os.abort()
    elif what == "exit":
        os._exit(7)  # 3 and 4 mean something to gunicorn
    elif what == "exec":
        os.execv("/bin/true", ["true"])
    elif what == "rlimit":
        resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
        try:
            bytearray(1 << 30)
        except MemoryError:
            os.abort()
    elif what == "grow":  # until the kernel kills it
        taken = []
        while True:
            taken.append(b"x" * (1 << 20))
            time.sleep(0.002)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
