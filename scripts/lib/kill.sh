# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: workers that die, traced into a real Collector.

kill_matrix() {
    local otelcol
    if ! otelcol=$(collector 2>"$log/collector"); then
        not_ok "the Collector builds" "$log/collector"
        return 0
    fi
    have_product "kill matrix" && servers_python || return 0
    tap "kill matrix's control" "$python" tests/kill/matrix.py --self-test
    tap "kill matrix" "$python" tests/kill/matrix.py --collector "$otelcol" --forkspan "$command" \
        --prefork build-test/tests/kill/prefork --kills "$([[ $long ]] && echo 20 || echo 1)"
}

# A permanent process sends: the ledger and the kill matrix once more, of some servers.
export_process() {
    local cells='^(sync|uwsgi-http-socket|clone)$' matrix='prefork' kills=1 requests=1000
    have_product "FORKSPAN_EXPORT=process" && the_collector && servers_python || return 0
    if [[ $long ]]; then cells=. matrix='' kills=20 requests=21500; fi
    tap "ledger, FORKSPAN_EXPORT=process" "$python" tests/servers/ledger.py --collector "$otelcol" --forkspan "$command" \
        --export process --only "$cells" --requests "$requests"
    tap "kill matrix, FORKSPAN_EXPORT=process" "$python" tests/kill/matrix.py --collector "$otelcol" --forkspan "$command" \
        --prefork build-test/tests/kill/prefork --export process --only "$matrix" --kills "$kills"
    if [[ -z $long ]]; then
        tap "kill matrix, FORKSPAN_EXPORT=process" "$python" tests/kill/matrix.py --collector "$otelcol" --forkspan "$command" \
            --prefork build-test/tests/kill/prefork --export process --only "gunicorn sync" --kills "$kills"
    fi
}

# A process for each request.
each() {
    have_product "a process for each request" && the_collector || return 0
    tap "a process for each request" /usr/bin/python3 tests/kill/run_each.py --collector "$otelcol" --forkspan "$command" \
        --each build-test/tests/kill/each ${long:+--all}
}
