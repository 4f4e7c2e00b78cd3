# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: Debian packages, and the Python packages of the end-to-end tests.

packages=(meson ninja-build gcc g++ libc6-dev clang libclang-rt-14-dev clang-format clang-tidy cppcheck libcriterion-dev libprotobuf-c-dev
    protobuf-c-compiler libssl-dev zlib1g-dev libcurl4-openssl-dev libc-ares-dev pkg-config valgrind gdb wrk nginx-light apache2-bin php-fpm
    libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 openssl iproute2
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user musl-tools
    nodejs python3 python3-venv python3-dev libpcre2-dev uwsgi-core uwsgi-plugin-python3
    gunicorn python3-gevent python3-eventlet curl ca-certificates binutils procps util-linux bash)

install_packages() {
    local missing=() package become=() policy=/usr/sbin/policy-rc.d
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    ((EUID)) && become=(sudo)
    # A packaged server must not start by itself: it would hold ports and memory the tests count.
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee "$policy" >/dev/null
        "${become[@]}" chmod 755 "$policy"
        policy_is_ours=1
    fi
    become+=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    local code=0
    { "${become[@]}" update && "${become[@]}" install --no-install-recommends "${missing[@]}"; } >"$log/apt" 2>&1 || code=1
    if [[ ${policy_is_ours-} ]]; then
        if ((EUID)); then sudo rm -f "$policy"; else rm -f "$policy"; fi
    fi
    if ((code)); then
        not_ok "apt-get installs ${missing[*]}" "$log/apt"
        finish
        exit 1
    fi
}

# test_python [FILE [PYTHON]]: prints the python3 of a virtual environment with what FILE (tests/servers/requirements.txt)
# pins; made once for each state of it, and of that one, which others include.
test_python() {
    local base=$root/tests/servers/requirements.txt wanted=$root/${1-tests/servers/requirements.txt} venv
    if [[ $wanted == "$base" ]]; then
        venv=$cache/venv/$(sha256sum "$wanted" | cut -c1-16)
    else
        venv=$cache/venv/$(cat "$wanted" "$base" | sha256sum | cut -c1-16)
    fi
    if [[ ! -e $venv/complete ]]; then
        rm -rf "$venv"
        "${2-/usr/bin/python3}" -m venv "$venv" >"$log/venv" 2>&1 || return 1
        "$venv/bin/pip" install -q --disable-pip-version-check -r "$wanted" >>"$log/venv" 2>&1 || return 1
        touch "$venv/complete"
    fi
    echo "$venv/bin/python3"
}
