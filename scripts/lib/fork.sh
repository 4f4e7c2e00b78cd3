# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/test: the fork matrix and what belongs to it.

matrix_arguments() {
    printf '%s\n' --driver "$1/tests/fork/matrix" --preload "$1/shim/libforkspan.so" --libraries "$1/tests/fork"
}

fork_matrix() {
    local arguments page=()
    have_product "fork matrix" || return 0
    mapfile -t arguments < <(matrix_arguments build-test)
    # The page is of a run of the whole table; one that fails leaves the old page.
    page=(--page "$log/fork-matrix.md" --repeat "$([[ $long ]] && echo 20 || echo 1)")
    local before=$failed
    tap "fork matrix" /usr/bin/python3 tests/fork/run_matrix.py "${arguments[@]}" "${page[@]}"
    if ((failed == before)) && [[ -s $log/fork-matrix.md ]]; then cp "$log/fork-matrix.md" docs/fork-matrix.md; fi
}

# A build of its own, in which a protection can be taken away: shim/fork/knobs.h.
protections() {
    local arguments libs name found
    libs=$(exporter_libs 2>"$log/libs")
    if ! { configure build-test-knobs ${libs:+-Dexporter_libs="$libs"} -Dtest_knobs=true &&
        ninja -C build-test-knobs shim/libforkspan.so exporter/forkspan-exporter.so cli/forkspan tests/fork/matrix \
            tests/fork/libwrap.so tests/fork/libearly.so; } >"$log/knobs" 2>&1; then
        not_ok "test_knobs=true builds" "$log/knobs"
        return 0
    fi
    # A release has neither the names nor the variable; the same look finds them where they are.
    for name in build-test build-test-knobs; do
        # grep says 1 where it counts 0
        found=$({ strings -a "$name/shim/libforkspan.so" | grep -c -e FORKSPAN_TEST_OFF -e ever_resting -e queue_nesting
            nm -a "$name/shim/libforkspan.so" | grep -c -e knob_off -e knobs_init; } | tr '\n' ' ') || true
        if [[ $name == build-test ]]; then
            is "a release has no knobs (strings and symbols of them)" "$found" "0 0 "
        elif [[ $found == *0\ * ]]; then
            not_ok "control: a build with test_knobs=true has them ($found)"
        else
            ok "control: a build with test_knobs=true has them ($found)"
        fi
    done
    mapfile -t arguments < <(matrix_arguments build-test-knobs)
    tap protections /usr/bin/python3 tests/fork/protections.py "${arguments[@]}"
}

tools() {
    have_product "everyday tools" || return 0
    tap "everyday tools" /usr/bin/python3 tests/transparent/tools.py --preload "$preload" --repeat "$([[ $long ]] && echo 20 || echo 1)"
}

# regression_on NAME SECONDS [OPTION...] -- COMMAND...: scripts/deadlock-regression, which must come out clean
regression_on() {
    local name=$1 seconds=$2
    shift 2
    try "deadlock-regression: $name, $seconds s" scripts/deadlock-regression --forkspan "$command" --seconds "$seconds" \
        --forks "$((seconds / 2 + 2))" "$@"
}

regression() {
    local seconds=5 port uwsgi
    have_product "deadlock-regression" && servers_python || return 0
    tap "deadlock-regression" /usr/bin/python3 tests/fork/regression_demo.py --forkspan "$command"
    if [[ $long ]]; then seconds=600; fi
    free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
    port=$(free_port)
    regression_on gunicorn "$seconds" --url "http://127.0.0.1:$port/200/fixed/x" -- "$python" -m gunicorn --workers 4 \
        --bind "127.0.0.1:$port" --chdir tests/servers app:application
    port=$(free_port)
    uwsgi=$(dirname "$python")/uwsgi
    if [[ -x $uwsgi ]]; then
        regression_on uWSGI "$seconds" --stop INT --url "http://127.0.0.1:$port/200/fixed/x" -- "$uwsgi" --master --processes 4 \
            --http-socket "127.0.0.1:$port" --need-app --chdir tests/servers --module app:application --die-on-term \
            --worker-reload-mercy 5 --reload-mercy 5
    else
        skip "deadlock-regression: uWSGI" "not in the tests' virtual environment"
    fi
    if [[ $long ]]; then regression_long "$seconds"; fi
}

fork_storms() {
    local otelcol
    have_product "fork storms" || return 0
    if ! otelcol=$(collector 2>"$log/collector"); then
        not_ok "the Collector builds" "$log/collector"
        return 0
    fi
    tap "storm into the Collector" /usr/bin/python3 tests/fork/collector_storm.py --storm build-test/tests/fork/storm \
        --fixture build-test/tests/fork/fixture_processor --collector "$otelcol" --children "$([[ $long ]] && echo 100000 || echo 5000)"
    tap "storm of names" /usr/bin/python3 tests/fork/resolve_storm.py --program build-test/tests/fork/resolve_storm \
        --preload "$preload" --children "$([[ $long ]] && echo 10000 || echo 1500)"
}

