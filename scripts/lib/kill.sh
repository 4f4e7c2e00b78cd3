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
