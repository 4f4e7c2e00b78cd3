# SPDX-License-Identifier: Apache-2.0
"""The servers and modes of the ledger: how each is started, reloaded in the middle of its load, and stopped."""
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import typing

import others
from harness import HERE, Gunicorn, Server, Worked, answers, children, free_port, gone, until

BIN = pathlib.Path(sys.executable).parent  # of the virtual environment
DEBIAN_GUNICORN = "/usr/bin/gunicorn"
PYPI_UWSGI = [str(BIN / "uwsgi")]
DEBIAN_UWSGI = ["/usr/bin/uwsgi-core", "--plugin", "python3,http"]
KINDS = ["fixed", "fixed", "chunked", "empty"]


@dataclasses.dataclass
class Cell:
    name: str
    server: str  # a name of VERSIONS
    mode: str  # in words
    start: typing.Callable  # (folder, forkspan, endpoint) -> Server with .port
    events: tuple = ()  # what happens while the load runs: (text, function of the server)
    chunked: bool = True  # takes request bodies in chunks
    fresh: bool = False  # closes each connection, and may not say so
    kinds: list = dataclasses.field(default_factory=lambda: KINDS)
    hangs: int = 0  # requests that are never answered
    abrupt: bool = False  # an event of it cuts connections: requests without an answer are no failure
    rate: int = 0  # at most so many requests a second
    router: bool = False  # two spans a request: the router's and the worker's
    settled: bool = False  # stopped when its spans have arrived: its workers are killed, and share nothing
    stop: str = "TERM"


# ---------------------------------------------------------------- gunicorn

def gunicorn(*arguments, command=None):
    return lambda folder, forkspan, endpoint: Gunicorn(folder, list(arguments), forkspan, endpoint, command=command)


def count(server, pattern):
    return len(re.findall(pattern, server.text()))


def gunicorn_hup(server):
    """Graceful: new workers, then the old ones leave."""
    old = set(server.workers())
    os.kill(server.master, signal.SIGHUP)
    server.wait_for(lambda: server.workers() and not old & set(server.workers()), "gunicorn has new workers only")


def gunicorn_usr2(server):
    """A new master, forked and exec'd; then the old one is told to leave."""
    os.kill(server.master, signal.SIGUSR2)
    found = server.wait_for(lambda: re.findall(r"Listening at: .*\((\d+)\)", server.text())[1:], "a second master listens")
    server.successor = int(found[0])
    until(lambda: children(server.successor), "the second master has workers")
    os.kill(server.master, signal.SIGTERM)
    until(lambda: server.process.poll() is not None, "the first master has left")


# ---------------------------------------------------------------- uWSGI

class Uwsgi(Server):
    """`socket`: the option that says which protocol; `app`: the file of the application."""

    def __init__(self, folder, command, socket, arguments, forkspan, endpoint, env=None, service="ledger", app=HERE / "app.py"):
        self.port = free_port()
        self.fifo = os.path.join(folder, "fifo")
        super().__init__(folder, "uwsgi", [*command, socket, f"127.0.0.1:{self.port}", "--master", "--processes", "4",
                                           "--chdir", str(app.parent), "--wsgi-file", app.name, "--need-app", "--disable-logging",
                                           "--master-fifo", self.fifo, "--listen", "100", *arguments],
                         forkspan, endpoint, service, env, signal.SIGINT)
        self.generations = 0
        self.started()

    def started(self):
        """All workers of one more generation are there."""
        self.generations += 1
        self.wait_for(lambda: count(self, r"spawned uWSGI worker 4 ") >= self.generations, "uWSGI has its workers")
        self.wait_for(lambda: count(self, r"WSGI app 0 \(") >= self.generations, "uWSGI has its application")
        self.wait_for(lambda: answers(self.port), "uWSGI listens")

    def stop(self, seconds=60):
        """uWSGI 2.0 forgets one stop of ten, with forkspan and without, when it comes as a worker is recycled: the master
        waits for ever for one that it made after it told them to leave, or for a zombie. So the recycled are waited for,
        and all are told again."""
        master = self.first()

        def recycled():
            now = self.text().rsplit("spawned uWSGI worker 4 ", 1)[-1]
            return now.count("Seeya!") <= now.count("Respawned uWSGI worker")

        until(recycled, "workers that leave have successors", seconds)
        began = time.monotonic()
        self.process.send_signal(self.stop_signal)
        while time.monotonic() - began < seconds / 4:
            try:
                self.process.wait(3)
                return time.monotonic() - began
            except subprocess.TimeoutExpired:
                for pid in (master, *children(master)):
                    os.kill(pid, self.stop_signal)
        if not gone(master) and all(gone(pid) for pid in children(master)):
            self.forgot = True  # every worker has ended, and the master does not look
            self.kill()
            return None
        return super().stop(seconds / 2)

    def order(self, letter):
        with open(self.fifo, "w") as fifo:
            fifo.write(letter)


