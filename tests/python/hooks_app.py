# SPDX-License-Identifier: Apache-2.0
"""A WSGI application that writes down which fork hooks ran in which process, and that a worker has come up."""
import logging
import os
import threading

NOTES = os.open(os.environ["HOOK_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(what):
    os.write(NOTES, f"{what} {os.getpid()}\n".encode())


os.register_at_fork(before=lambda: note("before"), after_in_parent=lambda: note("parent"), after_in_child=lambda: note("child"))

class Busy(logging.Handler):
    """Its lock and those of logging are held most of the time. (No file: the lock of a Python file object stays
    locked in a child by os.fork(), too.)"""

    def emit(self, record):
        self.last = sum(range(300))


if os.environ.get("HOOK_BUSY"):
    logging.getLogger().addHandler(Busy())
    logging.getLogger().setLevel(logging.INFO)

    def busy():
        while True:
            logging.info("at work")

    threading.Thread(target=busy, daemon=True).start()


def up():
    logging.getLogger("up").warning("a worker's first words")
    note("up")


try:
    import uwsgi

    uwsgi.post_fork_hook = up
    if uwsgi.worker_id():
        up()  # loaded in the worker (--lazy-apps): its fork is over
except ImportError:
    pass


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
