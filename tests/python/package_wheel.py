# SPDX-License-Identifier: Apache-2.0
"""The forkspan Python package as a user has it: a wheel, installed into a folder of its own."""
import os
import pathlib
import shutil
import subprocess
import sys

from harness import clean_environment

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def install(site):
    """What pip did; its returncode says whether it is there."""
    source = os.path.join(site, "source")  # a build writes beside it
    shutil.copytree(ROOT / "python", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    return subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation",
                           "--target", site, source], capture_output=True, text=True, env=clean_environment())
