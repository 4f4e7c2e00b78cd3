# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: what was tried, what came out, and the counts at the end.

passed=0
failed=0
skipped=0
failures=()

say() { printf '%s\n' "== $*"; }

ok() {
    passed=$((passed + 1))
    printf 'ok - %s\n' "$1"
}

# not_ok WHAT [FILE]: the end of FILE is shown
not_ok() {
    failed=$((failed + 1))
    failures+=("$1")
    printf 'not ok - %s\n' "$1"
    if [[ ${2-} && -s $2 ]]; then tail -n 60 "$2" | sed 's/^/# /'; fi
}

skip() {
    skipped=$((skipped + 1))
    printf 'ok - %s # SKIP %s\n' "$1" "$2"
}

# try WHAT COMMAND...: one test; its output is shown only if it fails
try() {
    local what=$1
    shift
    if "$@" >"$log/try" 2>&1; then ok "$what"; else not_ok "$what (exit code $?)" "$log/try"; fi
}

# tap WHAT COMMAND...: a program that prints TAP; its points are counted, and its death as one failure more
tap() {
    local what=$1 code=0 line points=0 bad=0
    shift
    "$@" 2>&1 | tee "$log/tap" || code=${PIPESTATUS[0]}
    while IFS= read -r line; do
        case $line in
        'not ok '*)
            points=$((points + 1)) bad=$((bad + 1)) failed=$((failed + 1))
            failures+=("$what: ${line#not ok }")
            ;;
        'ok '*' # SKIP '*) points=$((points + 1)) skipped=$((skipped + 1)) ;;
        'ok '*) points=$((points + 1)) passed=$((passed + 1)) ;;
        esac
    done <"$log/tap"
    if ((code && !bad)) || ((!points)); then not_ok "$what ended with exit code $code after $points points"; fi
}

# step NAME FUNCTION: runs it if --only allows; says how long it took
step() {
    [[ $1 =~ $only ]] || return 0
    local began=$SECONDS
    say "$1"
    if [[ $long ]]; then long_step "$1" "$2"; else "$2"; fi
    printf '# %s: %d s\n' "$1" $((SECONDS - began))
}

# at_exit: a step that ends the script (set -e) is a failure like any other, and the counts are there all the same
at_exit() {
    local code=$?
    rm -rf "$log"
    if [[ ! ${finished-} && ! $list ]] && ((code)); then
        failed=$((failed + 1))
        printf 'failed: scripts/test itself ended with exit code %d\n' "$code"
        printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    fi
}

finish() {
    local failure
    finished=1
    for failure in "${failures[@]}"; do printf 'failed: %s\n' "$failure"; done
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    ((failed == 0 && passed > 0))
}
