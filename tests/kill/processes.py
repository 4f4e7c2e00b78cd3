# SPDX-License-Identifier: Apache-2.0
"""Workers by multiprocessing, which leave by os._exit: each serves connections of a socket the master listens on.

processes.py [REQUESTS]: after so many a worker leaves by os._exit(155), and at SIGTERM by os._exit(0), as celery's do.
Prints port and pid. SIGTERM: the workers end, then the master.
"""
import multiprocessing
import os
import signal
import socket
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from victim import application

WORKERS = 4


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Server(WSGIServer):
    def __init__(self, listener):
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_bind_values()
        self.set_app(application)

    def server_bind_values(self):
        self.server_name, self.server_port = self.socket.getsockname()
        self.setup_environ()


def work(listener):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Server(listener).serve_forever()


def work_like_celery(listener, requests):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Server(listener)
    for _ in range(requests):
        server.handle_request()
    os._exit(155)


def main():
    multiprocessing.set_start_method("fork")
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    workers = []
    task, arguments = (work, ()) if len(sys.argv) == 1 else (work_like_celery, (int(sys.argv[1]),))
    print(listener.getsockname()[1], os.getpid(), flush=True)
    while not stop.is_set():
        workers = [worker for worker in workers if worker.is_alive()]
        while len(workers) < WORKERS:
            workers.append(multiprocessing.Process(target=task, args=(listener, *arguments)))
            workers[-1].start()
        stop.wait(0.02)
    for worker in workers:
        worker.terminate()
        worker.join()
    sys.exit(0)


main()
