# SPDX-License-Identifier: Apache-2.0
"""Servers that are not gunicorn, in its clothes (harness.Gunicorn): nginx, and Python's http.server."""
import os
import pathlib
import signal
import sys

from harness import HERE, Worked


class Simple(Worked):
    def __init__(self, folder, forkspan=None, endpoint=None, service="other", env=None):
        super().__init__(folder, "server", [sys.executable, str(HERE / "simple.py"), "{port}"], forkspan, endpoint, service, env)

    def workers(self):
        return [self.first()]


class Nginx(Worked):
    """Two workers. `named`: what LOCATIONS wants to know."""

    AS_ROOT = True  # its workers keep their master's user
    LOCATIONS = """
    location / {{ return 200 "path $uri\\n"; }}
    location /echo {{ return 200 "$http_traceparent\\n"; }}
    location /file/ {{ }}
    location /proxied/ {{ proxy_pass http://127.0.0.1:{proxy_to}/; proxy_ignore_client_abort on; }}
"""
    CONFIG = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type text/plain; sendfile on; server_tokens on; lingering_timeout 1s; client_body_buffer_size 64k;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; {locations} }}
}}
"""

    def __init__(self, folder, forkspan=None, endpoint=None, service="other", env=None, **named):
        self.named = {"proxy_to": 1, **named}
        super().__init__(folder, "nginx", ["/usr/sbin/nginx", "-p", folder, "-e", os.path.join(folder, "error.log"), "-c",
                                           os.path.join(folder, "nginx.conf")],
                         forkspan, endpoint, service, env, signal.SIGQUIT)

    def prepare(self, folder):
        os.makedirs(os.path.join(folder, "files", "file"), exist_ok=True)
        pathlib.Path(folder, "files", "file", "big").write_bytes(b"0123456789abcdef" * 8192)
        pathlib.Path(folder, "files", "file", "small").write_bytes(b"small\n")
        user = "user root;" if self.AS_ROOT and os.geteuid() == 0 else ""
        locations = self.LOCATIONS.format(folder=folder, **self.named)
        pathlib.Path(folder, "nginx.conf").write_text(self.CONFIG.format(folder=folder, port=self.port, user=user, locations=locations))
