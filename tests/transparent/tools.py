# SPDX-License-Identifier: Apache-2.0
"""Everyday programs, with and without the preload: the same exit code and the same output, as TAP.

tools.py --preload LIBFORKSPAN [--repeat N] [--only REGEX]

Each case is a shell script, run in a fresh folder under a fixed path, with nobody to export to (the collector's address
refuses). What differs from run to run without us (times, process ids) is not printed by the cases.
"""
import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))

from harness import Tap, clean_environment  # noqa: E402

LIMIT_S = 60
# name: (programs it needs, script)
CASES = {
    "sh: pipelines and exit codes": ("sh", r'''
        seq 1 1000 | grep 7 | sort -rn | head -n 5 | tac; false | true; echo $?; (exit 7); echo $?
        sh -c 'kill -TERM $$'; echo $?; sh -c 'exit 255'; echo $?'''),
    "bash: jobs, wait, traps": ("bash", r'''
        bash -c 'trap "echo bye" EXIT; for i in 1 2 3 4 5; do (exit $i) & p[i]=$!; done
                 for i in 1 2 3 4 5; do wait ${p[i]}; echo $i $?; done; wait -n; echo $?' '''),
    "bash: process substitution and here-documents": ("bash", r'''
        bash -c 'diff <(seq 1 20) <(seq 2 21); cat <<X
text $(echo inner | tr a-z A-Z)
X
        paste <(printf "1\n2\n") <(printf "a\nb\n"); mapfile -t l < <(seq 3); echo ${#l[@]}' '''),
    "bash: coprocesses and pipefail": ("bash", r'''
        bash -c 'set -o pipefail; coproc C { while read -r x; do echo "got $x"; done; }; echo one >&${C[1]}; read -r y <&${C[0]}
        echo "$y"; eval "exec ${C[1]}>&-"; wait $C_PID; echo $?; false | cat; echo $? ${PIPESTATUS[@]}' '''),
    "bash: deep subshells": ("bash", r'''bash -c '( ( ( ( ( echo deep $BASH_SUBSHELL; exit 3 ) ) ) ) ); echo $?' '''),
    "bash: many children at once": ("bash", r'''
        bash -c 'for i in $(seq 60); do (echo $i) & done | sort -n | md5sum; wait; echo $?' '''),
    "bash: signals between processes": ("bash", r'''
        bash -c 'sleep 30 & p=$!; kill $p; wait $p; echo $?; (trap "" TERM; kill -TERM $BASHPID; echo alive)
        timeout 0.2 sleep 30; echo $?; timeout -s KILL 0.2 sleep 30; echo $?' 2>/dev/null'''),
    "bash: file descriptors": ("bash", r'''
        bash -c 'exec 3>three 4>four; echo a >&3; echo b >&4; exec 3>&- 4>&-; cat three four; ls /proc/self/fd | wc -l
        exec 200>lock; flock -n 200; echo $?; exec 255<three; cat <&255' '''),
    "dash: stdin closed": ("dash", r'''dash -c 'exec <&-; cat; echo $?; exec >&-; echo x' 2>/dev/null; echo $?'''),
    "xargs -P and find": ("xargs find", r'''
        mkdir -p a/b a/c; touch a/1 a/b/2 a/c/3; find a -type f | sort | xargs -n 1 -P 4 basename | sort; find a -name 3 -exec echo {} \;'''),
    "git: init, commit, branch, merge, log": ("git", r'''
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=@1700000000 GIT_COMMITTER_DATE=@1700000000
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q -b main r && cd r && seq 100 >f && git add f && git commit -qm one && git checkout -qb side && echo x >>f
        git commit -qam two; git checkout -q main; echo y >g; git add g; git commit -qm three; git merge -q -m merge side
        git log --format='%h %s' ; git status --short; git fsck 2>&1; git gc -q; git rev-parse HEAD; git grep -n 42; git show HEAD~1 --stat | cat'''),
    "git: clone, push, hooks, a failing one": ("git", r'''
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=@1700000000 GIT_COMMITTER_DATE=@1700000000
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q --bare -b main o.git; git clone -q o.git w 2>/dev/null; cd w; echo 1 >f; git add f; git commit -qm 1
        printf '#!/bin/sh\necho hook; exit 0\n' >.git/hooks/pre-push; chmod +x .git/hooks/pre-push; git push -q origin main; echo $?
        printf '#!/bin/sh\nexit 1\n' >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; echo 2 >f; git commit -qam 2; echo $?
        git -C ../o.git log --format=%h'''),
    "make -j": ("make gcc", r'''
        printf 'all: $(addprefix t,$(shell seq 1 30))\nt%%:\n\t@sleep 0.01; echo made $* >$@\nbad:\n\t@exit 3\n' >Makefile
        make -s -j 8; echo $?; cat t* | sort | md5sum; make -s -j 2 bad 2>/dev/null; echo $?; make -n bad'''),
    "gcc: compile, link, run": ("gcc", r'''
        printf '#include <stdio.h>\nint main(void){printf("%%d\\n", 6*7);return 5;}\n' >p.c; gcc -pipe -O1 p.c -o p; echo $?; ./p; echo $?
        echo 'int x = ;' >bad.c; gcc -c bad.c 2>/dev/null; echo $?'''),
    "perl: fork, pipe, system, backticks": ("perl", r'''
        perl -e '$|=1; for (1..5) { my $p=fork; if(!$p){exit $_} waitpid $p,0; print $?>>8,"\n" }
        print `echo back`; print system("exit 4")>>8,"\n"; open(my $f,"-|","seq 3"); print <$f>; close $f; print "$?\n";
        pipe(R,W); if(!fork){close R;print W "child\n";exit}close W;print <R>;wait; $SIG{CHLD}="IGNORE"; fork||exit; print wait,"\n"; printf "%d\n", $!+0'
        perl -e 'kill 9,$$'; echo $?; perl -e 'exec "sh","-c","exit 9"'; echo $?'''),
    "python: subprocess": ("python3", r'''
        python3 -c '
import subprocess as s, sys
print(s.run(["sh","-c","echo out; echo err >&2; exit 3"],capture_output=True))
print(s.check_output("echo a | tr a b",shell=True), s.call(["false"]))
p=[s.Popen(["sh","-c",f"exit {i}"]) for i in range(20)]; print([x.wait() for x in p])
try: s.run(["sleep","9"],timeout=.2)
except s.TimeoutExpired: print("late")
print(s.run(["true"],close_fds=False,start_new_session=True).returncode, s.run(["cat"],input=b"x"*300000,capture_output=True).stdout.count(b"x"))
try: s.run(["/nonexistent"])
except OSError as e: print(e.errno)
print(s.run([sys.executable,"-c","import os;os.abort()"],stderr=s.DEVNULL).returncode)' '''),
    "python: multiprocessing, fork": ("python3", r'''
        python3 -c '
import multiprocessing as m
def f(x): return x*x
if __name__=="__main__":
    m.set_start_method("fork")
    with m.Pool(4) as p: print(p.map(f,range(50)))
    q=m.Queue(); ps=[m.Process(target=q.put,args=(i,)) for i in range(8)]; [p.start() for p in ps]
    print(sorted(q.get() for _ in ps)); [p.join() for p in ps]; print([p.exitcode for p in ps])
    v=m.Value("i",0)
    def add():
        with v.get_lock(): v.value+=1
    ps=[m.Process(target=add) for _ in range(8)]; [p.start() for p in ps]; [p.join() for p in ps]; print(v.value)
    p=m.Process(target=__import__("time").sleep,args=(99,)); p.start(); p.terminate(); p.join(); print(p.exitcode)' '''),
    "python: multiprocessing, spawn and forkserver": ("python3", r'''
        cat >s.py <<'X'
import multiprocessing as m
def f(x): return x+1
if __name__=="__main__":
    for how in ("spawn","forkserver"):
        with m.get_context(how).Pool(2) as p: print(how,p.map(f,range(5)))
X
        python3 s.py; echo $?'''),
    "python: os.fork, pty, signals, threads": ("python3", r'''
        python3 -W ignore -c '
import os, signal, threading, pty, sys
pid=os.fork()
if not pid: os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGUSR1])
ev=threading.Event(); t=threading.Thread(target=ev.wait); t.start()
pid=os.fork()
if not pid: os._exit(6)
print(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1])); ev.set(); t.join()
os.kill(os.getpid(),signal.SIGUSR1); print(signal.sigwait([signal.SIGUSR1]))
print(pty.spawn(["sh","-c","tty >/dev/null && echo tty"]), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))
print(os.posix_spawn("/bin/sh",["sh","-c","exit 0"],os.environ)>0, os.wait()[1])' </dev/null'''),
    "python: asyncio subprocesses and a server": ("python3", r'''
        python3 -c '
import asyncio
async def main():
    ps=await asyncio.gather(*[asyncio.create_subprocess_exec("sh","-c",f"echo {i}; exit {i}",stdout=-1) for i in range(10)])
    print([(await p.communicate())[0] for p in ps],[p.returncode for p in ps])
    async def h(r,w):
        await r.readline(); w.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); await w.drain(); w.close()
    s=await asyncio.start_server(h,"127.0.0.1",0); r,w=await asyncio.open_connection(*s.sockets[0].getsockname())
    w.write(b"GET / HTTP/1.1\r\n\r\n"); print(await r.read()); w.close(); s.close()
asyncio.run(main())' '''),
    "ssh-keygen": ("ssh-keygen", r'''
        ssh-keygen -q -t ed25519 -N '' -C t -f k; echo $?; ssh-keygen -y -f k | cut -d' ' -f1; ssh-keygen -lf k.pub | cut -d' ' -f1,3,4
        echo data >d; ssh-keygen -q -Y sign -f k -n t d 2>/dev/null; head -n 1 d.sig; ssh-keygen -lf /nonexistent >/dev/null 2>&1; echo $?'''),
    "tar, gzip, xz pipelines": ("tar gzip", r'''
        mkdir d; for i in $(seq 50); do seq $i >d/$i; done; tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -czf t.gz d
        tar -tzf t.gz | md5sum; tar -xzf t.gz -O | md5sum; tar -c d --sort=name --mtime=@0 | gzip -9n | gunzip | tar -t | wc -l
        tar -cf - d | (mkdir e; cd e; tar -xf -); diff -r d e/d; echo $?; tar -xf /nonexistent 2>/dev/null; echo $?'''),
    "awk and sed with subprocesses": ("awk sed", r'''
        seq 20 | awk '{ "echo " $1*2 | getline x; close("echo " $1*2); s+=x } END { print s; print "z\na" | "sort"; close("sort"); system("exit 3") }'
        printf 'echo run\n' | sed -n 's/echo/echo/e;p' 2>/dev/null; echo $?'''),
    "timeout, nohup, setsid, nice, env": ("timeout nohup setsid", r'''
        timeout 5 env -i A=1 env; nohup sh -c 'echo hup' </dev/null 2>/dev/null; setsid -w sh -c 'exit 8'; echo $?; nice -n 5 nice
        env -u LD_PRELOAD sh -c 'echo ${LD_PRELOAD:-none}' '''),
    "daemon-like double forks": ("setsid", r'''
        (setsid sh -c '(sleep 0.1; echo done >out) &' &); for i in $(seq 200); do [ -s out ] && break; sleep 0.02; done; cat out'''),
    "curl against a closed port and a file": ("curl", r'''
        echo hello >f; curl -s file://$PWD/f; curl -s http://127.0.0.1:9/ ; echo $?'''),
    "openssl": ("openssl", r'''
        printf abc | openssl dgst -sha256; openssl rand -hex 4 | wc -c; printf x | openssl enc -aes-128-cbc -pass pass:p -pbkdf2 -S 0102030405060708 | md5sum'''),
    "su-less privilege drop": ("setpriv", r'''
        [ $(id -u) = 0 ] || exit 0; setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'id -u; (exit 4); echo $?' '''),
    "limits": ("bash", r'''bash -c 'ulimit -n 20; for i in 1 2 3; do (exit $i); echo $?; done; ulimit -v 300000; sh -c "echo small"; ulimit -c 0; sh -c "kill -SEGV \$\$"; echo $?' 2>/dev/null'''),
}


