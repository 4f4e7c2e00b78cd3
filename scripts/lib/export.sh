# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: the exporter against receivers of every kind, and the report of what the specification asks.

sender=build-test/tests/export/export_send

# export_python: sets $export_venv_python, once
export_python() {
    [[ ${export_venv_python-} ]] && return 0
    if ! export_venv_python=$(test_python tests/export/requirements.txt); then
        export_venv_python=
        not_ok "the Python packages of tests/export/requirements.txt install" "$log/venv"
        return 1
    fi
}

# kept WHAT NAME COMMAND...: as tap, and its lines are kept for the report
kept() {
    local what=$1 name=$2
    shift 2
    tap "$what" "$@"
    cp "$log/tap" "$log/rows-$name"
}

conformance() {
    have_product conformance && export_python || return 0
    local otelcol
    otelcol=$(collector 2>"$log/collector") || not_ok "the Collector builds" "$log/collector"
    kept conformance conformance "$export_venv_python" tests/export/conformance.py --send "$sender" --exporter "$exporter" \
        ${otelcol:+--collector "$otelcol"}
}

hosts() {
    have_product hosts && export_python || return 0
    kept hosts hosts "$export_venv_python" tests/export/hosts.py --build build-test ${long:+--long}
    tap "an OpenSSL of its own" "$export_venv_python" tests/export/own_openssl.py --build build-test
}

chaos() {
    have_product chaos && export_python || return 0
    kept chaos chaos "$export_venv_python" tests/export/chaos.py --build build-test --seconds "$([[ $long ]] && echo 30 || echo 3)" \
        ${long:+--latency}
}

failing() {
    have_product "a receiver that refuses" && export_python || return 0
    tap "a receiver that refuses" "$export_venv_python" tests/export/failing.py --build build-test
}

# The rows of the checklist, each with the tests that show it: those above, and the unit tests, asked once more by name.
conformance_report() {
    have_product "the conformance report" && export_python || return 0
    local name file
    for name in conformance hosts chaos; do
        if [[ $long && ! -s $log/rows-$name && -s $long_kept/$name.log ]]; then cp "$long_kept/$name.log" "$log/rows-$name"; fi
        [[ -s $log/rows-$name ]] && continue
        skip "the conformance report" "it wants the step $name in the same run"
        return 0
    done
    for name in test-config test-exporter test-http_span test-span; do
        file=$(find build-test/tests/unit -name "$name" -type f -perm -u+x | head -n 1)
        [[ ! $file ]] || "$file" --tap -j1 >"$log/rows-$name" 2>/dev/null || true
    done
    # The fork storm, from what meson's tests printed if they ran.
    /usr/bin/python3 -c 'import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    print(json.loads(line).get("stdout") or "")' build-test/meson-logs/testlog.json >"$log/rows-unit" 2>/dev/null || true
    if ! grep -q 'all span ids differ' "$log/rows-unit"; then
        /usr/bin/python3 tests/fork/run_storm.py build-test/tests/fork/{storm,fixture_processor,storm_without_lock} --children 300 \
            >"$log/rows-unit" 2>/dev/null || true
    fi
    tap "conformance report" "$export_venv_python" tests/export/report.py --out docs/otel-conformance-report.md "$log"/rows-*
}