def uwsgi(command, socket, *arguments, env=None):
    return lambda folder, forkspan, endpoint: Uwsgi(folder, command, socket, list(arguments), forkspan, endpoint, env)


def uwsgi_hup(server):
    """Workers leave when they have answered; then the master executes itself anew."""
    os.kill(server.first(), signal.SIGHUP)
    server.started()


def uwsgi_term(server):
    """Workers leave at once; then the master executes itself anew."""
    os.kill(server.first(), signal.SIGTERM)
    server.started()


def uwsgi_workers(server):
    """Workers only: forked anew from the same master."""
    before = count(server, r"Respawned uWSGI worker")
    server.order("w")
    server.wait_for(lambda: count(server, r"Respawned uWSGI worker") >= before + 4, "uWSGI has new workers")


HEAD_BODY = {"TEST_HEAD_BODY": "1"}
RECYCLING = ["--max-requests", "50", "--min-worker-lifetime", "1"]


class Nginx(others.Nginx):
    """In front of uWSGI's own protocol. Both are one test server: stop and kill reach both."""

    AS_ROOT = False
    LOCATIONS = "location / {{ include /etc/nginx/uwsgi_params; uwsgi_pass 127.0.0.1:{upstream}; }}"

    def __init__(self, folder, command, arguments, forkspan, endpoint):
        self.behind = Uwsgi(folder, command, "--socket", arguments, forkspan, endpoint)
        super().__init__(folder, forkspan, endpoint, "ledger", upstream=self.behind.port)

    def text(self):
        return super().text() + self.behind.text()

    def stop(self, seconds=60):
        first = super().stop(seconds)
        second = self.behind.stop(seconds)
        return None if first is None or second is None or self.behind.process.returncode else first + second

    def kill(self):
        super().kill()
        self.behind.kill()


def nginx_uwsgi(command, *arguments):
    return lambda folder, forkspan, endpoint: Nginx(folder, command, list(arguments), forkspan, endpoint)


def nginx_hup(server):
    """New workers; the old ones leave when they have answered."""
    master = server.first()
    old = set(children(master))
    os.kill(master, signal.SIGHUP)
    server.wait_for(lambda: (now := set(children(master))) and not old & now, "nginx has new workers only")


# ---------------------------------------------------------------- event loops

def worked(folder, name, command, forkspan, endpoint, **more):
    """The application under test is on the path."""
    return Worked(folder, name, command, forkspan, endpoint, env={"PYTHONPATH": str(HERE), **more})


def uvicorn(*arguments):
    command = [str(BIN / "uvicorn"), "--port", "{port}", "--workers", "2", "--no-access-log", *arguments, "asgi:application"]
    return lambda folder, forkspan, endpoint: worked(folder, "uvicorn", command, forkspan, endpoint)


def uvicorn_hup(server):
    done = count(server, r"Application startup complete")
    os.kill(server.first(), signal.SIGHUP)
    server.wait_for(lambda: count(server, r"Application startup complete") >= done + 2, "uvicorn has new workers")


def hypercorn(*arguments):
    command = [str(BIN / "hypercorn"), "--bind", "127.0.0.1:{port}", "--workers", "2", *arguments, "asgi:application"]
    return lambda folder, forkspan, endpoint: worked(folder, "hypercorn", command, forkspan, endpoint)


