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
