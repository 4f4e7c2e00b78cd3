# SPDX-License-Identifier: Apache-2.0
"""The fork matrix: ways to fork, ways to go on, circumstances, and the rows that are made of them."""
import dataclasses

# -- ways to fork: what a child made so may do, and what of us sees it --
WAYS = {
    "fork": "fork()",
    "__fork": "__fork(), libc's alias",
    "_Fork": "_Fork(): no atfork handlers",
    "vfork": "vfork(), then exec or _exit",
    "clone_sigchld": "clone(SIGCHLD)",
    "__clone": "__clone(SIGCHLD), libc's alias",
    "clone_vfork_novm": "clone(CLONE_VFORK) without CLONE_VM",
    "clone_vm": "clone(CLONE_VM | CLONE_VFORK)",
    "clone_vm_only": "clone(CLONE_VM)",
    "clone_files": "clone(CLONE_FILES)",
    "clone_16k": "clone on a guarded stack of 16 KiB",
    "sys_clone3": "syscall(SYS_clone3)",
    "sys_fork": "syscall(SYS_fork)",
    "asm_clone3": "clone3, inline assembly",
    "asm_fork": "fork, inline assembly",
    "daemon": "daemon()",
    "forkpty": "forkpty()",
    "double": "fork, fork, and the middle one leaves",
    "posix_spawn": "posix_spawn()",
    "popen": "popen()",
    "system": "system()",
    "threads8": "fork() in 8 threads at once, 5 times",
    "handler": "fork() in a signal handler, in the middle of an enqueue",
    "handler_Fork": "_Fork() in a signal handler, in the middle of an enqueue",
    "step": "fork() in a signal handler, at every 7th instruction of an enqueue",
    "step_Fork": "_Fork() in a signal handler, at every 7th instruction of an enqueue",
    "step_flush": "_Fork() in a signal handler, at every one of a flush's first instructions",
    "in_prepare": "fork() in an atfork handler's own prepare",
    "nested3": "fork of a fork of a fork",
    "newpid": "clone(CLONE_NEWPID)",
    "nproc_fail": "fork() that fails (RLIMIT_NPROC), and one that does not",
    "lost_forker": "fork() whose thread ends in a prepare handler",
}
GOINGS = ("serve", "exit", "_exit", "quick_exit", "exec", "abort", "return", "killed")

TWICE = ("fork", "__fork", "_Fork", "sys_clone3", "sys_fork", "asm_clone3", "asm_fork")
RAW = ("sys_clone3", "sys_fork", "asm_clone3", "asm_fork")
HANDLERS = ("handler", "handler_Fork", "step", "step_Fork", "step_flush")
CLONES = ("clone_sigchld", "__clone", "clone_vfork_novm", "clone_files", "clone_16k", "newpid")
PASS = ("vfork", "clone_vm", "clone_vm_only", "posix_spawn", "popen", "system")


@dataclasses.dataclass(frozen=True)
class Circumstance:
    text: str
    options: tuple = ("batch",)
    env: tuple = ()
    receiver: str = "plain"  # stall.py's modes
    preload: tuple = ()      # libraries after us
    before: tuple = ()       # libraries before us
    root: bool = False


def _c(text, *options, **more):
    return Circumstance(text, tuple(options), **more)