# ---------------------------------------------------------------- forks of other shapes

# A child for each connection takes a slot, and the dead's are given back about once a second.
SLOTS = {"FORKSPAN_WORKERS": "1024"}


def forking(folder, forkspan, endpoint):
    return worked(folder, "forking", ["/usr/bin/python3", str(HERE / "forking.py"), "{port}"], forkspan, endpoint, **SLOTS)


def forkhead(mode):
    def start(folder, forkspan, endpoint):
        program = os.path.join(folder, "forkhead")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, str(HERE / "forkhead.c")], check=True)
        return worked(folder, "forkhead", [program, mode, "{port}"], forkspan, endpoint, **SLOTS)

    return start


HUP = (("HUP reload", gunicorn_hup), ("HUP reload", gunicorn_hup))
UWSGI = {"chunked": False, "fresh": True, "stop": "INT"}
# http11-socket keeps a connection open behind an answer that has no length.
HTTP11 = {"chunked": False, "kinds": ["fixed", "fixed", "empty"], "stop": "INT"}
THREADS = ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--keep-alive", "20"]
RECYCLED = ["--max-requests", "50", "--max-requests-jitter", "10"]
OLD = [DEBIAN_GUNICORN]

CELLS = [
    Cell("sync", "gunicorn", "sync, 4 workers, preload", gunicorn("--workers", "4", "--preload"), HUP),
    Cell("gthread", "gunicorn", "gthread, 2 workers of 4 threads", gunicorn(*THREADS), HUP),
    Cell("sync-recycling", "gunicorn", "sync, 4 workers, preload, max-requests 50",
         gunicorn("--workers", "4", "--preload", *RECYCLED)),
    Cell("gthread-recycling", "gunicorn", "gthread, 2 workers of 4 threads, max-requests 50", gunicorn(*THREADS, *RECYCLED)),
    Cell("sync-usr2", "gunicorn", "sync, 4 workers", gunicorn("--workers", "4"), (("USR2, a new master", gunicorn_usr2),)),
    Cell("gevent", "gunicorn", "gevent, 2 workers", gunicorn("--worker-class", "gevent", "--workers", "2"), HUP[:1]),
    Cell("debian-sync", "gunicorn-debian", "sync, 4 workers, preload, max-requests 50",
         gunicorn("--workers", "4", "--preload", *RECYCLED, command=OLD), HUP[:1]),
    Cell("debian-gthread", "gunicorn-debian", "gthread, 2 workers of 4 threads", gunicorn(*THREADS, command=OLD), HUP[:1]),
    Cell("debian-gevent", "gunicorn-debian", "gevent, 2 workers",
         gunicorn("--worker-class", "gevent", "--workers", "2", command=OLD), HUP[:1]),
    Cell("debian-eventlet", "gunicorn-debian", "eventlet, 2 workers",
         gunicorn("--worker-class", "eventlet", "--workers", "2", command=OLD), HUP[:1],
         abrupt=True),  # it accepts on after it has closed its listener, with forkspan and without, and resets those
    Cell("uwsgi-http-socket", "uwsgi", "http-socket, 4 processes", uwsgi(PYPI_UWSGI, "--http-socket", env=HEAD_BODY),
         (("HUP, exec", uwsgi_hup), ("TERM, exec", uwsgi_term)), abrupt=True, **UWSGI),
    Cell("uwsgi-lazy", "uwsgi", "http-socket, 4 processes of 2 threads, lazy-apps",
         uwsgi(PYPI_UWSGI, "--http-socket", "--lazy-apps", "--enable-threads", "--threads", "2"),
         (("workers only", uwsgi_workers), ("HUP, exec", uwsgi_hup)), abrupt=True, **UWSGI),
    Cell("uwsgi-harakiri", "uwsgi", "http-socket, 4 processes, max-requests 50, harakiri 1",
         uwsgi(PYPI_UWSGI, "--http-socket", *RECYCLING, "--harakiri", "1"), hangs=4, abrupt=True, **UWSGI),
    Cell("uwsgi-http11-socket", "uwsgi", "http11-socket, 4 processes of 2 threads, max-requests 50",
         uwsgi(PYPI_UWSGI, "--http11-socket", "--enable-threads", "--threads", "2", *RECYCLING), abrupt=True, **HTTP11),
    Cell("uwsgi-http", "uwsgi", "http router, 4 processes", uwsgi(PYPI_UWSGI, "--http"),
         (("HUP, exec", uwsgi_hup),), abrupt=True, router=True, **UWSGI),
    Cell("debian-uwsgi-http-socket", "uwsgi-debian", "http-socket, 4 processes of 2 threads, max-requests 50",
         # no reload beside it: a signal in a thread that has just begun crashes uWSGI (gracefully_kill), with forkspan or not
         uwsgi(DEBIAN_UWSGI, "--http-socket", "--enable-threads", "--threads", "2", *RECYCLING), abrupt=True, **UWSGI),
    Cell("debian-uwsgi-http11-socket", "uwsgi-debian", "http11-socket, 4 processes", uwsgi(DEBIAN_UWSGI, "--http11-socket"),
         (("HUP, exec", uwsgi_hup),), abrupt=True, **HTTP11),
    Cell("debian-uwsgi-http", "uwsgi-debian", "http router, 4 processes of 2 threads, lazy-apps",
         uwsgi(DEBIAN_UWSGI, "--http", "--lazy-apps", "--enable-threads", "--threads", "2"), abrupt=True, router=True, **UWSGI),
    Cell("nginx-uwsgi", "uwsgi-nginx", "nginx, uwsgi_pass, 4 processes", nginx_uwsgi(PYPI_UWSGI),
         (("HUP reload of nginx", nginx_hup),), router=True, stop="QUIT, INT"),
    Cell("uvicorn", "uvicorn", "2 workers", uvicorn(), (("HUP reload", uvicorn_hup),)),
    Cell("hypercorn", "hypercorn", "2 workers", hypercorn(), settled=True),
    Cell("forking", "http.server", "ForkingMixIn: read in a child made for the connection", forking, chunked=False, rate=200),
    Cell("head", "fixture", "head read by a process, answered by its child", forkhead("head"), chunked=False, rate=200,
         fresh=True),
    Cell("clone", "fixture", "4 workers by clone(), 16 KiB stacks, PID namespaces", forkhead("clone"), chunked=False, fresh=True),
]


