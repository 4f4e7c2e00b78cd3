# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: the long mode, which can be taken up again, and its report.
#
# What a step said and counted is kept in the cache under the commit it was run at. A second `scripts/test --long` at
# the same commit repeats only the steps that failed or were cut off.

long_report=docs/long-run.md

# long_begin: a changed tree has no commit to be reported under
long_begin() {
    [[ $long ]] || return 0
    long_commit=$(git rev-parse --short=12 HEAD)
    if [[ $(git status --porcelain -- . ":!$long_report" ":!docs/servers.md") ]]; then long_commit+=-changed; fi
    long_kept=$cache/long/$long_commit
    mkdir -p "$long_kept"
    if [[ $long_commit == *-changed ]]; then rm -f "$long_kept"/*.done; fi
}

# long_step NAME FUNCTION
long_step() {
    local name=$1 before_passed=$passed before_failed=$failed before_skipped=$skipped began=$SECONDS
    if [[ -e $long_kept/$name.done ]]; then
        local p s
        read -r p s _ <"$long_kept/$name.done"
        passed=$((passed + p)) skipped=$((skipped + s))
        printf '# %s: %d passed, %d skipped at this commit, kept\n' "$name" "$p" "$s"
        return 0
    fi
    # A function in a pipe would count in a process of its own.
    exec 3>&1 > >(tee "$long_kept/$name.log")
    local tee=$!
    "$2"
    exec >&3 3>&-
    wait "$tee" || true
    if ((failed == before_failed)); then
        printf '%d %d %d %s\n' $((passed - before_passed)) $((skipped - before_skipped)) $((SECONDS - began)) \
            "$(date -u +%Y-%m-%dT%H:%MZ)" >"$long_kept/$name.done"
    fi
}

# long_found NAME: where the step's last pass is kept, of this commit or else of the newest other one; or nothing
long_found() {
    local folder
    for folder in "$long_kept" $(ls -td "$cache"/long/*/ 2>/dev/null); do
        folder=${folder%/}
        [[ $folder == *-changed && $folder != "$long_kept" ]] && continue
        if [[ -e $folder/$1.done ]]; then
            echo "$folder/$1"
            return 0
        fi
    done
}

# long_end: the report, of each step's last pass
long_end() {
    [[ $long ]] || return 0
    local name p s seconds when found
    {
        printf '<!-- SPDX-License-Identifier: Apache-2.0 -->\n# The long run\n\n`scripts/test --long`, each step at the commit it last passed at; written at commit %s, %s.\n\n' "$long_commit" "$(date -u +%Y-%m-%d)"
        printf 'Measured on %s, %s cores, Linux %s, %s.\n\n' \
            "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r | cut -d- -f1)" \
            "$(ldd --version | head -n 1 | sed 's/^ldd //')"
        printf '| step | passed | skipped | seconds | ended | commit |\n|---|---|---|---|---|---|\n'
        for entry in "${steps[@]}"; do
            name=${entry%%:*}
            found=$(long_found "$name")
            if [[ $found ]]; then
                read -r p s seconds when <"$found.done"
                printf '| %s | %s | %s | %s | %s | %s |\n' "$name" "$p" "$s" "$seconds" "$when" "$(basename "$(dirname "$found")")"
            else
                printf '| %s | not run here, or not passed | | | | |\n' "$name"
            fi
        done
        printf '\nSeeds, sizes and controls, as printed:\n\n'
        for entry in "${steps[@]}"; do
            name=${entry%%:*}
            found=$(long_found "$name")
            [[ $found && -e $found.log ]] || continue
            sed -n -E -e "s/^# (.*(seed|requests in|kills, beside|children|seconds of|half-range).*)$/- $name: \1/p" \
                -e "s/^ok [0-9]+ - (.*(without forkspan.* of |workers come up|runs:).*)$/- $name: \1/p" "$found.log"
        done
    } >"$long_report"
    say "report: $long_report"
}
