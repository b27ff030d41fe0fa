"""Users of a view: who programs are, and what they make of it."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
import textwrap

import pytest

from behaviour.harness import Bench, Way, each_way, run_with
from behaviour.programs import Programs, with_set_user_id
from diorama.abi.capability import ALL_CAPABILITIES
from diorama.view.identity import Identity
from dispatch.identities import VERSION_3, Model

ROOT = run_with("--user", "root")
NOBODY = run_with("--user", "4321:8765")

pytestmark = pytest.mark.timeout(120)

PYTHON = "/usr/bin/python3"
needs_python = pytest.mark.skipif(not os.path.exists(PYTHON), reason="needs a Python that everybody may run")


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


TELLING = """
import os
print(os.getresuid(), os.getresgid(), os.getgroups())
"""


@each_way(ROOT)
def test_programs_are_root(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(TELLING)).lines == ["(0, 0, 0) (0, 0, 0) [0]"]


@needs_python
@each_way(NOBODY)
def test_a_number_that_is_no_users_is_a_user_too(bench: Bench, way: Way) -> None:
    assert bench.inside(way, [PYTHON, "-c", TELLING]).lines == ["(4321, 4321, 4321) (8765, 8765, 8765) []"]


DROPPING = """
import os
os.setgroups([5, 3])
os.setresgid(7, 8, 9)
os.setresuid(10, 11, 12)
print(os.getresuid(), os.getresgid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("refused")
os.seteuid(12)
if not os.fork():
    print("child", os.getresuid(), flush=True)
    os._exit(0)
os.wait()
os.execv("/bin/sh", ["sh", "-pc", "id -u; id -ru"])
"""


@each_way(ROOT)
def test_who_gives_up_root_does_so_for_good_and_his_children_too(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(DROPPING)).lines == [
        "(10, 11, 12) (7, 8, 9) [3, 5]",
        "refused",
        "child (10, 12, 12)",
        "12",
        "10",
    ]


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("nosuchuser", "unknown user 'nosuchuser'"),
        ("root:nosuchgroup", "unknown group 'nosuchgroup'"),
        ("-1", "cannot run with the id -1"),
        ("4294967295", "cannot run with the id 4294967295"),
        ("", "cannot run as nobody in particular"),
        ("0:", "cannot run as nobody in particular"),
    ],
)
def test_an_unknown_user_is_one_clear_line(bench: Bench, who: str, told: str) -> None:
    out = bench.inside(run_with("--user", who), ["true"])
    assert (out.status, out.stdout) == (125, "")
    (line,) = out.stderr.splitlines()
    assert told in line


@each_way(ROOT)
def test_children_are_who_their_makers_were_when_they_were_made(
    bench: Bench, way: Way, programs: Programs
) -> None:
    out = bench.inside(way, [programs("inheriting"), "4", "250"])
    assert out.lines == ["1000 children are who their makers were"]


# -- the rules ------------------------------------------------------------------------------------


def random_calls(seed: int, count: int) -> list[str]:
    """Calls of all kinds; now and then root is got back by the file that gives it."""
    choose = random.Random(seed)
    ids = ("0", "1", "7", "1000", "70000", "-1")
    sets = (0, 1 << 7, 1 << 6 | 1 << 7 | 1 << 8, ALL_CAPABILITIES)
    lines: list[str] = []
    while len(lines) < count:
        name, width = choose.choice(
            [
                *(("setuid", 1), ("setreuid", 2), ("setresuid", 3), ("setfsuid", 1), ("setgid", 1)),
                *(("setregid", 2), ("setresgid", 3), ("setfsgid", 1), ("setgroups", 3)),
            ]
        )
        lines.append(" ".join([name, *choose.choices(ids, k=width)]))
        capability, what = choose.choice((1, 6, 7, 8, 63)), choose.choice((1, 2, 2, 3, 4))
        lines += choose.sample(
            [
                f"capset {VERSION_3:#x} 0 {choose.choice(sets)} {choose.choice(sets)} {choose.choice(sets)}",
                f"prctl 24 {choose.choice((30, 31, 64))}",
                f"prctl 47 {what} {0 if what == 4 else capability}",
                f"prctl 28 {choose.choice((0, 1, 4, 16, 64))}",
                f"prctl 8 {choose.choice((0, 1, 2))}",
                "prctl 7",
                "exec",
                "exec PLACE/of_root",
                "exec PLACE/of_root",
            ],
            k=2,
        )
    return lines


@each_way(ROOT)
def test_two_hundred_transitions_are_those_of_the_rules(bench: Bench, way: Way, programs: Programs) -> None:
    place = with_set_user_id(bench.directory, programs("credentials"))
    lines = random_calls(7, 240)
    text = "\n".join(line.replace("PLACE", str(place)) for line in lines)
    told = bench.inside(way, [place / "plain"], stdin=text).lines
    model = Model(Identity.of(0, 0, (0,)))
    for line in lines:
        model.make(line)
    assert told == model.told


OLD = """
setgid16 70000
setgid16 65535
setgid16 5
setuid16 65535
setresuid16 65535 7 0
setresgid16 3 65535 65535
geteuid16
getuid16
getegid16
setreuid16 -1 0
setuid 70000
getuid16
geteuid16
setfsuid16 3
setfsuid 5
"""


@each_way(ROOT)
def test_calls_of_sixteen_bits_keep_what_has_no_room_in_them(
    bench: Bench, way: Way, programs: Programs
) -> None:
    told = bench.inside(way, [programs("credentials", 32)], stdin=OLD).lines
    assert [line.split(" |")[0] for line in told] == [
        "setgid16 0 0",  # 70000 is 4464 in 16 bits
        "setgid16 -1 22",
        "setgid16 0 0",
        "setuid16 -1 22",
        "setresuid16 0 0",
        "setresgid16 -1 1",
        "geteuid16 7 0",
        "getuid16 0 0",
        "getegid16 5 0",
        "setreuid16 0 0",
        "setuid 0 0",
        "getuid16 65534 0",
        "geteuid16 65534 0",
        "setfsuid16 65534 0",
        "setfsuid 70000 0",
    ]


VERSIONS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def get(version, pid, room):
    header = (ctypes.c_uint32 * 2)(version, pid)
    data = (ctypes.c_uint32 * 6)(*[9] * 6)
    ctypes.set_errno(0)
    result = libc.syscall(125, header, data if room else None)
    print(result, ctypes.get_errno(), hex(header[0]), [hex(one) for one in data])
for version in 0x19980330, 0x20071026, 0x20080522, 5:
    get(version, 0, True)
    get(version, 0, False)
get(0x20080522, 2**32 - 1, True)
get(0x20080522, 4194305, True)
import os
get(0x20080522, os.getpid(), True)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the call is that of x86-64")
@needs_python
@each_way(NOBODY)
def test_all_versions_of_capget_tell_the_same(bench: Bench, way: Way) -> None:
    script = [PYTHON, "-c", VERSIONS]
    dropped = ["setpriv", "--reuid=4321", "--regid=8765", "--clear-groups", *script]
    if os.geteuid() == 0 and bench.native(dropped).status == 0:
        assert bench.inside(way, script).lines == bench.native(dropped).lines
    nothing = str(["0x0"] * 6)
    assert f"0 0 0x20080522 {nothing}" in bench.inside(way, script).lines


# -- what it means for others ---------------------------------------------------------------------


SENDING = """
import ctypes, os, signal, subprocess, time
def attempt(what, *call):
    try:
        call[0](*call[1:])
        print(what, "done", flush=True)
    except OSError as error:
        print(what, error.strerror, flush=True)
    except ProcessLookupError:
        print(what, "nobody", flush=True)
def sleeper(user):
    into, out = os.pipe()
    pid = os.fork()
    if not pid:
        os.setgroups([]), os.setgid(user), os.setuid(user)
        os.write(out, b"x")
        signal.pause()
    os.read(into, 1)
    return pid
roots, other, own = sleeper(0), sleeper(8), sleeper(7)
child = os.fork()
if not child:
    os.setgroups([]), os.setgid(7), os.setuid(7)
    for name, pid in ("root's", roots), ("another's", other), ("one's own", own):
        attempt(name, os.kill, pid, 0)
        attempt("continuing " + name, os.kill, pid, signal.SIGCONT)
        attempt("by descriptor, " + name, signal.pidfd_send_signal, os.pidfd_open(pid), 0)
        libc = ctypes.CDLL(None, use_errno=True)
        data = ctypes.create_string_buffer(16)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(data), 8)
        far = (ctypes.c_size_t * 2)(ctypes.addressof(data), 8)
        read = libc.process_vm_readv(pid, vector, 1, far, 1, 0)
        print("memory", read, flush=True)
    attempt("a number too large", os.kill, own, 65)
    os.setpgid(0, 0)
    attempt("to a group", os.kill, 0, signal.SIGCONT)
    os._exit(0)
