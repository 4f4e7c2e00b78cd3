# SPDX-License-Identifier: Apache-2.0
"""A small prefork server with a deadlock planted in it, for the tests of scripts/deadlock-regression.

planted.py none|birth|request|end|deaf

birth:    a thread of the master holds a lock at the fork, and now and then a worker takes it before it serves
request:  the same lock is taken by every 50th request of a worker
end:      a worker that is asked to end takes it
deaf:     no hang: a worker does not hear that it is asked to end, the first time
"""
import os
import signal
import socket
import sys
import threading

WORKERS = 4
lock = threading.Lock()


def planted_lock():
    lock.acquire()
    lock.release()


def serve(listener, number):
    kind = sys.argv[1]

    asked = 0

    def on_term(*_):
        nonlocal asked
        asked += 1
        if kind == "deaf" and asked == 1:
            return
        if kind == "end" and number % 3 == 0:
            planted_lock()
        os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if kind == "birth" and number % 5 == 4:
        planted_lock()
    served = 0
    while True:
        connection, _ = listener.accept()
        served += 1
        if connection.recv(4096):
            if kind == "request" and served % 50 == 0:
                planted_lock()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
        connection.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    workers, made, stopping = set(), 0, False

    def on_term(*_):
        nonlocal stopping
        stopping = True
        for pid in workers:
            os.kill(pid, signal.SIGKILL if sys.argv[1] == "deaf" else signal.SIGTERM)

    def on_hup(*_):
        for pid in workers:
            os.kill(pid, signal.SIGTERM)

    held, forked, holds = threading.Event(), threading.Event(), sys.argv[1] not in ("none", "deaf")

    def hold():
        while True:
            with lock:
                held.set()
                forked.wait()
                forked.clear()

    if holds:
        threading.Thread(target=hold, daemon=True).start()
    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGHUP, on_hup)
    while workers or not stopping:
        while len(workers) < WORKERS and not stopping:
            made += 1
            if holds:
                held.wait()  # the moment that comes once in a thousand forks, each time
                held.clear()
            pid = os.fork()
            if pid == 0:
                serve(listener, made)
            forked.set()
            workers.add(pid)
        try:
            pid, _ = os.wait()
            workers.discard(pid)
        except (ChildProcessError, InterruptedError):
            pass


main()
