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
        --build build-test/tests/kill --kills "$([[ $long ]] && echo 20 || echo 1)"
}