os.waitpid(child, 0)
attempt("root to another", os.kill, other, signal.SIGKILL)
attempt("root to another", os.kill, own, signal.SIGKILL)
attempt("root to root", os.kill, roots, signal.SIGKILL)
for pid in roots, other, own:
    print(os.waitpid(pid, 0)[1])
"""


@each_way(ROOT)
def test_signals_and_looks_are_for_who_may(bench: Bench, way: Way) -> None:
    script = python(SENDING)
    refused = "Operation not permitted"
    expected: list[str] = []
    for name, answer in (("root's", refused), ("another's", refused), ("one's own", "done")):
        expected += [f"{name} {answer}", f"continuing {name} done", f"by descriptor, {name} {answer}"]
        expected += ["memory -1"]  # who has changed who he is has closed it
    lines = bench.inside(way, script).lines
    assert lines[: len(expected)] == expected
    if os.geteuid() == 0:
        assert lines == bench.native(script).lines


@each_way(ROOT)
def test_a_signal_to_all_stays_in_the_view(bench: Bench, way: Way) -> None:
    outside = subprocess.Popen(["sleep", "600"])
    try:
        script = "sleep 600 & kill -TERM -1; wait $!; echo $?"
        assert bench.inside(way, ["sh", "-c", script]).lines == ["143"]
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


STATUS = """
import os
def tell(path="/proc/self/status"):
    names = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")
    with open(path) as status:
        print([line for line in status if line.split(":")[0] in names], flush=True)
