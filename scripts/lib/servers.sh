# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: real servers, traced into a real Collector.

# servers_python: sets $python to that of the tests' virtual environment, once
servers_python() {
    [[ ${python-} ]] && return 0
    if ! python=$(test_python); then
        python=
        not_ok "the Python packages of tests/servers/requirements.txt install" "$log/venv"
        return 1
    fi
}

# the_collector: sets $otelcol, once
the_collector() {
    [[ ${otelcol-} ]] && return 0
    if ! otelcol=$(collector 2>"$log/collector"); then
        otelcol=
        not_ok "the Collector builds" "$log/collector"
        return 1
    fi
    ok "the Collector builds"
}

# The table of docs/servers.md is of a whole run of the long mode.
ledger() {
    local table=()
    the_collector && servers_python || return 0
    tap "ledger's control" "$python" tests/servers/ledger.py --self-test
    have_product "ledger" || return 0
    if [[ $long ]]; then table=(--table docs/servers.md); fi
    tap ledger "$python" tests/servers/ledger.py --collector "$otelcol" --forkspan "$command" "${table[@]}" \
        --requests "$([[ $long ]] && echo 21500 || echo 2000)"
}

# sdk_python: sets $sdk to the python3 of applications with an OpenTelemetry SDK inside, once
sdk_python() {
    [[ ${sdk-} ]] && return 0
    if ! sdk=$(test_python tests/servers/sdk-requirements.txt); then
        sdk=
        not_ok "the Python packages of tests/servers/sdk-requirements.txt install" "$log/venv"
        return 1
    fi
}

chain() {
    have_product "chain" && the_collector && sdk_python || return 0
    tap chain "$sdk" tests/servers/chain.py --collector "$otelcol" --forkspan "$command" \
        --requests "$([[ $long ]] && echo 2000 || echo 100)"
}

bad_input() {
    have_product "bad input" && servers_python || return 0
    tap "bad input" "$python" tests/servers/bad_input.py --forkspan "$command" --random "$([[ $long ]] && echo 1000 || echo 40)"
}

nesting() {
    have_product "nesting" && servers_python || return 0
    tap nesting "$python" tests/servers/nesting.py --forkspan "$command"
}

transparent() {
    have_product "transparency" && servers_python || return 0
    tap transparency "$python" tests/servers/transparent.py --forkspan "$command"
}

# The command that looks has the sanitizers in it where they were built.
status() {
    local looks=()
    have_product "status" && the_collector && servers_python || return 0
    if [[ -d build-test-asan ]] && ninja -C build-test-asan cli/forkspan >"$log/asan-forkspan" 2>&1; then
        looks=(--status build-test-asan/cli/forkspan)
    fi
    tap status "$python" tests/servers/status.py --collector "$otelcol" --forkspan "$command" "${looks[@]}" \
        --scribble "$([[ $long ]] && echo 60 || echo 4)"
    tap summary "$python" tests/servers/summary.py --collector "$otelcol" --forkspan "$command" --prefork build-test/tests/kill/prefork
}

c_api() {
    local spans
    have_product "C API" && servers_python || return 0
    spans=$([[ $long ]] && echo 20000 || echo 1000)
    tap "C API" "$python" tests/api/property.py build-test/tests/api/api_play "$preload" --spans "$spans"
    tap "C example" "$python" tests/api/example.py "$command" "$preload"
}

decode() {
    have_product "decoder" && servers_python || return 0
    tap decoder "$python" tests/export/decode.py --forkspan "$command" --requests "$([[ $long ]] && echo 2000 || echo 200)"
}

inherited() {
    have_product "inherited sockets" && servers_python || return 0
    tap "inherited sockets" "$python" tests/servers/inherited.py --preload "$preload"
}

uwsgi_example() {
    have_product "examples/uwsgi" && the_collector && servers_python || return 0
    tap "examples/uwsgi" "$python" tests/servers/example.py --collector "$otelcol" --forkspan "$command" \
        --uwsgi "$(dirname "$python")/uwsgi"
}
