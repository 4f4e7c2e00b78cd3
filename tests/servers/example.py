# SPDX-License-Identifier: Apache-2.0
"""examples/uwsgi, as its run line starts it.

example.py --collector BINARY --forkspan COMMAND --uwsgi COMMAND
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import signal
import urllib.error
import urllib.request

from harness import HERE, Collector, Server, Tap, answers, attributes, free_port, workspace

EXAMPLE = HERE.parent.parent / "examples" / "uwsgi"
WANTED = {"/": 200, "/slow": 200, "/error": 500, "/nowhere": 404, **{f"/users/{n}": 200 for n in range(20)}}


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    parser = argparse.ArgumentParser()
    for name in ("--collector", "--forkspan", "--uwsgi"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    tap = Tap()
    with workspace() as folder:
        collector = Collector(options.collector, folder)
        port = free_port()
        server = Server(folder, "run", [str(EXAMPLE / "run")], stop_signal=signal.SIGINT, env={
            "FORKSPAN": str(pathlib.Path(options.forkspan).resolve()), "UWSGI": options.uwsgi, "BIND": f"127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "HOME": os.environ.get("HOME", "/")})
        try:
            server.wait_for(lambda: answers(port), "the example listens")
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                got = dict(zip(WANTED, pool.map(lambda path: ask(f"http://127.0.0.1:{port}{path}"), WANTED)))
            tap.check(got == WANTED, "examples/uwsgi/run: each request has its answer", f"{got}\n{server.tail()}")
            tap.check(server.stop() is not None and server.process.returncode == 0, "examples/uwsgi/run: stops with status 0",
                      server.tail())
            collector.stop()
            spans = collector.spans()
            found = collections.Counter((attributes(span)["url.path"], attributes(span)["http.response.status_code"])
                                        for _, _, _, span in spans)
            tap.check(found == collections.Counter(WANTED.items()), "examples/uwsgi/run: each request is one span", found)
            services = {(resource["service.name"], resource["process.pid"]) for resource, _, _, _ in spans}
            tap.check({name for name, _ in services} == {"uwsgi-example"} and len(services) > 1,
                      "examples/uwsgi/run: of the service it names, from several workers", services)
        finally:
            server.kill()
            collector.stop()
    tap.end()


main()
