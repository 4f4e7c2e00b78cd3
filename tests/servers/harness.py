# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: TAP, a Collector, a gunicorn with and without forkspan. Standard library only."""
import collections
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


class Tap:
    def __init__(self):
        self.number = self.failed = 0

    def check(self, good, name, why=""):
        self.number += 1
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}", flush=True)
        if not good:
            self.failed += 1
            for line in str(why).splitlines()[:300]:
                print(f"#   {line}", flush=True)
        return good

    def skip(self, name, why):
        self.number += 1
        print(f"ok {self.number} - {name} # SKIP {why}", flush=True)

    def end(self):
        print(f"1..{self.number}", flush=True)
        sys.exit(1 if self.failed else 0)


def until(condition, what, seconds=20):
    """Polls: what is waited for has no other way to say that it is there."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


Answer = collections.namedtuple("Answer", "status body headers")


def fetch(port, path, headers=None, timeout=30):
    """A GET on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)
    finally:
        connection.close()


def fetch_unless_broken(port, path, timeout=30):
    """None where the connection broke before all of the answer had come; that nobody closed it, nor answered, is an error."""
    try:
        return fetch(port, path, timeout=timeout)
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException):
        return None


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_")) and k != "LD_PRELOAD"}
    env.update(more)
    return env


class Collector:
    """A real one; its file exporter is the witness."""

    CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{path}", flush_interval: 200ms}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
"""

    def __init__(self, binary, folder, port=None):
        self.path = os.path.join(folder, "spans.json")
        self.port = port or free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        config = os.path.join(folder, "collector.yaml")
        pathlib.Path(config).write_text(self.CONFIG.format(port=self.port, path=self.path))
        self.log = os.path.join(folder, "collector.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([binary, "--config", config], stdout=log, stderr=log, env=clean_environment())
        until(lambda: self.process.poll() is not None or answers(self.port), "the Collector listens")
        if self.process.poll() is not None:
            raise RuntimeError("the Collector ended: " + pathlib.Path(self.log).read_text()[-2000:])

    def stop(self):
        """Stops it, which makes it write what it has."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def spans(self):
        """(resource attributes, resource schema url, scope, span) of each span in the file."""
        found = []
        for line in whole_lines(self.path):
            for resource_spans in json.loads(line).get("resourceSpans", []):
                resource = attributes(resource_spans.get("resource", {}))
                for scope_spans in resource_spans.get("scopeSpans", []):
                    for span in scope_spans.get("spans", []):
                        found.append((resource, resource_spans.get("schemaUrl", ""), scope_spans.get("scope", {}), span))
        return found


def whole_lines(path):
    """Of a file that may not be there yet; a line that is still being written is not."""
    try:
        with open(path, encoding="utf-8") as f:
            return [line for line in f if line.endswith("\n")]
    except FileNotFoundError:
        return []


def sent_again(log):
    """What forkspan's log (OTEL_LOG_LEVEL=debug) tells of batches that came twice: (spans, process that began to send them)."""
    return [(int(spans), int(sender)) for spans, sender in
            re.findall(r"(\d+) spans of process \d+ are sent again: process (\d+) began to", log)]


def attributes(holder):
    values = {}
    for entry in holder.get("attributes", []):
        value = entry.get("value", {})
        if "intValue" in value:
            values[entry["key"]] = int(value["intValue"])
        else:
            values[entry["key"]] = next(iter(value.values()), None)
    return values


