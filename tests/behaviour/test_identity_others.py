"""Users of a view: what becomes of them, what they may do to the processes of others, whom they have met."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, run_with
from behaviour.programs import Programs, with_set_user_id

ROOT = run_with("--user", "root")
WITH_CPUS = run_with("--user", "root", "--cpus", "2")

pytestmark = pytest.mark.timeout(120)

PYTHON = "/usr/bin/python3"


def python(script: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


@each_way(ROOT)
def test_all_transitions_are_as_a_model_in_c_says(bench: Bench, way: Way, programs: Programs) -> None:
    place = with_set_user_id(bench.directory, programs("transitions"))
    out = bench.inside(way, [place / "plain", place, "15", "20"])
    assert out.lines == ["15 of 15 rounds of 20 transitions are as the model says"]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may search."""
    with tempfile.TemporaryDirectory(prefix="diorama-identity-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be anybody natively")
def test_the_kernel_says_what_the_model_in_c_says(
    bench: Bench, programs: Programs, open_directory: Path
) -> None:
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 16):
        pytest.skip("before Linux 6.16 an exec is judged by the real user")
    no_new_privs = "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()
    if no_new_privs or os.statvfs(open_directory).f_flag & os.ST_NOSUID:
        pytest.skip("set-user-ID programs give nothing here")
    place = with_set_user_id(open_directory, programs("transitions"))
    out = bench.native([place / "plain", place, "400", "20"])
    assert out.lines == ["400 of 400 rounds of 20 transitions are as the model says"]


SCHEDULING = """
import ctypes, os, resource, signal, struct
libc = ctypes.CDLL(None, use_errno=True)
SHORT = {1: "EPERM", 3: "ESRCH", 13: "EACCES", 22: "EINVAL"}
def outcome(call, *args):
    try:
        call(*args)
    except ValueError:
        return "EPERM"  # of setrlimit
    except OSError as error:
        return SHORT.get(error.errno, error.errno)
    return "done"
def syscall(*args):
    if libc.syscall(*args) < 0:
        raise OSError(ctypes.get_errno(), "")
def sleeper(user):
    into, out = os.pipe()
    pid = os.fork()
    if not pid:
        os.setgroups([]), os.setgid(user), os.setuid(user)
        os.write(out, b"x")
        signal.pause()
    os.read(into, 1)
    return pid
for which in resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO:
    resource.setrlimit(which, (0, 0))
NICE, CPU = os.getpriority(os.PRIO_PROCESS, 0), min(os.sched_getaffinity(0))
ONE, AT, PARAM = ctypes.byref(ctypes.c_ulong(1)), ctypes.byref(ctypes.c_ulong()), os.sched_param(0)
def everything(pid):
    yield outcome(resource.prlimit, pid, resource.RLIMIT_CORE)
    yield outcome(resource.prlimit, pid, resource.RLIMIT_CORE, (0, 0))
    yield outcome(os.setpriority, os.PRIO_PROCESS, pid, NICE + 2)
    yield outcome(os.setpriority, os.PRIO_PROCESS, pid, NICE + 1)
    yield outcome(os.sched_setaffinity, pid, {CPU})
    yield outcome(os.sched_setscheduler, pid, os.SCHED_BATCH, PARAM)
    yield outcome(os.sched_setscheduler, pid, os.SCHED_IDLE, PARAM)
    yield outcome(os.sched_setscheduler, pid, os.SCHED_OTHER, PARAM)
    yield outcome(os.sched_setparam, pid, PARAM)
    yield outcome(syscall, 251, 1, pid, 2 << 13 | 7)  # ioprio_set
    yield outcome(syscall, 251, 1, pid, 1 << 13 | 7)
    yield outcome(syscall, 274, pid, AT, AT)  # get_robust_list
    yield outcome(syscall, 279, pid, 0, None, None, None, 0)  # move_pages
    yield outcome(syscall, 314, pid, struct.pack("=IIQiIQQQ", 48, 3, 0, NICE + 2, 0, 0, 0, 0), 0)
def show(what, *told):
    print(what, *told, flush=True)
U = 61234
roots, other, own = sleeper(0), sleeper(U + 1), sleeper(U)
child = os.fork()
if not child:
    os.setgroups([]), os.setgid(U), os.setuid(U)
    for name, pid in ("root", roots), ("another", other), ("own", own), ("self", 0):
        show(name, *everything(pid))
    show("bad", outcome(os.sched_setscheduler, own, 77, PARAM))
    show("fifo", *[outcome(os.sched_setscheduler, own, os.SCHED_FIFO, os.sched_param(n)) for n in (1, 0)])
    nonsense = (144, own, 0, None), (144, -1, 0, None), (142, own, None), (144, own, 0, 8)
    show("nonsense", *[outcome(syscall, *one) for one in nonsense])
    show("nice", outcome(os.nice, -1))
    limits = (resource.RLIMIT_CORE, 5, 5), *[(resource.RLIMIT_NOFILE, 100, n) for n in (200, 201, 99)]
    show("limits", *[outcome(resource.setrlimit, which, pair) for which, *pair in limits])
    show("io of root", *[outcome(syscall, number, 3, 0, 2 << 13 | 6) for number in (251, 252)])
    for uid in U, U + 1, 4000000:
        show("user", outcome(os.setpriority, os.PRIO_USER, uid, NICE + 3), outcome(os.getpriority, 2, uid))
        show("io", *[outcome(syscall, number, 3, uid, 2 << 13 | 6) for number in (251, 252)])
    os.setpgid(0, 0)
    show("group", outcome(os.setpriority, os.PRIO_PGRP, 0, NICE + 4), os.getpriority(1, 0) - NICE)
    show("nobody", outcome(os.setpriority, os.PRIO_PROCESS, 4000000, NICE + 4))
    show("trees", *[outcome(syscall, 428, -100, b"/", flag) for flag in (1, 0)])  # open_tree
    os._exit(0)
os.waitpid(child, 0)
show("in the end", *[os.getpriority(os.PRIO_PROCESS, pid) - NICE for pid in (roots, other, own)])
for pid in other, own, roots:
    os.kill(pid, 9), os.waitpid(pid, 0)
"""