os.setgroups([9, 8])
os.setresgid(1, 2, 3)
os.setresuid(4, 0, 6)
tell()
child = os.fork()
if not child:
    os.setuid(4)
    tell()
    tell(f"/proc/{os.getppid()}/status")
    tell("/proc/thread-self/status")
    os._exit(0)
os.wait()
"""


@each_way(ROOT)
def test_proc_tells_who_a_process_is(bench: Bench, way: Way) -> None:
    told = bench.inside(way, python(STATUS)).lines
    assert len(told) == 4
    assert "'Uid:\\t4\\t0\\t6\\t0\\n', 'Gid:\\t1\\t2\\t3\\t2\\n', 'Groups:\\t8 9 \\n'" in told[0]
    assert "CapEff:\\t000001ffffffffff" in told[0]
    assert "NoNewPrivs:\\t0" in told[0]
    assert "'Uid:\\t4\\t4\\t4\\t4\\n'" in told[1]
    assert told[1] == told[3]
    assert told[2] == told[0]


AUXILIARY = """
import ctypes, os, sys
value = ctypes.CDLL(None).getauxval
value.restype, value.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
print([value(one) for one in (11, 12, 13, 14, 23)], flush=True)
if len(sys.argv) > 1:
    os.setresgid(3, 3, 4)
    os.setresuid(1, 2, 2)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


@each_way(ROOT)
def test_programs_find_who_runs_them_when_they_begin(bench: Bench, way: Way) -> None:
    out = bench.inside(way, python(AUXILIARY, AUXILIARY))
    assert out.lines == ["[0, 0, 0, 0, 0]", "[1, 2, 3, 3, 1]"]


