# SPDX-License-Identifier: Apache-2.0
"""Each protection has a cell of the fork matrix that fails without it, as TAP.

protections.py --driver MATRIX --preload LIBFORKSPAN --libraries FOLDER [--only REGEX]

The three are of a build with -Dtest_knobs=true (shim/fork/knobs.h). Each cell is run once as it is, and must pass; then
with the protection off (FORKSPAN_TEST_OFF), until it fails, at most as many times as stated. Traps are numbered as in the
design notes; "by the way" are mistakes that the design avoids, made on purpose.
"""
import argparse
import collections
import re
import sys

from matrix_table import Cell
from run_matrix import run_all, settings_of

Protection = collections.namedtuple("Protection", "off traps cell tries what limit always", defaults=(6, ""))


def p(off, traps, way, going, circumstance, tries, what, **more):
    return Protection(off, traps, Cell(way, going, circumstance), tries, what, **more)


PROTECTIONS = [
    p("hold", "13, 31, 69", "clone_sigchld", "serve", "starting", 150, "the batch thread is brought to rest before a fork"),
    p("queue_nesting", "27", "fork", "_exit", "early", 2, "a thread that holds the queue lock may fork again"),
    p("queue_reinit", "22", "fork", "serve", "asleep", 2, "the queue lock is made anew in the child"),
    p("atfork", "1", "daemon", "serve", "asleep", 2, "pthread_atfork sees daemon() and forkpty()"),
    p("wrappers", "2, 3", "clone_sigchld", "serve", "asleep", 2, "the wrappers see clone() and _Fork()"),
    p("generation", "2, 14", "asm_clone3", "serve", "asleep", 3, "the generation page is wiped in any child"),
    p("generation,reseed", "34", "fork", "serve", "asleep", 3, "a child draws ids of its own"),
    p("child_forgets", "33", "fork", "serve", "asleep", 3, "the parent's slot is not the child's"),
    p("private_slot", "81", "step", "_exit", "lapped", 2, "a child that comes back into its parent's enqueue writes into memory of its own", limit=20),
    p("private_slot", "81", "step_Fork", "_exit", "lapped", 2, "the same, of a child that no atfork handler saw", limit=20),
    p("own_start", "81", "step_flush", "_exit", "asleep", 2, "a child that comes back into the start of its parent's batch thread gets none", limit=20),
    p("thread_forgets", "24", "fork", "serve", "asleep", 2, "the parent's thread is not the child's"),
    p("close_copies", "54", "fork", "_exit", "asleep", 2, "the child's copy of the connection is closed"),
    p("shares_files", "9", "clone_files", "serve", "asleep", 2, "a CLONE_FILES child closes nothing and starts no thread"),
    p("clone_exit", "59", "clone_sigchld", "return", "returns", 2, "a clone's child that returns ends its process"),
    p("vfork_release", "8", "clone_vfork_novm", "_exit", "during", 2, "a CLONE_VFORK child releases the hold"),
    p("vfork_mark", "4, 7", "vfork", "exec", "open_request", 2, "a vfork child leaves its parent's tables alone"),
    p("no_thread", "12", "clone_sigchld", "serve", "enq8alloc", 40, "a child that nobody repaired starts no thread"),
    p("failed_fork", "30", "nproc_fail", "_exit", "asleep", 2, "the parent half runs where the fork failed"),
    p("lapse", "26", "lost_forker", "_exit", "asleep", 2, "a hold whose forker never comes back ends"),
    p("mask", "40", "fork", "serve", "sigwait", 2, "the application's signals are blocked in our thread"),
    p("start_errno", "46", "posix_spawn", "exec", "asleep", 2, "main() finds errno 0"),
    p("exit_guard", "36", "asm_clone3", "exit", "quiet", 2, "exit in a child that never spoke to us touches nothing", limit=6),
    p("raw_mask", "41", "fork", "_exit", "setxid", 2, "by the way: libc's own signals blocked, too", limit=6),
    p("leaf_lock", "16", "fork", "serve", "atfork_flush", 3, "by the way: a lock held by the wrapper", limit=8),
    p("lazy_thread", "11, 43", "clone_16k", "_exit", "asleep", 3, "by the way: a thread started on the clone's stack"),
    p("pass_vm", "7", "clone_vm", "_exit", "asleep", 2, "by the way: CLONE_VM treated as a fork"),
    p("pass_spawn", "6", "posix_spawn", "exec", "asleep", 2, "by the way: held across posix_spawn", always="ever_resting"),
    p("pass_spawn", "6", "popen", "exec", "asleep", 2, "by the way: held across popen", always="ever_resting"),
    p("pass_spawn", "6", "system", "exec", "asleep", 2, "by the way: held across system", always="ever_resting"),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=".")
    settings = settings_of(parser)
    number = failed = 0
    chosen = [x for x in PROTECTIONS if re.search(settings.only, x.off)]

    def check(good, name, lines=()):
        nonlocal number, failed
        number += 1
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {name}", flush=True)
        for line in lines if not good else ():
            print(f"#   {line}", flush=True)

    results = {}
    jobs = []
    for number_of, one in enumerate(chosen):
        jobs.append({"cell": one.cell, "knobs": one.always, "limit": None, "label": (number_of, "whole")})
        jobs.append({"cell": one.cell, "knobs": ",".join(filter(None, (one.off, one.always))), "tries": one.tries, "limit": one.limit,
                     "label": (number_of, "without")})
    run_all(settings, jobs, lambda job, result: results.__setitem__(job["label"], result))
    for number_of, one in enumerate(chosen):
        whole, without = results[number_of, "whole"], results[number_of, "without"]
        if whole.get("skip"):
            number += 1
            print(f"ok {number} - {one.off}: {one.what} # SKIP {whole['skip']}", flush=True)
            continue
        check(not whole["wrong"], f"{one.off}: {one.cell.name} passes with it", "\n".join(whole["wrong"]).splitlines()[:30])
        check(bool(without["wrong"]) and without["runs"] > 0,
              f"{one.off} (traps {one.traps}; {one.what}): off, {one.cell.name} fails at try {without['runs']} of {one.tries}",
              ["it passes each time: nothing shows what the protection is for", *without["wrong"]])
        for line in (without["wrong"] or [""])[0].splitlines()[:1]:
            print(f"#   {line[:160]}", flush=True)
    print(f"1..{number}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