class Server:
    """A server in a session of its own, with its output in a file; with `forkspan`, under it."""

    more_env = {}  # for each server under forkspan
    successor = 0  # another first process, after a reload

    def __init__(self, folder, name, command, forkspan=None, endpoint=None, service="ledger", env=None, stop_signal=signal.SIGTERM,
                 run=()):
        self.log = os.path.join(folder, f"{name}.log")
        self.stop_signal = stop_signal
        self.under = bool(forkspan)
        if forkspan:
            command = [forkspan, "run", "--service", service, "--endpoint", endpoint, *run, "--", *command]
            env = {**(env or {}), **self.more_env}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment(**(env or {})),
                                            start_new_session=True)

    def wait_for(self, condition, what):
        """Until it is so; the end of the server ends the wait, and a failure ends the server."""

        def met():
            if self.process.poll() is not None:
                raise RuntimeError(f"{what}: ended with {self.process.returncode}: {self.tail()}")
            return condition()

        try:
            return until(met, what)
        except Exception:
            self.kill()
            raise

    def first(self):
        """The server's first process: `forkspan run` is its parent."""
        if not self.under:
            return self.process.pid
        return self.wait_for(lambda: children(self.process.pid), "the server is started")[0]

    def workers(self):
        """The processes that serve: the first one's children, where it has any."""
        return children(self.first())

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def tail(self):
        return self.text()[-20000 if "Thread 1" in self.text() else -3000:]

    def stop(self, seconds=60):
        """A graceful stop; how long it took. None: it had to be killed."""
        began = time.monotonic()
        if self.successor:
            os.kill(self.successor, self.stop_signal)
            try:
                until(lambda: gone(self.successor), "the successor has left", seconds)
            except TimeoutError:
                self.kill()
                return None
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                with open(self.log, "a") as log:
                    log.write(self.stacks())
                self.kill()
                return None
        return time.monotonic() - began

    def stacks(self):
        """Where the processes are, for a report about a hang."""
        text = []
        for pid in subprocess.run(["ps", "-o", "pid=", "-s", str(self.process.pid)], capture_output=True, text=True).stdout.split():
            out = subprocess.run(["gdb", "-q", "-batch", "-p", pid, "-ex", "thread apply all bt 20"],
                                 capture_output=True, text=True, timeout=60)
            text.append(f"--- {pid} {pathlib.Path(f'/proc/{pid}/stat').read_text()}{out.stdout[-3000:]}{out.stderr[-500:]}")
        return "\n".join(text)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def gone(pid):
    """Ended, whether or not somebody has waited for it."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def commands(wanted):
    """The pid of each process whose command line, as words, is wanted (the dead that nobody has reaped yet have none)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted(words):
            found.append(int(pid))
    return found


def consumers(mark):
    """Of the processes of ours that send, those of servers that have `mark` in their environment."""
    def marked(pid):
        try:
            return mark.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False  # it has just ended
    ours = commands(lambda words: words[1:2] == [b"export"] and words[0].endswith(b"forkspan"))
    return [pid for pid in ours if marked(pid)]


def children(pid):
    try:
        return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Worked(Server):
    """A server whose first answer says that it is there. The words of `command` may name its {port}."""

    def prepare(self, folder):
        """Writes what it reads at its start; self.port is known."""

    def __init__(self, folder, name, command, forkspan=None, endpoint=None, service="ledger", env=None, stop_signal=signal.SIGTERM):
        self.port = free_port()
        self.prepare(folder)
        super().__init__(folder, name, [word.format(port=self.port) for word in command], forkspan, endpoint, service, env, stop_signal)
        self.wait_for(lambda: answers(self.port), f"{name} listens")


class Gunicorn(Server):
    """gunicorn with the application under test. `command`: another gunicorn than this Python's."""

    def __init__(self, folder, arguments, forkspan=None, endpoint=None, service="ledger", env=None, app="app:application",
                 command=None, run=()):
        # As a user has it, which gives the master a second thread, but not below the home directory.
        control = [] if command or not supports_control_socket() else [
            "--control-socket", os.path.join(folder, f"control-{os.urandom(4).hex()}")]
        super().__init__(folder, "gunicorn", [*(command or [sys.executable, "-m", "gunicorn"]), "--bind", "127.0.0.1:0",
                                              "--chdir", str(HERE), *arguments, *control, app],
                         forkspan, endpoint, service, env, run=run)
        found = self.wait_for(lambda: re.search(r"Listening at: http://127\.0\.0\.1:(\d+) \((\d+)\)", self.text()),
                              "gunicorn listens")
        self.port, self.master = int(found[1]), int(found[2])

    def workers(self):
        return children(self.master)


_control = None


def supports_control_socket():
    """Newer gunicorns have one."""
    global _control
    if _control is None:
        text = subprocess.run([sys.executable, "-m", "gunicorn", "--help"], capture_output=True, text=True).stdout
        _control = "--control-socket" in text
    return _control


def workspace():
    return tempfile.TemporaryDirectory(prefix="forkspan-test-")