# Prints a python3 that has ziglang, whose compiler aims at any glibc.
zig_python() {
    local venv=$cache/zig-0.13.0
    if [[ ! -e $venv/complete ]]; then
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv" >"$log/zig" 2>&1 || return 1
        "$venv/bin/pip" install -q --disable-pip-version-check ziglang==0.13.0 >>"$log/zig" 2>&1 || return 1
        touch "$venv/complete"
    fi
    echo "$venv/bin/python3"
}

portability() {
    local zig
    have_product portability || return 0
    zig=$(zig_python) || zig=
    tap portability /usr/bin/python3 tests/portability/run.py --build build-test --work build-test/portability ${zig:+--zig "$zig"}
}

# The figures are of a quiet machine, so in the long mode only; instructions are the same anywhere.
fork_cost() {
    local few=()
    have_product "cost of a fork" || return 0
    [[ $long ]] || few=(--counts-only)
    tap "cost of a fork" /usr/bin/python3 bench/fork.py --program build-test/bench/fork --preload "$preload" "${few[@]}"
}

# Packages of the long mode only; what is missing is skipped with its name.
long_servers() {
    local become=()
    ((EUID)) && become=(sudo)
    printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee /usr/sbin/policy-rc.d >/dev/null && "${become[@]}" chmod 755 /usr/sbin/policy-rc.d
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends apache2-bin php-fpm >"$log/apt" 2>&1 || true
    "${become[@]}" rm -f /usr/sbin/policy-rc.d
}

# regression_long SECONDS: Apache prefork, nginx, and PHP-FPM behind nginx, whose spans are the ledger there
regression_long() {
    local seconds=$1 folder port php
    long_servers
    folder=$(mktemp -d)
    chmod 755 "$folder"
    mkdir -p "$folder/www"
    printf 'hello\n' >"$folder/www/index.html"
    printf '<?php echo "hello ", getmypid(), "\n";\n' >"$folder/www/index.php"
    port=$(free_port)
    if command -v apache2 >/dev/null; then
        cat >"$folder/apache.conf" <<APACHE
ServerRoot $folder
ServerName localhost
Listen 127.0.0.1:$port
PidFile $folder/apache.pid
ErrorLog $folder/apache.log
DocumentRoot $folder/www
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
StartServers 4
MaxRequestWorkers 8
MaxConnectionsPerChild 400
User nobody
Group nogroup
APACHE
        regression_on "Apache prefork" "$seconds" --reload USR1 --url "http://127.0.0.1:$port/index.html" -- apache2 -f "$folder/apache.conf" -DFOREGROUND
    else
        skip "deadlock-regression: Apache prefork" "apache2 is not there"
    fi
    port=$(free_port)
    nginx_conf() {
        cat <<NGINX
worker_processes 4;
daemon off;
user nobody nogroup;
pid $folder/nginx.pid;
error_log $folder/nginx.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path $folder/t1; proxy_temp_path $folder/t2; fastcgi_temp_path $folder/t3; uwsgi_temp_path $folder/t4; scgi_temp_path $folder/t5;
  server { listen 127.0.0.1:$port; root $folder/www; $1 }
}
NGINX
    }
    nginx_conf "" >"$folder/nginx.conf"
    regression_on nginx "$seconds" --stop QUIT --url "http://127.0.0.1:$port/index.html" -- nginx -c "$folder/nginx.conf"
    php=$(compgen -c php-fpm | sort -r | head -n 1)
    if [[ $php ]]; then
        cat >"$folder/fpm.conf" <<FPM
[global]
error_log = $folder/fpm.log
daemonize = no
[www]
user = nobody
group = nogroup
listen = $folder/fpm.sock
listen.mode = 0666
pm = dynamic
pm.max_children = 8
pm.start_servers = 4
pm.min_spare_servers = 2
pm.max_spare_servers = 6
pm.max_requests = 300
FPM
        nginx_conf "location ~ \.php\$ { include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name; fastcgi_pass unix:$folder/fpm.sock; }" >"$folder/nginx.conf"
        # One command: both under forkspan; only HTTP makes spans, so that a request has one.
        cat >"$folder/both" <<BOTH
#!/bin/sh
$php -F -y $folder/fpm.conf &
fpm=\$!
nginx -c $folder/nginx.conf &
trap 'kill -QUIT \$! \$fpm; wait; exit 0' TERM
trap 'kill -USR2 \$fpm; kill -HUP \$!' HUP
while kill -0 \$fpm 2>/dev/null; do wait; done
BOTH
        chmod 755 "$folder/both"
        FORKSPAN_INSTRUMENT=http regression_on "PHP-FPM behind nginx" "$seconds" --url "http://127.0.0.1:$port/index.php" -- "$folder/both"
    else
        skip "deadlock-regression: PHP-FPM behind nginx" "php-fpm is not there"
    fi
    rm -rf "$folder"
}
