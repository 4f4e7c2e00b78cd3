# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: what a new user does first; it checks itself that each request has its line.

quickstart() {
    try "scripts/quickstart: each request it sends has its line, from two workers at least" scripts/quickstart
    if [[ $long ]]; then fresh_machine; fi
}

# The same in a Debian with nothing installed, which takes minutes.
fresh_machine() {
    local what="scripts/quickstart on a machine with nothing installed" folder code=0
    if ((EUID)) || ! command -v debootstrap >/dev/null; then
        skip "$what" "it needs root and debootstrap"
        return 0
    fi
    folder=$(mktemp -d)
    fresh_quickstart "$folder" >"$log/fresh" 2>&1 || code=$?
    umount "$folder/proc" 2>/dev/null || true
    rm -rf "$folder"
    if ((code)); then not_ok "$what (exit code $code)" "$log/fresh"; else ok "$what"; fi
}

# fresh_quickstart FOLDER: how this machine reaches its registries is how that one does
fresh_quickstart() {
    local folder=$1 mirror file
    mirror=$(sed -n -E 's/^(URIs:|deb) *([a-z+]+:[^ ]*\/debian) .*/\2/p; s/^URIs: *([a-z+]+:[^ ]*\/debian)$/\1/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
    debootstrap --variant=minbase bookworm "$folder" "${mirror:-http://deb.debian.org/debian}" || return 1
    # The sources of packages are in the same place.
    cp -L /etc/resolv.conf "$folder/etc/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/outer-ca.crt" || return 1
    for file in /etc/apt/apt.conf.d/*; do
        if grep -qi proxy "$file" 2>/dev/null; then cp "$file" "$folder/etc/apt/apt.conf.d/"; fi
    done
    git clone -q "$root" "$folder/forkspan" && mount -t proc proc "$folder/proc" || return 1
    chroot "$folder" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_CERT=/etc/outer-ca.crt \
        PIP_INDEX_URL="${PIP_INDEX_URL-https://pypi.org/simple}" /forkspan/scripts/quickstart
}
