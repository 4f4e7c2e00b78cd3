# SPDX-License-Identifier: Apache-2.0
"""Other machines and other C libraries, as TAP (docs/portability.md).

run.py --build BUILD --work FOLDER [--zig PYTHON_WITH_ZIGLANG] [--only aarch64|glibc|musl]

aarch64: the preload builds without a warning, and the unit and parser tests pass under qemu-user.
glibc:   the preload built for glibc 2.31 asks for nothing newer, and cells of the fork matrix pass with it.
musl:    the preload builds, and the rows of the fork matrix that know no libc pass with it (no exporter: no spans).
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "servers"))

from harness import Tap, clean_environment  # noqa: E402

FLAGS = ["-D_GNU_SOURCE", '-DFORKSPAN_VERSION="0.1.0"', '-DFORKSPAN_COMMAND="/usr/bin/forkspan"', "-std=gnu11", "-O2", "-g", "-Wall",
         "-Wextra", "-Wno-sign-compare", "-Werror", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec", "-I", "shim", "-I",
         "exporter", "-I", "include"]
LINK = ["-shared", "-Wl,-z,nodelete", "-Wl,-z,lazy", "-Wl,--version-script=shim/libforkspan.map"]
UNIT = ("test-http1", "test-uwsgi", "test-connection", "test-http_span", "test-nest", "test-uwsgi_span", "test-config", "arena_test",
        "consumer_test", "handler_test", "clock_test")
LIBC_INDEPENDENT = ("^(fork|_Fork|vfork|clone_sigchld|clone_vfork_novm|clone_vm|clone_vm_only|clone_files|clone_16k|sys_clone3|sys_fork|"
                    "asm_clone3|asm_fork|double|nested3|posix_spawn|newpid) x .* x (asleep|untouched)$")


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", cwd=ROOT, timeout=900,
                          env=clean_environment(), check=False, **more)
    return done.returncode, done.stdout + done.stderr


def targets(build):
    _, text = run("meson", "introspect", build, "--targets")
    found = {}
    for target in json.loads(text[text.index("["):]):
        if target["type"] in ("executable", "shared library") and "/tests/unit/cli/" not in target["filename"][0]:
            groups = target["target_sources"]
            found[target["name"], target["type"]] = (
                [s for g in groups for s in g.get("sources", [])],
                [p for g in groups for p in g.get("parameters", []) if re.match(r"-D(?!_FILE_OFFSET|FORKSPAN_(VERSION|COMMAND))", p)])
    return found


def aarch64(tap, known, work):
    compiler, emulator = "aarch64-linux-gnu-gcc", shutil.which("qemu-aarch64")
    if not shutil.which(compiler) or not emulator:
        tap.skip("aarch64", f"needs {compiler} and qemu-aarch64")
        return
    sources, _ = known["forkspan", "shared library"]
    preload = work / "aarch64" / "libforkspan.so"
    preload.parent.mkdir(exist_ok=True)
    code, said = run(compiler, *FLAGS, *LINK, "-Wl,-z,initfirst", "-Wl,-z,defs", "-o", preload, *sources)
    tap.check(code == 0, "aarch64: the preload builds without a warning", said)
    for name in UNIT:
        sources, defines = known[name, "executable"]
        program = work / "aarch64" / name
        code, said = run(compiler, *[f for f in FLAGS if f not in ("-Werror", "-fvisibility=hidden")], "-fstack-protector-all", *defines, "-I", HERE, "-o",
                         program, *sources, "-lpthread")
        if not tap.check(code == 0, f"aarch64: {name} builds", said):
            continue
        code, said = run(emulator, "-L", "/usr/aarch64-linux-gnu", program)
        points = [line for line in said.splitlines() if line.startswith(("ok", "not ok"))]
        tap.check(code == 0 and points, f"aarch64 under qemu-user: {name}, {len(points)} tests",
                  "\n".join(line for line in said.splitlines() if not line.startswith("ok")))
    code, said = run(emulator, "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_PRELOAD={preload}", "-E", "OTEL_SERVICE_NAME=x",
                     make_probe(compiler, work))
    tap.check(code == 0 and "probe 2 children, ids differ" in said,
              "aarch64 under qemu-user, which wipes no page and has no robust lists: forked children have ids of their own", said)


def make_probe(compiler, work):
    program = work / "aarch64" / "probe"
    code, said = run(compiler, "-D_GNU_SOURCE", "-Wall", "-I", "include", "-o", program, "tests/portability/probe.c", "-ldl")
    if code:
        raise RuntimeError(said)
    return program


def matrix(driver, preload, libraries, only, *more):
    code, said = run("/usr/bin/python3", "tests/fork/run_matrix.py", "--driver", driver, "--preload", preload, "--libraries", libraries,
                     "--only", only, *more)
    good = sum(line.startswith("ok") for line in said.splitlines())
    return code, good, "\n".join(line for line in said.splitlines() if not line.startswith("ok"))


def glibc(tap, known, work, build, zig):
    if not zig or run(zig, "-m", "ziglang", "version")[0]:
        tap.skip("glibc 2.31", "needs PyPI's ziglang")
        return
    sources, _ = known["forkspan", "shared library"]
    home = work / "glibc"
    (home / "shim").mkdir(parents=True, exist_ok=True)
    for part in ("exporter", "cli"):
        if not (home / part).exists():
            (home / part).symlink_to((ROOT / build / part).resolve())
    preload = home / "shim" / "libforkspan.so"
    # zig's linker knows no initfirst: what is looked at here are the symbols, and that all is correct without it, too
    code, said = run(zig, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.31", *FLAGS, *LINK, "-lpthread", "-ldl", "-o", preload,
                     *sources)
    if not tap.check(code == 0, "glibc 2.31: the preload builds without a warning", said):
        return
    _, said = run("readelf", "-VW", preload)
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(\d+\.\d+)", said)}
    newest = max(versions, default=(0, 0))
    tap.check((2, 2) < newest <= (2, 31), f"it asks for no symbol newer than glibc 2.31 (the newest is {newest[0]}.{newest[1]})", said)
    code, said = run(zig, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.31", "-shared", "-fPIC", "-o", home / "control.so",
                     "-x", "c", "-", input="int _Fork(void); int f(void) { return _Fork(); }")
    _, control = run("readelf", "-VW", ROOT / build / "shim" / "libforkspan.so")
    newer = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(\d+\.\d+)", control)}
    tap.check(max(newer) > (2, 31), f"control: the look finds what is newer in a build of this machine ({max(newer)})", control)
    tests = ROOT / build / "tests" / "fork"
    code, good, said = matrix(tests / "matrix", preload, tests,
                              "^(fork|_Fork|clone_sigchld|asm_clone3|daemon|vfork|threads8) x (serve|_exit|exec) x (asleep|enq8)$")
    tap.check(code == 0 and good >= 20, f"{good} cells of the fork matrix pass with it", said)


def musl(tap, known, work):
    compiler = shutil.which("musl-gcc")
    if not compiler:
        tap.skip("musl", "needs musl-gcc")
        return
    home = work / "musl"
    (home / "include").mkdir(parents=True, exist_ok=True)
    for name, place in (("linux", "/usr/include/linux"), ("asm-generic", "/usr/include/asm-generic"),
                        ("asm", f"/usr/include/{os.uname().machine}-linux-gnu/asm")):
        if not (home / "include" / name).exists():
            (home / "include" / name).symlink_to(place)
    headers = ["-idirafter", home / "include", "-D_LARGEFILE64_SOURCE"]
    sources, _ = known["forkspan", "shared library"]
    preload = home / "libforkspan.so"
    code, said = run(compiler, *headers, *FLAGS, *LINK, "-o", preload, *sources)
    if not tap.check(code == 0, "musl: the preload builds without a warning", said):
        return
    driver = home / "matrix"
    code, said = run(compiler, *headers, "-D_GNU_SOURCE", "-I", "include", "-o", driver, *sorted(ROOT.glob("tests/fork/matrix*.c")))
    if not tap.check(code == 0, "musl: the driver of the fork matrix builds", said):
        return
    code, good, said = matrix(driver, preload, home, LIBC_INDEPENDENT, "--no-spans", "--limit", "12")
    tap.check(code == 0 and good >= 40, f"musl: {good} cells of the fork matrix that know no libc pass", said)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--zig")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    tap = Tap()
    work = pathlib.Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)
    known = targets(options.build)
    if options.only in ("", "aarch64"):
        aarch64(tap, known, work)
    if options.only in ("", "glibc"):
        glibc(tap, known, work, options.build, options.zig)
    if options.only in ("", "musl"):
        musl(tap, known, work)
    tap.end()


main()
