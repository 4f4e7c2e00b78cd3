# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: workers and whole trees that die, traced into a real Collector.

kill_matrix() {
    local otelcol
    if ! otelcol=$(collector 2>"$log/collector"); then
        not_ok "the Collector builds" "$log/collector"
        return 0
    fi
    have_product "kill matrix" && servers_python || return 0
    tap "kill matrix's control" "$python" tests/kill/matrix.py --self-test
    tap "kill matrix" "$python" tests/kill/matrix.py --collector "$otelcol" --forkspan "$command" \
        --build build-test/tests/kill --kills "$([[ $long ]] && echo 20 || echo 1)"
}

# The arena in a file: trees that die whole, and their Collector meanwhile.
whole_trees() {
    have_product "whole trees" && the_collector && servers_python || return 0
    local size=(--rounds 1)
    if [[ $long ]]; then size=(--rounds 20 --down 120); fi
    tap "whole trees" "$python" tests/kill/tree.py --collector "$otelcol" --forkspan "$command" \
        --prefork build-test/tests/kill/prefork "${size[@]}"
}

# A permanent process sends: the ledger and the kill matrix once more, of some servers.
export_process() {
    local cells='^(sync|uwsgi-http-socket|clone)$' matrix='prefork' kills=1 requests=1000
    have_product "FORKSPAN_EXPORT=process" && the_collector && servers_python || return 0
    if [[ $long ]]; then cells=. matrix='' kills=20 requests=21500; fi
    tap "ledger, FORKSPAN_EXPORT=process" "$python" tests/servers/ledger.py --collector "$otelcol" --forkspan "$command" \
        --export process --only "$cells" --requests "$requests"
    tap "kill matrix, FORKSPAN_EXPORT=process" "$python" tests/kill/matrix.py --collector "$otelcol" --forkspan "$command" \
        --build build-test/tests/kill --export process --only "$matrix" --kills "$kills"
    if [[ -z $long ]]; then
        tap "kill matrix, FORKSPAN_EXPORT=process" "$python" tests/kill/matrix.py --collector "$otelcol" --forkspan "$command" \
            --build build-test/tests/kill --export process --only "gunicorn sync" --kills "$kills"
    fi
}

# A process for each request.
each() {
    have_product "a process for each request" && the_collector || return 0
    tap "a process for each request" /usr/bin/python3 tests/kill/run_each.py --collector "$otelcol" --forkspan "$command" \
        --preload "$preload" --each build-test/tests/kill/each --requests "$([[ $long ]] && echo 150 || echo 10)"
}
