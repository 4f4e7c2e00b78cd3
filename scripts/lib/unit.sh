# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: builds, and the tests meson knows.

# configure DIRECTORY MESON_OPTION...: sets a build directory up, or up again if its options changed
configure() {
    local directory=$1
    shift
    if [[ -e $directory/build.ninja && $(cat "$directory/options" 2>/dev/null) == "$*" ]]; then return 0; fi
    rm -rf "$directory"
    meson setup "$directory" "$@" && printf '%s\n' "$*" >"$directory/options"
}

# The static libraries of the exporter: their own script builds and keeps them.
exporter_libs() {
    [[ -x scripts/build-exporter-libs ]] || return 0
    scripts/build-exporter-libs | tail -n 1
}

# count_meson FOLDER PREFIX: adds up what `meson test` just did there
count_meson() {
    local verdict what
    while IFS=$'\t' read -r verdict what; do
        case $verdict in
        pass) passed=$((passed + 1)) ;;
        skip) skip "$2$what" "said by the test" ;;
        *) not_ok "$2$what" ;;
        esac
    done < <(/usr/bin/python3 scripts/lib/meson_counts.py "$1/meson-logs/testlog.json")
}

# meson_tests FOLDER PREFIX ARGUMENT...: runs the tests that the arguments of `meson test` select (all without)
meson_tests() {
    local folder=$1 prefix=$2
    shift 2
    rm -f "$folder/meson-logs/testlog.json"
    meson test -C "$folder" --print-errorlogs "$@" 2>&1 | grep -v '^ninja: ' || true
    if [[ $long ]]; then grep -hE '^# .*(seed|children)' "$folder/meson-logs/testlog.txt" || true; fi
    if [[ -s $folder/meson-logs/testlog.json ]]; then
        count_meson "$folder" "$prefix"
    else
        not_ok "${prefix}meson test ran something" "$folder/meson-logs/testlog.txt"
    fi
}

build_product() {
    local libs
    libs=$(exporter_libs 2>"$log/libs") || {
        not_ok "the exporter's static libraries build" "$log/libs"
        return 1
    }
    if ! configure build-test ${libs:+-Dexporter_libs="$libs"} >"$log/setup" 2>&1; then
        not_ok "meson setup" "$log/setup"
        return 1
    fi
    if ninja -C build-test >"$log/ninja" 2>&1; then ok "everything builds without a warning"; else
        not_ok "everything builds without a warning" "$log/ninja"
        return 1
    fi
}

unit() { meson_tests build-test ""; }

# sanitized FOLDER PREFIX SANITIZERS
sanitized() {
    local folder=$1 prefix=$2
    if ! { configure "$folder" -Dexporter=system -Db_sanitize="$3" -Db_lundef=false && ninja -C "$folder"; } \
        >"$log/sanitized" 2>&1; then
        not_ok "${prefix}builds" "$log/sanitized"
        return 0
    fi
    # Suite unit: a sanitizer's runtime wants to come first in a process, and a preload does too.
    meson_tests "$folder" "$prefix" --suite unit
}

asan() {
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        sanitized build-test-asan "asan+ubsan: " address,undefined
}

# The tests with threads, under a runner of their own: see tests/tsan/.
tsan() {
    if ! { configure build-test-tsan -Dexporter=system -Db_sanitize=thread -Db_lundef=false && ninja -C build-test-tsan tsan-programs; } \
        >"$log/tsan" 2>&1; then
        not_ok "tsan: builds" "$log/tsan"
        return 0
    fi
    meson_tests build-test-tsan "tsan: " --no-rebuild --suite tsan
}

exporter_system() {
    if ! configure build-test-system -Dexporter=system -Dtests=false >"$log/system" 2>&1; then
        not_ok "exporter=system: meson setup" "$log/system"
        return 0
    fi
    try "exporter=system: builds without a warning" ninja -C build-test-system
}