def missing(cell):
    """What this machine lacks for the cell, or nothing."""
    needs = {"gunicorn-debian": DEBIAN_GUNICORN, "uwsgi-debian": DEBIAN_UWSGI[0], "uwsgi": PYPI_UWSGI[0],
             "uwsgi-nginx": "/usr/sbin/nginx", "uvicorn": str(BIN / "uvicorn"), "hypercorn": str(BIN / "hypercorn")}
    program = needs.get(cell.server)
    return f"no {program}" if program and not shutil.which(program) else ""


def versions():
    """Server of a cell -> its name and version."""

    def ask(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return "not there"
        found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
        return found[0] if found else "?"

    python = ask(sys.executable, "--version")
    nginx = ask("/usr/sbin/nginx", "-v")
    old = ask(*DEBIAN_UWSGI[:1], "--version")
    new = ask(*PYPI_UWSGI, "--version")
    return {"gunicorn": "gunicorn " + ask(sys.executable, "-m", "gunicorn", "--version"),
            "gunicorn-debian": "gunicorn " + ask(DEBIAN_GUNICORN, "--version"),
            "uwsgi": f"uWSGI {new}", "uwsgi-debian": f"uWSGI {old}", "uwsgi-nginx": f"nginx {nginx}, uWSGI {new}",
            "uvicorn": "uvicorn " + ask(str(BIN / "uvicorn"), "--version"),
            "hypercorn": "hypercorn " + ask(sys.executable, "-c", "from importlib.metadata import version as v; print(v('hypercorn'))"),
            "http.server": f"http.server, Python {python}", "fixture": "C program"}
