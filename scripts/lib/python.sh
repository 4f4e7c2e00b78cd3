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

# The SDK built in the master, without hooks. In the long mode each way to fail is tried without forkspan, too.
python_sdk() {
    have_product "the SDK in a master" && servers_python && sdk_python && the_collector || return 0
    local size=(--requests 400)
    if [[ $long ]]; then size=(--requests 6000 --controls 10); fi
    tap "python sdk" "$sdk" tests/python/sdk.py --collector "$otelcol" --forkspan "$command" "${size[@]}" \
        --gunicorn "$(dirname "$sdk")/gunicorn" "uWSGI 2.0.31:$(dirname "$python")/uwsgi -H $(dirname "$(dirname "$sdk")")" \
        "Debian's uWSGI:/usr/bin/uwsgi --plugin python3 -H $(dirname "$(dirname "$sdk")")"
}
