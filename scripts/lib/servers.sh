# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: real servers traced into a real Collector.

servers() {
    local otelcol
    if ! otelcol=$(collector 2>"$log/collector"); then
        not_ok "the Collector builds" "$log/collector"
        return 0
    fi
    ok "the Collector builds"
}
