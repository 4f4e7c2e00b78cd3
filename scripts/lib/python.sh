# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: servers that host CPython and fork in C.

python_package() {
    have_product "the Python package" && servers_python || return 0
    tap "python package" "$python" tests/python/package.py --forkspan "$command" --preload "$preload" \
        --spans "$([[ $long ]] && echo 20000 || echo 400)" --requests "$([[ $long ]] && echo 5000 || echo 300)"
}

python_hooks() {
    have_product "Python's fork hooks" && servers_python || return 0
    tap "python hooks" "$python" tests/python/uwsgi_hooks.py --preload "$preload" --boots "$([[ $long ]] && echo 2000 || echo 200)" \
        --gunicorn "$(dirname "$python")/gunicorn" "uWSGI 2.0.31:$(dirname "$python")/uwsgi" \
        "Debian's uWSGI:/usr/bin/uwsgi --plugin python3"
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
    local size=(--requests 400) old venv
    if [[ $long ]]; then size=(--requests 10000 --controls 10 --kept "$long_kept/python_sdk.runs"); fi
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
