# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: servers that host CPython and fork in C.

python_package() {
    have_product "the Python package" && servers_python || return 0
    tap "python package" "$python" tests/python/package.py --forkspan "$command" --preload "$preload" \
        --spans "$([[ $long ]] && echo 20000 || echo 400)" --requests "$([[ $long ]] && echo 5000 || echo 300)" --controls "$([[ $long ]] && echo 10 || echo 1)"
}

# other_pythons: prints the folders of the oldest and the newest of this machine's Pythons, besides Debian's, that have a
# library and are of a version that is supported; the long mode takes all of them
other_pythons() {
    compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.*/lib/libpython3.[0-9]*.so" | grep -E '/versions/3\.([89]|[1-9][0-9])\.' | sort -V |
        if [[ $long ]]; then cat; else sed -n '1p; $p'; fi | sed 's|/lib/[^/]*$||'
}

python_hooks() {
    local home version host pythons
    have_product "Python's fork hooks" && servers_python || return 0
    tap "python hooks" "$python" tests/python/uwsgi_hooks.py --preload "$preload" --boots "$([[ $long ]] && echo 2000 || echo 200)" \
        --gunicorn "$(dirname "$python")/gunicorn" "uWSGI 2.0.31:$(dirname "$python")/uwsgi" \
        "Debian's uWSGI:/usr/bin/uwsgi --plugin python3"
    # meson's test has Debian's own.
    mapfile -t pythons < <(other_pythons)
    ((${#pythons[@]})) || skip "Python's fork hooks in other versions" "no other Python with a library here"
    for home in "${pythons[@]}"; do
        version=$(basename "$home") host=$log/host
        # shellcheck disable=SC2046
        if gcc -rdynamic -Iinclude -o "$host" tests/python/embed.c $("$home/bin/python3-config" --includes) -L"$home/lib" \
            -Wl,-rpath,"$home/lib" "-lpython${version%.*}" -lpthread -ldl >"$log/embed" 2>&1; then
            tap "python hooks, $version" /usr/bin/python3 tests/python/embed.py "$host" "$PWD/$preload" "$home"
        else
            not_ok "a host of Python $version builds" "$log/embed"
        fi
    done
}

# cpython_suite: prints where the tests of Debian's own Python are, unpacked beside what its library has of them
cpython_suite() {
    local version folder
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    folder=$cache/cpython-tests-$(dpkg-query -W -f '${Version}' "libpython$version-stdlib") || return 1
    if [[ ! -e $folder/complete ]]; then
        rm -rf "$folder"
        mkdir -p "$folder/deb"
        (cd "$folder/deb" && { apt-get -q download "libpython$version-testsuite" ||
            { apt-get -q update && apt-get -q download "libpython$version-testsuite"; }; }) >"$log/suite" 2>&1 || return 1
        cp -r "/usr/lib/python$version/test" "$folder/"
        dpkg -x "$folder"/deb/*.deb "$folder/deb" && cp -rn "$folder/deb/usr/lib/python$version/test" "$folder/" || return 1
        rm -r "$folder/deb"
        touch "$folder/complete"
    fi
    echo "$folder"
}

# In the long mode also of the newest Python that has its own tests with it.
python_itself() {
    local suite newest
    have_product "CPython's own tests" || return 0
    if ! suite=$(cpython_suite); then
        skip "CPython's own tests" "the package of Debian's libpython testsuite can not be had: $(tail -n 1 "$log/suite")"
        return 0
    fi
    tap "CPython's own tests" /usr/bin/python3 tests/python/cpython.py --preload "$preload" --python /usr/bin/python3 --suite "$suite" ${long:+--long}
    newest=$(other_pythons | tail -n 1)
    if [[ $long && -e $newest/bin/python3 ]]; then
        tap "CPython's own tests" /usr/bin/python3 tests/python/cpython.py --preload "$preload" --python "$newest/bin/python3" --long
    fi
}

# old_python: prints a Python 3.8 that runs, for the SDK from before it looked after forks; nothing if there is none
old_python() {
    local candidate
    for candidate in "$(command -v python3.8)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.8.*/bin/python3.8; do
        if "$candidate" -c 'import venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# The SDK built in the master, without hooks. In the long mode each way to fail is tried without forkspan, too.
python_sdk() {
    have_product "the SDK in a master" && servers_python && sdk_python && the_collector || return 0
    local size=(--requests 400 --parallel 3) old venv
    if [[ $long ]]; then size=(--requests 10000 --controls 10 --parallel 2 --kept "$long_kept/python_sdk.runs"); fi
    old=$(old_python)
    if [[ $old ]]; then
        if venv=$(test_python tests/python/old-sdk-requirements.txt "$old"); then
            size+=(--old-gunicorn "$(dirname "$venv")/gunicorn")
        else
            not_ok "the Python packages of tests/python/old-sdk-requirements.txt install" "$log/venv"
        fi
    fi
    tap "python sdk" "$sdk" tests/python/sdk.py --collector "$otelcol" --forkspan "$command" "${size[@]}" \
        --gunicorn "$(dirname "$sdk")/gunicorn" "uWSGI 2.0.31:$(dirname "$python")/uwsgi -H $(dirname "$(dirname "$sdk")")" \
        "Debian's uWSGI:/usr/bin/uwsgi --plugin python3 -H $(dirname "$(dirname "$sdk")")"
}
