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
