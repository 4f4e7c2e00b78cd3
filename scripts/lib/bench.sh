# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: the measurements run; what comes out is no pass or fail here, and in the short mode means
# nothing at all. bench/run writes the report that counts, on a machine that does nothing else.

bench() {
    have_product "bench" && servers_python || return 0
    if ! ninja -C build-test bench-programs >"$log/bench" 2>&1; then
        not_ok "bench: its programs build" "$log/bench"
        return 0
    fi
    local size=--tiny
    if [[ $long ]]; then size=; fi
    try "bench: every figure can be had" "$python" bench/measure.py --build build-test --report "$log/bench.md" ${size:+"$size"}
    if [[ $long && -s $log/bench.md ]]; then sed 's/^/# /' "$log/bench.md"; fi
}
