# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: the fork matrix and what belongs to it.

matrix_arguments() {
    printf '%s\n' --driver "$1/tests/fork/matrix" --preload "$1/shim/libforkspan.so" --libraries "$1/tests/fork"
}

fork_matrix() {
    local arguments page=()
    have_product "fork matrix" || return 0
    mapfile -t arguments < <(matrix_arguments build-test)
    # The page is of a run of the whole table; one that fails leaves the old page.
    page=(--page "$log/fork-matrix.md" --repeat "$([[ $long ]] && echo 20 || echo 1)")
    local before=$failed
    tap "fork matrix" /usr/bin/python3 tests/fork/run_matrix.py "${arguments[@]}" "${page[@]}"
    if ((failed == before)) && [[ -s $log/fork-matrix.md ]]; then cp "$log/fork-matrix.md" docs/fork-matrix.md; fi
}

# A build of its own, in which a protection can be taken away: shim/fork/knobs.h.
protections() {
    local arguments libs name found
    libs=$(exporter_libs 2>"$log/libs")
    if ! { configure build-test-knobs ${libs:+-Dexporter_libs="$libs"} -Dtest_knobs=true &&
        ninja -C build-test-knobs shim/libforkspan.so exporter/forkspan-exporter.so cli/forkspan tests/fork/matrix \
            tests/fork/libwrap.so tests/fork/libearly.so; } >"$log/knobs" 2>&1; then
        not_ok "test_knobs=true builds" "$log/knobs"
        return 0
    fi
    # A release has neither the names nor the variable; the same look finds them where they are.
    for name in build-test build-test-knobs; do
        found=$({ strings -a "$name/shim/libforkspan.so" | grep -c -e FORKSPAN_TEST_OFF -e ever_resting -e queue_nesting
            nm -a "$name/shim/libforkspan.so" | grep -c -e knob_off -e knobs_init; } | tr '\n' ' ')
        if [[ $name == build-test ]]; then
            is "a release has no knobs (strings and symbols of them)" "$found" "0 0 "
        elif [[ $found == *0\ * ]]; then
            not_ok "control: a build with test_knobs=true has them ($found)"
        else
            ok "control: a build with test_knobs=true has them ($found)"
        fi
    done
    mapfile -t arguments < <(matrix_arguments build-test-knobs)
    tap protections /usr/bin/python3 tests/fork/protections.py "${arguments[@]}"
}

tools() {
    have_product "everyday tools" || return 0
    tap "everyday tools" /usr/bin/python3 tests/transparent/tools.py --preload "$preload" --repeat "$([[ $long ]] && echo 20 || echo 1)"
}

# regression_on NAME SECONDS [OPTION...] -- COMMAND...: scripts/deadlock-regression, which must come out clean
regression_on() {
    local name=$1 seconds=$2
    shift 2
    try "deadlock-regression: $name, $seconds s" scripts/deadlock-regression --forkspan "$command" --seconds "$seconds" \
        --forks "$((seconds / 2 + 2))" "$@"
}

regression() {
    local seconds=5 port uwsgi
    have_product "deadlock-regression" && servers_python || return 0
    tap "deadlock-regression" /usr/bin/python3 tests/fork/regression_demo.py --forkspan "$command"
    if [[ $long ]]; then seconds=600; fi
    free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
    port=$(free_port)
    regression_on gunicorn "$seconds" --url "http://127.0.0.1:$port/200/fixed/x" -- "$python" -m gunicorn --workers 4 \
        --bind "127.0.0.1:$port" --chdir tests/servers app:application
    port=$(free_port)
    uwsgi=$(dirname "$python")/uwsgi
    if [[ -x $uwsgi ]]; then
        regression_on uWSGI "$seconds" --stop INT --url "http://127.0.0.1:$port/200/fixed/x" -- "$uwsgi" --master --processes 4 \
            --http-socket "127.0.0.1:$port" --need-app --chdir tests/servers --module app:application --die-on-term \
            --worker-reload-mercy 5 --reload-mercy 5
    else
        skip "deadlock-regression: uWSGI" "not in the tests' virtual environment"
    fi
    if [[ $long ]]; then regression_long "$seconds"; fi
}

fork_storms() {
    local otelcol
    have_product "fork storms" || return 0
    if ! otelcol=$(collector 2>"$log/collector"); then
        not_ok "the Collector builds" "$log/collector"
        return 0
    fi
    tap "storm into the Collector" /usr/bin/python3 tests/fork/collector_storm.py --storm build-test/tests/fork/storm \
        --fixture build-test/tests/fork/fixture_processor --collector "$otelcol" --children "$([[ $long ]] && echo 100000 || echo 5000)"
    tap "storm of names" /usr/bin/python3 tests/fork/resolve_storm.py --program build-test/tests/fork/resolve_storm \
        --preload "$preload" --children "$([[ $long ]] && echo 10000 || echo 1500)"
}

# Prints a python3 that has ziglang, whose compiler aims at any glibc.
zig_python() {
    local venv=$cache/zig-0.13.0
    if [[ ! -e $venv/complete ]]; then
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv" >"$log/zig" 2>&1 || return 1
        "$venv/bin/pip" install -q --disable-pip-version-check ziglang==0.13.0 >>"$log/zig" 2>&1 || return 1
        touch "$venv/complete"
    fi
    echo "$venv/bin/python3"
}

portability() {
    local zig
    have_product portability || return 0
    zig=$(zig_python) || zig=
    tap portability /usr/bin/python3 tests/portability/run.py --build build-test --work build-test/portability ${zig:+--zig "$zig"}
}

# The figures are of a quiet machine, so in the long mode only; instructions are the same anywhere.
fork_cost() {
    local few=()
    have_product "cost of a fork" || return 0
    [[ $long ]] || few=(--counts-only)
    tap "cost of a fork" /usr/bin/python3 bench/fork.py --program build-test/bench/fork --preload "$preload" "${few[@]}"
}