PRIVILEGED = """
import ctypes, os, socket, time
def attempt(what, *call):
    try:
        call[0](*call[1:])
        print(what, "done", flush=True)
    except OSError as error:
        print(what, error.strerror, flush=True)
libc = ctypes.CDLL(None, use_errno=True)
def reboot():
    if libc.reboot(0x89ABCDEF):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
if os.getuid():
    attempt("hostname", socket.sethostname, "elsewhere")
    attempt("clock", time.clock_settime, time.CLOCK_REALTIME, 0)
    attempt("raw", socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
    attempt("groups", os.setgroups, [])
attempt("reboot", reboot)
"""


@needs_python
@each_way(NOBODY)
def test_who_has_no_capability_is_told_so_whoever_runs_the_view(bench: Bench, way: Way) -> None:
    out = bench.inside(way, [PYTHON, "-c", PRIVILEGED])
    refused = "Operation not permitted"
    assert out.lines == [f"{what} {refused}" for what in ("hostname", "clock", "raw", "groups", "reboot")]
    assert not out.stderr


@each_way(ROOT)
def test_no_root_restarts_the_machine(bench: Bench, way: Way) -> None:
    out = bench.inside(way, python(PRIVILEGED))
    assert out.lines == ["reboot Operation not permitted"]
    assert out.stderr == "diorama: reboot: a view has no machine to restart or halt\n"


@each_way(ROOT)
def test_mounting_is_for_root(bench: Bench, way: Way) -> None:
    bind = "mount --bind /usr /mnt"
    other = f"setpriv --reuid 9 --clear-groups {bind} 2>&1"
    script = f"{bind}; ls -d /mnt/bin; umount /mnt; {other}; ls -d /mnt/bin"
    out = bench.inside(way, ["sh", "-c", script])
    assert out.lines[0] == "/mnt/bin"
    assert "superuser" in out.lines[1]
    assert "/mnt/bin" not in out.lines[2:]


RAW = """
import ctypes, os, socket
os.setgroups([]), os.setuid(5)
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET):
    for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC):
        try:
            socket.socket(family, socket.SOCK_RAW | flags, socket.IPPROTO_ICMP)
        except OSError as error:
            print(error.strerror)
"""


@each_way(run_with("--user", "root", "--mount", "memory:=/mnt"))
def test_who_gives_up_root_has_no_raw_sockets(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(RAW)).lines == ["Operation not permitted"] * 12


@each_way(ROOT)
def test_there_is_no_audit_log_to_write_to(bench: Bench, way: Way) -> None:
    script = """
    import socket
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
    except OSError as error:
        print(error.strerror)
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    """
    assert bench.inside(way, python(textwrap.dedent(script))).lines == ["Protocol not supported"]


SENDERS = """
import os, socket, struct
PEER, PASS, GROUPS, SENT = 17, 16, 59, 2
ucred = struct.Struct("iII")
def peer(of):
    return ucred.unpack(of.getsockopt(socket.SOL_SOCKET, PEER, ucred.size))[1:]
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
theirs.setsockopt(socket.SOL_SOCKET, PASS, 1)
def hear():
    data, control, *_ = theirs.recvmsg(100, 100)
    print(data, [ucred.unpack(one)[1:] for _, _, one in control], flush=True)
def say(data, pid, uid, gid):
    ours.sendmsg([data], [(socket.SOL_SOCKET, SENT, ucred.pack(pid, uid, gid))])
ours.send(b"root"); hear()
go, gone = os.pipe()
child = os.fork()
if not child:
    os.setgroups([4]), os.setresgid(8, 8, 9), os.setresuid(7, 7, 3)
    ours.send(b"somebody")
    theirs.close()
    os.read(go, 1)
    say(b"saved ids", os.getpid(), 3, 9)
    try:
        say(b"lie", os.getpid(), 0, 9)
    except PermissionError as error:
        print(error.strerror, flush=True)
    os._exit(0)
hear()
os.write(gone, b"x")
os.waitpid(child, 0)
hear()
say(b"another", 1, 77, 78); hear()
listening = socket.socket(socket.AF_UNIX)
listening.bind("\\0diorama-identity-%d" % os.getpid())
listening.listen()
child = os.fork()
if not child:
    os.setgroups([4, 5]), os.setgid(8), os.setuid(7)
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(listening.getsockname())
    print("listener", peer(connected), flush=True)
    connected.recv(1)
    os._exit(0)
accepted, _ = listening.accept()
groups = accepted.getsockopt(socket.SOL_SOCKET, GROUPS, 8)
print("client", peer(accepted), struct.unpack("2I", groups), flush=True)
try:
    accepted.getsockopt(socket.SOL_SOCKET, GROUPS, 4)
except OSError as error:
    print(error.strerror, flush=True)
accepted.close()
os.wait()
"""


