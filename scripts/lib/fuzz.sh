# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: the libFuzzer targets of tests/fuzz/, each from its corpus and on for some seconds.

fuzz() {
    local seconds target name found
    seconds=$([[ $long ]] && echo 60 || echo 5)
    if ! { CC=clang configure build-test-fuzz -Dexporter=system -Dfuzz=true -Db_lundef=false &&
        ninja -C build-test-fuzz fuzz-targets; } >"$log/fuzz" 2>&1; then
        not_ok "the fuzz targets build" "$log/fuzz"
        return 0
    fi
    for target in build-test-fuzz/tests/fuzz/fuzz-*; do
        [[ -f $target && -x $target ]] || continue
        name=${target##*fuzz-}
        # What was found new goes into the build directory; what broke it is printed in base64.
        found=$(mktemp -d)
        try "fuzz: $name, its corpus and $seconds s more" "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
            -print_final_stats=1 -artifact_prefix="$found/" "$found" "tests/fuzz/$name-corpus"
        sed -n 's/^stat::number_of_executed_units: *\([0-9]*\)$/# '"$name"': \1 runs in '"$seconds"' seconds of fuzzing/p' "$log/try"
        rm -rf "$found"
    done
}
