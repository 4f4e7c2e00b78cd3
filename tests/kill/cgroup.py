# SPDX-License-Identifier: Apache-2.0
"""A memory cgroup of one's own, where this machine lets us."""
import contextlib
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
from harness import until  # noqa: E402

ROOT = pathlib.Path("/sys/fs/cgroup")
V1 = (ROOT / "memory" / "memory.limit_in_bytes").exists()


class NoCgroup(Exception):
    """None can be made here."""


@contextlib.contextmanager
def memory_cgroup(limit):
    """A group (a folder) of `limit` bytes. Its processes have ended when it goes."""
    group = (ROOT / "memory" if V1 else ROOT) / f"forkspan-test-{os.getpid()}"
    try:
        if not V1 and "memory" not in (ROOT / "cgroup.subtree_control").read_text().split():
            raise OSError("no memory controller")
        group.mkdir()
    except OSError as error:
        raise NoCgroup(f"no memory cgroup can be made here: {error}") from None
    try:
        (group / ("memory.limit_in_bytes" if V1 else "memory.max")).write_text(str(limit))
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().strip(), "the cgroup is empty")
        group.rmdir()


def killed_in(group):
    """How many processes the kernel has killed in it for memory."""
    events = (group / ("memory.oom_control" if V1 else "memory.events")).read_text()
    return int(next(line.split()[1] for line in events.splitlines() if line.startswith("oom_kill ")))
