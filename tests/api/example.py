# SPDX-License-Identifier: Apache-2.0
"""examples/c as its run script builds and runs it: its spans are below the requests'. example.py FORKSPAN LIBRARY"""
import collections
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "servers"), str(HERE.parent / "export")]

from harness import Tap, clean_environment, fetch, until  # noqa: E402
from sink import Sink, values  # noqa: E402

ROUNDS = 200


def serve(command, env):
    """Answers, and what the server said at its start."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    said = server.stdout.readline()
    port = int(re.search(r":(\d+)/", said).group(1))
    answers = [fetch(port, path)[:2] for path in (*(f"/square/{n}" for n in range(ROUNDS)), "/square/x", "/")]
    server.send_signal(signal.SIGTERM)
    return answers, said, server.wait(30)


def main():
    forkspan, library = map(os.path.abspath, sys.argv[1:3])
    tap, sink = Tap(), Sink()
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "server")
        env = clean_environment(FORKSPAN=forkspan, FORKSPAN_LIBRARY=library, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, OUT=out,
                                CFLAGS=f"-I{HERE.parent.parent / 'include'} -Werror")
        answers, said, code = serve([str(HERE.parent.parent / "examples/c/run"), "0"], env)
        tap.check(code == 0 and "forkspan on" in said, "it compiles by one line, runs and stops", f"{code} {said}")
        plain, said, code = serve([out, "0"], clean_environment())
        tap.check(code == 0 and "forkspan off" in said and plain == answers, "without forkspan it answers the same", f"{code} {said}")
    tap.check(answers[12] == (200, b"144\n") and answers[ROUNDS][0] == 400, "it works", answers[12])
    until(lambda: len(sink.decode()) >= 3 * ROUNDS + 3, "every span arrives")
    sink.stop()
    spans = {s.span_id: (ss.scope.name, rs, s) for rs, ss, s in sink.decode()}
    count = collections.Counter((scope, s.name) for scope, _, s in spans.values())
    tap.check(count == {("forkspan.http", "GET"): ROUNDS + 2, ("forkspan.api", "look up"): ROUNDS + 1, ("forkspan.api", "compute"): ROUNDS},
              "each span arrives once", count)
    wrong = []
    for scope, rs, s in spans.values():
        if scope == "forkspan.http":
            continue
        above_scope, above_rs, above = spans[s.parent_span_id]
        if (above_scope, above.name) != (("forkspan.http", "GET") if s.name == "look up" else ("forkspan.api", "look up")):
            wrong.append(f"{s.name} is below {above.name}")
        if above.trace_id != s.trace_id or not above.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano <= above.end_time_unix_nano:
            wrong.append(f"{s.name} is not within {above.name}")
        if values(above_rs.resource)["process.pid"] != values(rs.resource)["process.pid"]:
            wrong.append(f"{s.name} is of another process")
        if s.name == "look up" and s.status.code != 2 and values(above)["url.path"] != f"/square/{values(s)['n']}":
            wrong.append(f"{values(s)} is below {values(above)}")
    tap.check(not wrong and not sink.wrong, "look up is below its own request, compute below look up", "\n".join(wrong[:5]))
    errors = [s.status.message for _, _, s in spans.values() if s.status.code == 2]
    tap.check(errors == ["not a number"], "an error is told", errors)
    tap.end()


main()
