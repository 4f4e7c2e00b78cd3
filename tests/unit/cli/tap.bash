# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by the tests beside it with their words: the command, the stand-in library, the terminal.
forkspan=$(realpath "$1")
library=$(realpath "$2")
terminal=$(realpath "$3")
export FORKSPAN_LIBRARY=$library
unset LD_PRELOAD OTEL_SERVICE_NAME OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_TRACES_EXPORTER
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit
count=0

# is GOT WANTED WHAT
is() {
    count=$((count + 1))
    if [[ $1 == "$2" ]]; then
        echo "ok $count - $3"
    else
        echo "not ok $count - $3"
        printf '# wanted: %q\n# got:    %q\n' "$2" "$1"
    fi
}

# has TEXT PART WHAT
has() {
    if [[ $1 == *"$2"* ]]; then is yes yes "$3"; else is "$1" "...$2..." "$3"; fi
}

skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# eventually COMMAND...: true as soon as COMMAND is, false if it is not within ten seconds
eventually() {
    local deadline=$((SECONDS + 10))
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.02
    done
}

# state PID: the letter of /proc, or "gone"
state() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || { echo gone; return; }
    line=${line##*) }
    echo "${line%% *}"
}
state_is() { [[ $(state "$1") == "$2" ]]; }
# ended PID: gone, or a zombie that its parent has not looked at yet
ended() { [[ $(state "$1") == @(gone|Z) ]]; }
child_of() { tr -d " " <"/proc/$1/task/$1/children"; }

plan() { echo "1..$count"; }
