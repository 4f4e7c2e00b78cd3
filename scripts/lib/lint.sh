# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: checks that read the source and run nothing.

# Tracked files and those about to be, so that a check before a commit sees what the commit would bring.
sources() { git ls-files -co --exclude-standard -- "$@" | while IFS= read -r file; do [[ ! -e $file ]] || printf '%s\n' "$file"; done; }

format_check() {
    local files
    mapfile -t files < <(sources '*.c' '*.h')
    try "clang-format: all ${#files[@]} files are formatted" clang-format --dry-run -Werror "${files[@]}"
}

licence_check() {
    local without
    without=$(sources | grep -vE '(^|/)(LICENSE|go\.sum|\.gitignore|\.gitkeep)$|\.(json|png|svg|bin)$|corpus/' |
        xargs -d '\n' grep -LI 'SPDX-License-Identifier: Apache-2.0' || true)
    printf '%s\n' "$without" >"$log/spdx"
    if [[ -z $without ]]; then ok "every file has its SPDX line"; else not_ok "every file has its SPDX line" "$log/spdx"; fi
}

# glibc's NULL is a pointer also where an ellipsis takes it.
cppcheck_check() {
    try "cppcheck is clean" cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance \
        --inline-suppr --suppress=missingIncludeSystem --suppress=unknownMacro --std=c11 -j 2 -D__linux__ -D__x86_64__ \
        -D_GNU_SOURCE -DFORKSPAN_VERSION='"0"' -I shim -I exporter -I include \
        --suppress=missingReturn:tests/python/embed.c --suppress=varFuncNullUB:tests/unit/config/config_test.c shim exporter cli bench tests
}

# clang-tidy takes minutes of both cores, and most other steps wait most of their time: it begins behind the build, as
# the nicest process there is, and the step collects what it said.
tidy_begin() {
    [[ lint =~ $only && -e build-test/compile_commands.json ]] || return 0
    local folders=(shim exporter cli bench)
    if [[ $long ]]; then folders+=(tests); fi
    mapfile -t tidy_files < <(/usr/bin/python3 - "${folders[@]}" <<'P'
import json, os, sys
folders = sys.argv[1:]
seen = set()
for entry in json.load(open("build-test/compile_commands.json")):
    path = os.path.relpath(os.path.join(entry["directory"], entry["file"]))
    if path.endswith(".c") and not path.startswith(("build", "..")) and path.split("/")[0] in folders:
        seen.add(path)
print("\n".join(sorted(seen)))
P
    )
    printf '%s\n' "${tidy_files[@]}" | nice -n 19 xargs -d '\n' -P "$(nproc)" -n 4 clang-tidy -p build-test --quiet \
        '--warnings-as-errors=*' >"$log/tidy" 2>&1 &
    tidy_process=$!
}

tidy_check() {
    if [[ ! ${tidy_process-} ]]; then
        not_ok "clang-tidy is clean (no compile_commands.json: the build did not configure)"
        return 0
    fi
    if wait "$tidy_process"; then ok "clang-tidy is clean (${#tidy_files[@]} files)"; else
        not_ok "clang-tidy is clean (${#tidy_files[@]} files)" "$log/tidy"
    fi
}

lint() {
    format_check
    licence_check
    cppcheck_check
    tidy_check
}
