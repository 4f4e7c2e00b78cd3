# SPDX-License-Identifier: Apache-2.0
"""CPU time a span exported, in all threads of its process, batches of 512, beside the Rust SDK where there is a cargo.

bench/export.py [--build DIRECTORY] [--rounds N]

Rounds are interleaved; the medians are printed. Wants a machine that does nothing else. The Rust side is built once, in
the cache, from bench/export.rs and what crates.io has of the pinned versions.
"""
import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
MANIFEST = """[package]
name = "export"
version = "0.0.0"
edition = "2021"
[[bin]]
name = "export"
path = "main.rs"
[dependencies]
libc = "0.2"
opentelemetry = "=0.31.0"
opentelemetry_sdk = "=0.31.0"
opentelemetry-otlp = { version = "=0.31.0", default-features = false, features = ["trace", "http-proto", "reqwest-blocking-client", "gzip-http"] }
[profile.release]
debug = false
"""


def rust():
    """The program, or None."""
    cargo = shutil.which("cargo")
    if not cargo:
        return None
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"), "forkspan", "bench-rust")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text(MANIFEST)
    shutil.copy(HERE / "export.rs", folder / "main.rs")
    built = subprocess.run([cargo, "build", "--release", "--quiet"], cwd=folder, capture_output=True, text=True)
    if built.returncode:
        print("# the Rust side does not build:", built.stderr[-2000:])
        return None
    return folder / "target/release/export"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=HERE.parent / "build-bench")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bursts", type=int, default=200)
    options = parser.parse_args()
    build = pathlib.Path(options.build)
    beside = rust()
    sink = subprocess.Popen([build / "bench/sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    endpoint = f"http://127.0.0.1:{int(sink.stdout.readline())}"
    figures = {}
    for _ in range(options.rounds):
        for compression in ("none", "gzip"):
            plain = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_"))}
            env = dict(plain, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
            runs = {"forkspan": [build / "bench/span", "api", str(options.bursts)]}
            if beside:
                runs["Rust SDK"] = [beside, endpoint, str(options.bursts), compression]
            for name, command in runs.items():
                out = subprocess.run(command, env=env if name == "forkspan" else plain, capture_output=True, text=True, check=True).stdout
                figures.setdefault((name, compression), []).append(float(re.search(r"cpu_a_span_exported ([\d.]+) ns", out)[1]))
    sink.stdin.close()
    sink.wait()
    for (name, compression), values in figures.items():
        print(f"{name}, HTTP protobuf, compression {compression}: {statistics.median(values):.0f} ns a span "
              f"({min(values):.0f} to {max(values):.0f})")


main()
