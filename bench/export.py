# SPDX-License-Identifier: Apache-2.0
"""CPU time a span exported, in all threads of its process, batches of 512, beside the Rust SDK where there is a cargo.

Rounds are interleaved. The Rust side is built once, in the cache, from bench/export.rs and what crates.io has of the
pinned versions.
"""
import os
import pathlib
import re
import shutil
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


def figures(build, endpoint, rounds, bursts, with_rust):
    """Of each (who, compression): nanoseconds of CPU a span, one a round."""
    beside, found = rust() if with_rust else None, {}
    for _ in range(rounds):
        for compression in ("none", "gzip"):
            plain = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FORKSPAN_"))}
            env = dict(plain, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
            runs = {"forkspan": [f"{build}/bench/span", "api", str(bursts)]}
            if beside:
                runs["the Rust SDK"] = [beside, endpoint, str(bursts), compression]
            for name, command in runs.items():
                out = subprocess.run(command, env=env if name == "forkspan" else plain, capture_output=True, text=True, check=True).stdout
                found.setdefault((name, compression), []).append(float(re.search(r"cpu_a_span_exported ([\d.]+) ns", out)[1]))
    return found