SCHEDULED = """\
root EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM
another EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM
own done done done EACCES done done done EPERM done done EPERM EPERM EPERM EPERM
self done done done EACCES done done done EPERM done done EPERM done done EPERM
bad EINVAL
fifo EPERM EINVAL
nonsense EINVAL EINVAL EINVAL 14
nice EPERM
limits EPERM done EPERM EPERM
io of root EPERM done
user done done
io done done
user EPERM done
io EPERM done
user ESRCH ESRCH
io ESRCH ESRCH
group done 4
nobody ESRCH
trees EPERM done
in the end 0 0 3
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of calls are those of x86-64")
@each_way(ROOT, WITH_CPUS)
def test_priorities_processors_and_limits_are_for_who_may_set_them(bench: Bench, way: Way) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) > 15:
        pytest.skip("runs at too low a priority to lower it")
    script = python(SCHEDULING)
    assert bench.inside(way, script).stdout == SCHEDULED
    if os.geteuid() == 0:
        assert bench.native(script).stdout == SCHEDULED


@each_way(run_with("--user", "root", "--cpus", "2"))
def test_who_is_not_root_chooses_among_the_processors_too(bench: Bench, way: Way) -> None:
    chosen = "os.setuid(5); os.sched_setaffinity(0, {1}); print(os.sched_getaffinity(0))"
    assert bench.inside(way, python(f"import os; {chosen}")).lines == ["{1}"]


MEETING = """
import os, socket, struct
ucred = struct.Struct("iII")
def peer(of):
    pid, uid, gid = ucred.unpack(of.getsockopt(socket.SOL_SOCKET, 17, ucred.size))
    groups = of.getsockopt(socket.SOL_SOCKET, 59, 64)
    return uid, gid, struct.unpack(f"{len(groups) // 4}I", groups)
def listener(name):
    made = socket.socket(socket.AF_UNIX)
    made.bind("\\0diorama-meeting-%s-%d" % (name, os.getpid()))
    made.listen()
    return made
def connected(to):
    made = socket.socket(socket.AF_UNIX)
    made.connect(to)
    return made
os.setgroups([0])
(go, gone), (wait, done) = os.pipe(), os.pipe()
as_root = listener("root")
name = as_root.getsockname()
child = os.fork()
if not child:
    first, pair, mine = connected(name), socket.socketpair(), listener("mine")
    os.write(done, mine.getsockname().ljust(64))
    os.setgroups([4, 5]), os.setresgid(7, 8, 9), os.setresuid(10, 11, 12)
    second, pairs = connected(name), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    print("pairs", *map(peer, (*pair, *pairs)), flush=True)
    other = listener("other")
    os.write(done, other.getsockname().ljust(64))
    os.read(go, 1)
    os._exit(0)
names = [os.read(wait, 64).rstrip(b" ") for _ in range(2)]
print("listeners", *[peer(connected(name)) for name in names], flush=True)
ends = [as_root.accept()[0] for _ in range(2)]
print("connected", *map(peer, ends), flush=True)
os.write(gone, b"x")
os.waitpid(child, 0)
print("gone", peer(ends[1]), flush=True)
child = os.fork()
if not child:
    os.setresgid(3, 3, 3), os.setresuid(2, 2, 2)
    connected(name)
    os._exit(0)
os.waitpid(child, 0)
print("gone before", peer(as_root.accept()[0]), flush=True)
os.setresuid(20, 21, 22)
print("listening still", peer(connected(name)), flush=True)
print("listening themselves", peer(as_root), peer(listener("later")), flush=True)
"""

MET = """\
pairs (0, 0, (0,)) (0, 0, (0,)) (11, 8, (4, 5)) (11, 8, (4, 5))
listeners (0, 0, (0,)) (11, 8, (4, 5))
connected (0, 0, (0,)) (11, 8, (4, 5))
gone (11, 8, (4, 5))
gone before (2, 3, (0,))
listening still (0, 0, (0,))
listening themselves (0, 0, (0,)) (21, 0, (0,))
"""


@each_way(ROOT)
def test_the_other_end_is_who_it_was_when_they_met(bench: Bench, way: Way) -> None:
    script = python(MEETING)
    assert bench.inside(way, script).stdout == MET
    if os.geteuid() == 0:
        assert bench.native(script).stdout == MET


UNNOTICED = """
import fcntl, os, sys
def attempt():
    for path in sys.argv[1:]:
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NOATIME)
            print("done", end=" ", flush=True)
        except PermissionError:
            print("EPERM", end=" ", flush=True)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
for path in sys.argv[1:]:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
attempt()
os.setuid(7)
attempt()
"""


@each_way(run_with("--user", "root"))
def test_only_the_owner_of_a_file_reads_it_unnoticed(bench: Bench, way: Way, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    remembering = f"{tmp_path}/tree={tmp_path}/tree:remember"
    words = (*way.words, "--mount", remembering, "--mount", f"memory:={tmp_path}/memory")
    script = python(UNNOTICED, tmp_path / "tree/a", tmp_path / "memory/b")
    assert bench.inside(Way("mounts", words), script).stdout == "done done EPERM EPERM "
