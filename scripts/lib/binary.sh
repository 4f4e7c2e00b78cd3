# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: what the built objects need, export and cost a process that does nothing.

preload=build-test/shim/libforkspan.so
exporter=build-test/exporter/forkspan-exporter.so
command=build-test/cli/forkspan

# have_product WHAT: says why not if the build has no such parts yet
have_product() {
    local part missing=()
    for part in "$preload" "$exporter" "$command"; do [[ -e $part ]] || missing+=("$part"); done
    ((${#missing[@]})) || return 0
    skip "$1" "not built: ${missing[*]}"
    return 1
}

needed() { readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' '; }

# is WHAT GOT WANTED
is() {
    printf 'got:    %s\nwanted: %s\n' "$2" "$3" >"$log/is"
    if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "$log/is"; fi
}

elf() {
    local flags strange
    if [[ ! -e $preload ]]; then
        skip "readelf of libforkspan.so" "not built: $preload"
    else
        is "libforkspan.so needs libc and nothing else" "$(needed "$preload")" "libc.so.6 "
        flags=$(readelf -dW "$preload" | grep 'FLAGS_1')
        if [[ $flags == *NODELETE* && $flags == *INITFIRST* ]]; then ok "libforkspan.so is NODELETE and INITFIRST"; else
            not_ok "libforkspan.so is NODELETE and INITFIRST: $flags"
        fi
        # The map is the list of what is interposed on purpose; whatever else the object exports would shadow the host's.
        strange=$(readelf --dyn-syms -W "$preload" | awk '$7 != "UND" && $5 != "LOCAL" && $8 ~ /./ && NR > 3 { sub(/@.*/, "", $8); print $8 }' |
            sort -u | grep -vE '^forkspan_' | grep -vxF -f <(sed -n '/global:/,/local:/p' shim/libforkspan.map |
                grep -oE '[A-Za-z_][A-Za-z0-9_]*;' | tr -d ';') || true)
        is "libforkspan.so exports the interposed names and forkspan_* only" "$strange" ""
        if readelf -dW "$preload" | grep -qE 'TEXTREL|BIND_NOW'; then
            not_ok "libforkspan.so binds lazily and has no text relocation"
        else
            ok "libforkspan.so binds lazily and has no text relocation"
        fi
    fi
    if [[ ! -e $exporter ]]; then
        skip "readelf of forkspan-exporter.so" "not built: $exporter"
    else
        is "forkspan-exporter.so needs libc and nothing else" "$(needed "$exporter")" "libc.so.6 "
    fi
}

# instructions [NAME=VALUE...] COMMAND...: how many it executes
instructions() {
    env "$@" 2>"$log/callgrind"
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$log/callgrind"
}

lightness() {
    local plain light seen
    if [[ ! -e $preload ]]; then
        skip "true under the preload" "not built: $preload"
        return 0
    fi
    local grind=(valgrind --tool=callgrind --callgrind-out-file=/dev/null /bin/true)
    plain=$(instructions "${grind[@]}") || plain=
    light=$(instructions LD_PRELOAD="$PWD/$preload" OTEL_SERVICE_NAME=x "${grind[@]}") || light=
    if [[ -n $plain && -n $light ]] && ((light * 100 <= plain * 125)); then
        ok "true under the preload: $light instructions against $plain ($((light * 100 / plain)) %)"
    else
        not_ok "true under the preload: $light instructions against $plain, at most 125 %" "$log/callgrind"
    fi
    # Counted from inside: one shell that lists itself, without a pipe that may be there still or not.
    # shellcheck disable=SC2016
    local look='set -- /proc/$$/fd/*; fds=$#; set -- /proc/$$/task/*; echo $fds fds, $# threads'
    seen=$(sh -c "$look")
    is "a shell under the preload has the fds and threads it has without ($seen)" \
        "$(LD_PRELOAD=$PWD/$preload OTEL_SERVICE_NAME=x sh -c "$look")" "$seen"
}