def run(script, folder, env):
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    process = subprocess.Popen(["sh", "-c", script], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=LIMIT_S)
        return process.returncode, out.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, _ = process.communicate()
        return "hangs", out.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preload", required=True)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--only", default=".")
    options = parser.parse_args()
    tap = Tap()
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))  # bound, not listening: refuses
    plain = clean_environment(LC_ALL="C", TZ="UTC")
    traced = dict(plain, LD_PRELOAD=os.path.abspath(options.preload), OTEL_SERVICE_NAME="tools", FORKSPAN_LOG="/dev/null",
                  OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{probe.getsockname()[1]}")
    folder = os.path.join(tempfile.mkdtemp(prefix="forkspan-tools-"), "work")
    began = time.monotonic()
    for name, (needs, script) in CASES.items():
        if not re.search(options.only, name):
            continue
        missing = [program for program in needs.split() if not shutil.which(program)]
        if missing:
            tap.skip(name, f"not here: {', '.join(missing)}")
            continue
        control = run(script, folder, plain)
        again = run(script, folder, plain)
        if control != again:
            tap.check(False, f"{name}: the case itself gives the same twice", f"{control}\n{again}")
            continue
        for _ in range(options.repeat):
            got = run(script, folder, traced)
            if got != control:
                break
        tap.check(got == control and control[1] != "", f"{name}: exit code and output are the same",
                  f"without: {control[0]}\n{control[1]}\nwith: {got[0]}\n{got[1]}")
    # The comparison sees a difference: a preload that writes a line is one.
    got = run("echo $0; exit 3", folder, plain), run("echo $0 other; exit 3", folder, plain), run("echo $0; exit 4", folder, plain)
    tap.check(got[0] != got[1] and got[0] != got[2], "control: another output and another exit code are seen")
    print(f"# {len(CASES)} cases in {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(os.path.dirname(folder), ignore_errors=True)
    tap.end()


main()
