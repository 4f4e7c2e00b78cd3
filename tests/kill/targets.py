# SPDX-License-Identifier: Apache-2.0
"""The servers of the kill matrix, and the ways in which the workers of each die."""
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import sys
import typing

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
import others  # noqa: E402
from cells import PYPI_UWSGI, Uwsgi  # noqa: E402
from harness import Gunicorn, Server, Worked, children, until  # noqa: E402

APACHE_MODULES = pathlib.Path("/usr/lib/apache2/modules")
PHP_FPM = shutil.which("php-fpm8.2") or "/usr/sbin/php-fpm8.2"
SERVICE = "kill"


@dataclasses.dataclass(frozen=True)
class Way:
    path: str  # what is asked for: /PATH/NUMBER
    type: str  # the error.type of its span
    signal: int = 0  # sent by us to the worker that serves it
    in_cgroup: bool = False  # put by us into a memory cgroup that is too small for it
    behind: bool = False  # the worker is one of the server behind
    status: int = 0  # what the client is answered, where it is
    or_type: str = ""  # another one that is right


KILL = Way("hang", "SIGKILL", signal.SIGKILL)
SEGV = Way("hang", "SIGSEGV", signal.SIGSEGV)
WAYS = {
    "kill -9": KILL,
    "SIGSEGV": SEGV,
    "abort": Way("abort", "SIGABRT"),
    "no memory (rlimit)": Way("rlimit", "SIGABRT"),
    "no memory (cgroup)": Way("grow", "SIGKILL", in_cgroup=True),
    "_exit": Way("exit", "exit 7"),
    "exec": Way("exec", "exec"),
}
# uWSGI's handler of SIGSEGV sends itself the signal again, which its worker's one thread has blocked there, and goes on to
# exit(1). Where another thread (ours, or one of uWSGI's own) takes it, it dies of it.
UWSGI_SEGV = Way("hang", "SIGSEGV", signal.SIGSEGV, or_type="exit 1")
UWSGI_THREADS_WAYS = {**WAYS, "SIGSEGV": UWSGI_SEGV}
# Not with threads: harakiri is the worker's, and whatever request another thread ends takes it back.
UWSGI_WAYS = {**UWSGI_THREADS_WAYS, "harakiri": Way("harakiri", "SIGKILL")}
# nginx waits for PHP when it is killed; where PHP is, nginx answers 502.
PHP_WAYS = {
    "kill -9 of nginx": Way("hang", "SIGKILL", signal.SIGKILL),
    "SIGSEGV of nginx": Way("hang", "SIGSEGV", signal.SIGSEGV),
    "abort of nginx": Way("hang", "SIGABRT", signal.SIGABRT),
    "kill -9 of php-fpm": Way("hang", "502", signal.SIGKILL, behind=True, status=502),
    "SIGSEGV of php-fpm": Way("hang", "502", signal.SIGSEGV, behind=True, status=502),
    "abort of php-fpm": Way("hang", "502", signal.SIGABRT, behind=True, status=502),
    "no memory (cgroup) of php-fpm": Way("grow", "502", in_cgroup=True, behind=True, status=502),
    "request_terminate_timeout of php-fpm": Way("hang", "502", status=502),
}


@dataclasses.dataclass
class Target:
    name: str
    start: typing.Callable  # (folder, options, endpoint, env) -> Server with .port and .workers()
    ways: dict = dataclasses.field(default_factory=lambda: WAYS)
    needs: tuple = ()  # files of the machine
    own: frozenset = frozenset()  # paths that the server asks itself for


class Printed(Server):
    """A server that prints its port and its pid."""

    def __init__(self, folder, command, forkspan, endpoint, env):
        super().__init__(folder, "server", command, forkspan, endpoint, SERVICE, env)
        found = self.wait_for(lambda: re.search(r"^(\d+) (\d+)$", self.text(), re.M), "the server says its port")
        self.port, self.master = int(found[1]), int(found[2])

    def workers(self):
        return children(self.master)


def prefork(folder, options, endpoint, env):
    return Printed(folder, [f"{options.build}/prefork", "4"], options.forkspan, endpoint, env)


def processes(*arguments):
    command = [sys.executable, str(HERE / "processes.py"), *arguments]
    return lambda folder, options, endpoint, env: Printed(folder, command, options.forkspan, endpoint, env)


def gunicorn(*arguments):
    return lambda folder, options, endpoint, env: Gunicorn(
        folder, ["--chdir", str(HERE), "--workers", "4", *arguments], options.forkspan, endpoint, SERVICE, env, "victim:application")


def uwsgi(*arguments):
    # Workers die oftener here than uWSGI finds good.
    more = ["--forkbomb-delay", "0", "--route", "^/harakiri/ harakiri:1", *arguments]
    return lambda folder, options, endpoint, env: Uwsgi(folder, PYPI_UWSGI, "--http-socket", more, options.forkspan, endpoint, env,
                                                        SERVICE, HERE / "victim.py")


