# SPDX-License-Identifier: Apache-2.0
"""meson_counts.py TESTLOG.JSON: a line "pass|fail|skip<TAB>name" for each test; TAP programs count each point."""
import json
import re
import sys

POINT = re.compile(r"^(not )?ok\b[ \d]*-?\s*(.*)$")

for line in open(sys.argv[1], encoding="utf-8"):
    run = json.loads(line)
    name = run["name"]
    good = run["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
    points = [POINT.match(text) for text in (run.get("stdout") or "").splitlines()]
    points = [point for point in points if point]
    bad = 0
    for point in points:
        skipped = "# SKIP" in point[2].upper()
        verdict = "skip" if skipped else "fail" if point[1] else "pass"
        bad += verdict == "fail"
        print(f"{verdict}\t{name}: {point[2]}")
    if not good and not bad:
        print(f"fail\t{name}: {run['result']}")
    elif good and not points:
        print(f"{'skip' if run['result'] == 'SKIP' else 'pass'}\t{name}")
