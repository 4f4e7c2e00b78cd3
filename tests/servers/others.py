# SPDX-License-Identifier: Apache-2.0
"""Servers that are not gunicorn, in its clothes (harness.Gunicorn): nginx, and Python's http.server."""
import os
import pathlib
import signal
import subprocess
import sys
import time

from harness import HERE, answers, clean_environment, free_port, until


class Server:
    """`arguments`: the command line, as a function of the folder and the port."""

    def __init__(self, folder, forkspan=None, endpoint=None, service="other", env=None):
        self.log = os.path.join(folder, "server.log")
        self.port = free_port()
        command = self.command(folder)
        if forkspan:
            command = [forkspan, "run", "--service", service, "--endpoint", endpoint, "--", *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment(**(env or {})),
                                            start_new_session=True)
        try:
            until(lambda: self.process.poll() is not None or answers(self.port), "the server listens")
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.tail()}")
        except Exception:
            self.kill()
            raise

    def tail(self):
        return pathlib.Path(self.log).read_text(errors="replace")[-3000:]

    def stop(self, seconds=30):
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(self.stops)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                return None
        return time.monotonic() - began

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Simple(Server):
    stops = signal.SIGTERM

    def command(self, folder):
        return [sys.executable, str(HERE / "simple.py"), str(self.port)]

    def workers(self):
        return [1]


class Nginx(Server):
    """`proxy_to`: a port to which /proxied/ goes."""

    stops = signal.SIGQUIT
    CONFIG = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; default_type text/plain; sendfile on; server_tokens on; lingering_timeout 1s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port}; root {folder}/files;
    location / {{ return 200 "path $uri\\n"; }}
    location /echo {{ return 200 "$http_traceparent\\n"; }}
    location /file/ {{ }}
    location /proxied/ {{ proxy_pass http://127.0.0.1:{to}/; proxy_ignore_client_abort on; }}
  }}
}}
"""

    def __init__(self, folder, *arguments, proxy_to=1, **named):
        self.proxy_to = proxy_to
        super().__init__(folder, *arguments, **named)

    def command(self, folder):
        os.makedirs(os.path.join(folder, "files", "file"), exist_ok=True)
        pathlib.Path(folder, "files", "file", "big").write_bytes(b"0123456789abcdef" * 8192)
        pathlib.Path(folder, "files", "file", "small").write_bytes(b"small\n")
        config = os.path.join(folder, "nginx.conf")
        pathlib.Path(config).write_text(self.CONFIG.format(folder=folder, port=self.port, to=self.proxy_to,
                                                           user="user root;" if os.geteuid() == 0 else ""))
        return ["nginx", "-p", folder, "-e", os.path.join(folder, "error.log"), "-c", config]

    def workers(self):
        try:
            master = int(pathlib.Path(os.path.dirname(self.log), "nginx.pid").read_text())
            children = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text()
        except (OSError, ValueError):
            return []  # it listens before it writes the file
        return [int(pid) for pid in children.split()]