@each_way(ROOT)
def test_who_is_at_the_other_end_of_a_socket_is_who_is_there_in_the_view(bench: Bench, way: Way) -> None:
    script = python(SENDERS)
    lines = bench.inside(way, script).lines
    assert "b'saved ids' [(3, 9)]" in lines
    assert "Operation not permitted" in lines
    assert "b'another' [(77, 78)]" in lines
    assert sorted(lines[-3:]) == [
        "Numerical result out of range",
        "client (7, 8) (4, 5)",
        "listener (0, 0)",
    ]
    if os.geteuid() == 0:
        assert sorted(lines) == sorted(bench.native(script).lines)


SU = [sys.executable, "-P", "-m", "diorama", "su"]


def as_nobody(*argv: str) -> list[str]:
    return ["setpriv", "--reuid=4321", "--regid=8765", "--clear-groups", *argv]


@each_way(ROOT)
def test_everybody_may_become_another_by_su(bench: Bench, way: Way) -> None:
    out = bench.inside(way, as_nobody(*SU, "-c", "id -u; echo $HOME"))
    assert out.lines == ["0", "/root"]
    out = bench.inside(way, as_nobody(*SU, "-s", "/bin/sh", "77:88", "-c", "id -u; id -g; id -G"))
    assert out.lines == ["77", "88", "88"]
    out = bench.inside(way, as_nobody(*SU, "-s", "/bin/sh", "daemon", "-c", "id -u; echo $USER; id -ru"))
    assert out.lines == ["1", "daemon", "1"]


@each_way(ROOT)
def test_su_says_in_one_line_what_is_wrong(bench: Bench, way: Way) -> None:
    out = bench.inside(way, [*SU, "nosuchuser"])
    assert (out.status, len(out.stderr.splitlines())) == (125, 1)
    assert "unknown user 'nosuchuser'" in out.stderr
    out = bench.inside(way, ["setpriv", "--no-new-privs", *SU])
    assert (out.status, len(out.stderr.splitlines())) == (125, 1)
    assert "no_new_privs" in out.stderr
    out = bench.native(SU)
    assert (out.status, len(out.stderr.splitlines())) == (125, 1)
    assert "not inside a view with users" in out.stderr


WHOSE = """
import os
os.setgroups([])
os.setgid(3)
os.setuid(2)
found = map(os.stat, ("/proc/self", "/proc/self/environ"))
print([(one.st_uid, one.st_gid) for one in found], flush=True)
os.execv("/bin/sh", ["sh", "-c", "stat -c '%u %g' /proc/$$ /proc/$$/environ"])
"""


@pytest.mark.skipif(os.geteuid() == 0, reason="to root, files are whose they are on the host")
@each_way(ROOT)
def test_the_directory_of_a_process_is_its_users(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(WHOSE)).lines == ["[(2, 3), (0, 0)]", "2 3", "2 3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="others can read no more as somebody else anyway")
@each_way(NOBODY)
def test_who_is_not_root_reads_what_he_may_though_root_runs_the_view(bench: Bench, way: Way) -> None:
    secret = bench.directory / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    script = f"cat {secret} || id -u; cat /etc/passwd >/dev/null && id -g"
    out = bench.inside(way, ["sh", "-c", script])
    assert out.lines == ["4321", "8765"]
    assert "Permission denied" in out.stderr