class Apache(Worked):
    """mpm_prefork; mod_lua runs in its workers, and calls what die.h names."""

    CONFIG = """
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.error
{user}
LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule lua_module {modules}/mod_lua.so
StartServers 8
MinSpareServers 8
MaxSpareServers 16
MaxRequestWorkers 32
LuaMapHandler / {folder}/victim.lua handle
"""
    LUA = """
function handle(r)
  local what = r.uri:match("^/(%a+)/")
  if what ~= "ok" then assert(package.loadlib("{folder}/die.so", "die_" .. what))() end
  r:puts("ok\\n")
  return apache2.OK
end
"""

    def __init__(self, folder, options, endpoint, env):
        self.library = f"{options.build}/die.so"
        super().__init__(folder, "apache", ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", os.path.join(folder, "apache.conf")],
                         options.forkspan, endpoint, SERVICE, env)

    def prepare(self, folder):
        shutil.copy(self.library, os.path.join(folder, "die.so"))
        pathlib.Path(folder, "victim.lua").write_text(self.LUA.format(folder=folder))
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        pathlib.Path(folder, "apache.conf").write_text(
            self.CONFIG.format(folder=folder, port=self.port, user=user, modules=APACHE_MODULES))


class PhpFpm(Server):
    """A request writes down who serves it."""

    CONFIG = """
[global]
daemonize = no
error_log = /dev/stderr
[www]
{user}
listen = {folder}/php/socket
listen.mode = 0666
pm = static
pm.max_children = 16
request_terminate_timeout = 5
"""
    PHP = """<?php
$what = explode("/", $_SERVER["REQUEST_URI"]);
file_put_contents(__DIR__ . "/serves-$what[2]", getmypid());
if ($what[1] == "hang") while (true) sleep(60);
if ($what[1] == "grow") for (ini_set("memory_limit", -1), $taken = []; ; usleep(2000)) $taken[] = str_repeat("x", 1 << 20);
echo "ok";
"""

    def __init__(self, folder, forkspan, endpoint, env):
        self.files = pathlib.Path(folder, "php")
        self.files.mkdir()
        self.files.chmod(0o777)
        (self.files / "victim.php").write_text(self.PHP)
        config = os.path.join(folder, "fpm.conf")
        user = "user = www-data\ngroup = www-data" if os.geteuid() == 0 else ""
        pathlib.Path(config).write_text(self.CONFIG.format(folder=folder, user=user))
        super().__init__(folder, "php-fpm", [PHP_FPM, "-n", "-F", "-y", config], forkspan, endpoint, SERVICE, env)
        self.wait_for(lambda: "ready to handle connections" in self.text(), "php-fpm has its workers")

    def kill(self):
        master = children(self.process.pid)  # of a session of its own
        super().kill()
        for pid in master:
            os.killpg(pid, signal.SIGKILL)


class NginxPhp(others.Nginx):
    """nginx, with php-fpm behind it."""

    LOCATIONS = """
location / {{ include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {folder}/php/victim.php;
              fastcgi_pass unix:{folder}/php/socket; }}"""

    def __init__(self, folder, options, endpoint, env):
        self.behind = PhpFpm(folder, options.forkspan, endpoint, env)
        super().__init__(folder, options.forkspan, endpoint, SERVICE, env)

    def worker_behind(self, path):
        """The process of php-fpm that serves it."""
        said = self.behind.files / f"serves-{path.rsplit('/', 1)[1]}"
        return until(lambda: said.exists() and said.read_text(), "PHP runs it") and int(said.read_text())

    def text(self):
        return super().text() + self.behind.text()

    def stop(self, seconds=60):
        first, second = super().stop(seconds), self.behind.stop(seconds)
        return None if first is None or second is None else first + second

    def kill(self):
        super().kill()
        self.behind.kill()


TARGETS = [
    Target("prefork", prefork),
    Target("gunicorn sync", gunicorn()),
    Target("gunicorn gthread", gunicorn("--worker-class", "gthread", "--threads", "3")),
    Target("multiprocessing", processes()),
    Target("multiprocessing like celery", processes("30")),
    Target("uWSGI processes", uwsgi(), UWSGI_WAYS, tuple(PYPI_UWSGI)),
    Target("uWSGI threads", uwsgi("--enable-threads", "--threads", "3"), UWSGI_THREADS_WAYS, needs=tuple(PYPI_UWSGI)),
    Target("Apache prefork", Apache, needs=("/usr/sbin/apache2", str(APACHE_MODULES / "mod_lua.so")),
           own=frozenset("*")),  # OPTIONS * wakes a worker that is to leave
    Target("nginx before php-fpm", NginxPhp, PHP_WAYS, ("/usr/sbin/nginx", PHP_FPM)),
]