QUICK = (("OTEL_BSP_SCHEDULE_DELAY", "10"), ("OTEL_BSP_MAX_QUEUE_SIZE", "32768"))
BUSY = ("batch", "enders=8")
ALLOCATORS = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4", "mimalloc": "libmimalloc.so.2"}
CIRCUMSTANCES = {
    "asleep": _c("batch thread asleep, queue empty", "batch", "listens"),
    "none": _c("a span was ended, no batch thread yet", "spans"),
    "master": _c("listens, has served nothing", "listens"),
    "untouched": _c("has never spoken to us"),
    "starting": _c("batch thread opens the exporter", "batch", "starting"),
    "poll": _c("batch thread in poll: the request is sent, no answer", "batch", "stall", receiver="poll", env=QUICK),
    "connecting": _c("batch thread connecting", "batch", "stuck", receiver="connecting", env=QUICK),
    "tls": _c("batch thread in the TLS handshake", "batch", "stuck", receiver="tls", env=QUICK),
    "midresponse": _c("half of the response is there", "batch", "stall", receiver="midresponse", env=QUICK),
    "dns": _c("batch thread waits for a name", "batch", "stuck", receiver="dns", env=QUICK, root=True),
    "dead": _c("the collector is dead", "batch", "stuck", receiver="dead", env=QUICK),
    "enq1": _c("1 thread enqueues, batches are sent", "batch", "enders=1", "rounds=10", env=QUICK),
    "enq8": _c("8 threads enqueue, batches are sent", *BUSY, "rounds=8", env=QUICK),
    "enq8alloc": _c("8 threads enqueue and allocate, batches are sent", *BUSY, "alloc", "rounds=8", env=QUICK),
    "full": _c("queue full", "batch", "stall", "fill", receiver="poll", env=QUICK[:1]),
    **{name: _c(f"{name} preloaded, 8 threads enqueue and allocate", *BUSY, "alloc", "rounds=10", env=QUICK, preload=(file,))
       for name, file in ALLOCATORS.items()},
    "reuse_parent": _c("all files closed in the parent, numbers used again", "batch", "reuse_parent"),
    "reuse_parent_poll": _c("the same, while an answer is waited for", "batch", "stall", "reuse_parent", receiver="poll", env=QUICK),
    "reuse_child": _c("all files closed in the child, numbers used again", "batch", "reuse_child"),
    "stdio": _c("stdin, stdout and stderr closed at start", "batch", env=(("MATRIX_CLOSE_STDIO", "1"),)),
    "setuid_child": _c("setuid in the child", "batch", "setuid_child", root=True),
    "sandbox": _c("seccomp in the child, RESPAWN=eager", "batch", "listens", "seccomp_child", env=(("FORKSPAN_RESPAWN", "eager"),)),
    "setxid": _c("setuid while the batch thread lives", "batch", "setuid_parent", root=True),
    "setxid_poll": _c("setuid while the batch thread waits for an answer", "batch", "setuid_parent", "stall", receiver="poll",
                      env=QUICK, root=True),
    "sigwait": _c("the application waits for signals", "batch", "sigwait"),
    "appwrap": _c("the application wraps fork itself", "batch", "enders=1", before=("libwrap.so",), env=QUICK),
    "appwrap_after": _c("a library behind us wraps fork", "batch", "enders=1", preload=("libwrap.so",), env=QUICK),
    "atfork": _c("a prepare handler takes a lock of threads that end spans", *BUSY, "atfork", "rounds=10", env=QUICK),
    "atfork_flush": _c("a prepare handler takes a lock of a thread that flushes", "batch", "enders=1", "atfork_flush", "rounds=5",
                       env=QUICK),
    "early": _c("a library before all others forks in its prepare handler, inside ours", "batch",
                preload=("libearly.so",), env=(*QUICK, ("FORK_IN_PREPARE", "1"))),
    "dlclose": _c("the preload is opened and closed by dlopen, dlclose", "batch", "dlclose"),
    "listed_twice": _c("LD_PRELOAD lists us twice", "batch", "listens", env=(("MATRIX_TWICE", "1"),)),
    "during": _c("another thread's span is to arrive while the child lives", "batch", "busy_parent", "slow", env=QUICK),
    "returns": _c("the child has a batch thread of its own when it returns", "batch", "child_flush"),
    "lapped": _c("the whole queue is used again before the child goes on", "batch",
                 env=(("OTEL_BSP_MAX_QUEUE_SIZE", "64"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64"), ("OTEL_BSP_SCHEDULE_DELAY", "4000"))),
    "quiet": _c("the child says nothing to us", "batch", "quiet"),
    "open_request": _c("a request is open across it; the child closes every file", "batch", "listens", "open_request"),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    way: str
    going: str
    circumstance: str

    @property
    def name(self):
        return f"{self.way} x {self.going} x {self.circumstance}"


def possible(way, going, circumstance):
    """What C, libc or the kernel leaves no meaning."""
    c = CIRCUMSTANCES[circumstance]
    if way in ("posix_spawn", "popen", "system"):
        return going == "exec"
    if way in ("vfork", "clone_vm"):
        return going in ("exec", "_exit")
    if way == "clone_vm_only":
        return going == "_exit"
    if way in (*HANDLERS, "lost_forker"):
        return going == "_exit"
    if way == "threads8":
        return going != "return"
    if way == "newpid":  # its first process ignores signals that it sends itself; what it execs dies with it
        return going not in ("abort", "killed")
    if way in RAW or way in CLONES or way == "_Fork":
        if going == "abort":  # libc's idea of the thread's id is the parent's
            return False
        if circumstance in ("enq8alloc", *ALLOCATORS) and going not in ("_exit", "killed"):
            # Their threads hold libc's locks: exit, exec and accept are the application's own risk there.
            return way == "clone_sigchld" and going == "serve" and "alloc" in c.options
    if way in RAW and going == "quick_exit":
        return True
    return True


def rows():
    table = {}

    def add(ways, goings, circumstances):
        for way in ways:
            for going in goings:
                for circumstance in circumstances:
                    if possible(way, going, circumstance):
                        table[way, going, circumstance] = Cell(way, going, circumstance)

    # every way with every way to go on, in a process whose batch thread sleeps
    add(WAYS, ("serve", "_exit", "exec"), ["asleep"])
    add(("fork", "_Fork", "clone_sigchld", "asm_clone3", "daemon", "double"), GOINGS, ["asleep"])
    add(("forkpty", "newpid", "nested3", "threads8", "__fork", "clone_16k", "sys_fork"), ("exit", "return"), ["asleep"])
    # without a batch thread
    add(("fork", "clone_sigchld", "asm_clone3", "vfork", "posix_spawn"), ("serve", "exec"), ["none", "master", "untouched"])
    # where the batch thread may be
    stuck = ("poll", "connecting", "tls", "midresponse", "dns", "dead")
    add(("fork", "clone_sigchld"), ("serve",), stuck)
    add(("asm_clone3", "_Fork", "vfork"), ("_exit",), ("poll", "tls", "dead"))
    add(("daemon",), ("_exit",), ("poll", "midresponse"))
    add(("fork",), ("exec", "exit"), ("poll", "midresponse"))
    add(("fork", "_Fork", "clone_sigchld", "nested3"), ("serve", "exit", "_exit"), ["starting"])
    # under load
    add(("fork", "__fork", "_Fork", "clone_sigchld", "clone_vfork_novm", "clone_files", "clone_16k", "asm_clone3", "sys_fork",
         "daemon", "forkpty", "double", "in_prepare"), ("serve", "_exit"), ["enq8"])
    add(("fork",), GOINGS, ["enq8"])
    add(("posix_spawn", "popen", "system", "vfork", "clone_vm"), ("exec",), ["enq8"])
    add(("fork", "clone_sigchld", "asm_fork", "nested3", "threads8"), ("serve", "_exit"), ["enq1"])
    add(("fork", "threads8", "forkpty"), ("serve", "exit", "exec"), ["enq8alloc"])
    add(("clone_sigchld",), ("serve",), ["enq8alloc"])
    add(("fork", "daemon", "clone_sigchld", "asm_clone3"), ("serve", "_exit"), ALLOCATORS)
    add(("fork", "clone_sigchld", "asm_clone3", "_Fork"), ("_exit",), ["full"])
    add(("fork",), ("serve", "exit"), ["full"])
    add(("fork", "clone_sigchld", "asm_clone3", "sys_fork", "_Fork"), ("exit", "exec"), ["quiet"])
    add(("clone_sigchld", "__clone", "fork", "_Fork"), ("return", "exit"), ["returns"])
    # what applications do besides
    add(("fork", "clone_sigchld", "asm_clone3"), ("serve",), ("reuse_parent", "reuse_child"))
    add(("fork", "vfork"), ("exec",), ("reuse_parent", "reuse_parent_poll"))
    add(("fork", "daemon", "posix_spawn"), ("serve", "exec"), ["stdio"])
    add(("fork", "clone_sigchld"), ("serve", "exit"), ["setuid_child"])
    add(("fork", "__fork"), ("serve",), ["sandbox"])
    add(("fork", "asm_clone3"), ("_exit",), ("setxid", "setxid_poll"))
    add(("nproc_fail",), ("_exit",), ["setxid"])
    add(("fork", "_Fork"), ("serve",), ["sigwait"])
    add(("fork", "daemon"), ("serve", "_exit"), ("appwrap", "appwrap_after", "atfork", "atfork_flush", "early"))
    add(("in_prepare",), ("_exit",), ("atfork", "early"))
    add(("fork",), ("serve", "_exit"), ("dlclose", "listed_twice"))
    add(("clone_vfork_novm",), ("_exit", "exec"), ["during"])
    add(("vfork", "clone_vm", "fork"), ("exec", "_exit"), ["open_request"])
    add(("step", "step_Fork"), ("_exit",), ["lapped"])
    add(("step_flush",), ("_exit",), ["asleep"])
    return list(table.values())
