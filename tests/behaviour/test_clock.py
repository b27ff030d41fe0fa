"""A view's clock, as programs read it, wait for it and set it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

import diorama
from behaviour.harness import Bench, Way, each_way, run_with
from behaviour.programs import Programs
from diorama.dispatch.clock.waiting import SLICE, Deadline
from diorama.view.clock import NSEC, Clock, Course, Kind, Moment

LATER = datetime(2040, 1, 1, tzinfo=UTC)
STILL = "at=2040-01-01T00:00:00Z,freeze"
ALL_CLOCKS = """
import time
def show(name, id): print(name, time.clock_gettime_ns(id) // 10**9)
show("realtime", 0); show("coarse", 5)
print("time", int(time.time()))
print("own", time.process_time() < 1000, time.thread_time() < 1000)
"""
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", textwrap.dedent(code)]


@each_way(run_with("--clock", STILL))
def test_a_clock_that_stands_still(bench: Bench, way: Way) -> None:
    seconds = str(int(LATER.timestamp()))
    done = bench.inside(way, ["sh", "-c", "date +%s.%N; sleep 0.01; date +%s.%N; date -u +%Y"])
    assert done.lines == [f"{seconds}.000000000"] * 2 + ["2040"]
    done = bench.inside(way, python(ALL_CLOCKS))
    assert done.lines == [f"realtime {seconds}", f"coarse {seconds}", f"time {seconds}", "own True True"]


@each_way(run_with("--clock", "freeze", "--clock", f"at={LATER.isoformat()}"))
def test_options_follow_one_another(bench: Bench, way: Way) -> None:
    assert bench.inside(way, ["date", "+%s.%N"]).lines == [f"{int(LATER.timestamp())}.000000000"]


@needs_gcc
@each_way(run_with("--clock", "scale=200,offset=-1d"))
@pytest.mark.parametrize("bits", [64, 32])
def test_waits_are_as_long_as_the_program_thinks(
    bench: Bench, way: Way, programs: Programs, bits: int
) -> None:
    done = bench.inside(way, [programs("waits", bits), "20", "60"])
    assert (done.stderr, done.status) == ("", 0)
    assert len(done.lines) == 23
    assert all(line.endswith(": waited") for line in done.lines), done.lines


IN_PYTHON = """
    import time
    wall, began = int(time.time()), time.monotonic()
    time.sleep(0.2)
    print(wall, str(time.monotonic() - began >= 0.2).lower())
"""


@pytest.mark.timeout(300)  # a compiler may be run first
@each_way(*[run_with("--clock", clock) for clock in (STILL, "offset=1000d", "scale=20,at=2040-01-01")])
@pytest.mark.parametrize("language", ["python", "go", "java"])
def test_all_languages_agree(bench: Bench, way: Way, programs: Programs, language: str) -> None:
    command = python(IN_PYTHON)
    if language != "python":
        command = programs.go("clock") if language == "go" else programs.java("Clock")
    is_ahead = way.words[-1].startswith("offset")
    expected = time.time() + 1000 * 86400 if is_ahead else LATER.timestamp()
    done = bench.inside(way, command, limit=100)
    wall, slept = done.stdout.split()
    assert (slept, done.stderr, done.status) == ("true", "", 0)
    late = 0 if way.words[-1] == STILL else 20 * 100
    assert int(expected) <= int(wall) <= expected + late


@each_way(run_with("--clock", "scale=100"))
def test_a_long_sleep_is_short(bench: Bench, way: Way) -> None:
    began = time.monotonic()
    done = bench.inside(way, ["sh", "-c", "date +%s; sleep 1000; date +%s"])
    before, after = map(int, done.lines)
    assert after - before >= 999
    assert time.monotonic() - began < 900


@each_way(run_with("--clock", STILL + ",scale=-10"))
def test_a_clock_that_runs_backwards(bench: Bench, way: Way) -> None:
    done = bench.inside(
        way,
        python("""
            import time
            wall, other = time.time_ns(), time.monotonic_ns()
            time.sleep(3)
            print(time.time_ns() <= wall, time.monotonic_ns() - other >= 3 * 10**9)
        """),
    )
    assert done.lines == ["True True"]


@each_way(run_with("--clock", "at=@1000,step=10"))
def test_a_clock_that_goes_on_with_each_reading(bench: Bench, way: Way) -> None:
    done = bench.inside(way, python("import time; print(*[int(time.time()) % 10 for _ in range(5)])"))
    assert done.lines == ["0 0 0 0 0"]
    done = bench.inside(
        way, python("import time; a = [int(time.time()) for _ in range(5)]; print(a[4] - a[0], a[0] >= 1000)")
    )
    assert done.lines == ["40 True"]


@each_way(run_with("--clock", "freeze"))
def test_it_is_set_inside(bench: Bench, way: Way) -> None:
    script = "date -u -s 2033-03-03T03:03:03 >/dev/null && date -u +%FT%T && sh -c 'date -u +%FT%T'"
    assert bench.inside(way, ["sh", "-c", script]).lines == ["2033-03-03T03:03:03"] * 2
    done = bench.inside(
        way,
        python("""
            import ctypes, errno, struct, time
            libc = ctypes.CDLL(None, use_errno=True)
            def call(name, *arguments):
                return errno.errorcode[ctypes.get_errno()] if getattr(libc, name)(*arguments) < 0 else "ok"
            print(call("settimeofday", struct.pack("qq", 2000000000, 5), None), time.time_ns())
            print(call("settimeofday", struct.pack("qq", -1, 0), None))
            print(call("clock_settime", 0, struct.pack("qq", 2000000001, 10**9)))
            print(call("clock_settime", 0, struct.pack("qq", 2**40, 0)))
            print(call("clock_settime", 1, struct.pack("qq", 5, 0)))
            timex = bytearray(208)
            struct.pack_into("I", timex, 0, 0x100)  # ADJ_SETOFFSET
            struct.pack_into("qq", timex, 72, -100, 7)
            room = (ctypes.c_char * 208).from_buffer(timex)
            assert libc.adjtimex(room) >= 0
            print(struct.unpack_from("qq", timex, 72), time.time_ns())
        """),
    )
    assert done.lines[0] == "ok 2000000000000005000"
    assert done.lines[1:5] == ["EINVAL"] * 4
    assert done.lines[5].endswith(" 1999999900000012000")


@each_way(run_with("--clock", STILL))
def test_processes_have_clocks_of_their_own(bench: Bench, way: Way) -> None:
    own = [sys.executable, "-P", "-m", "diorama", "clock"]
    command = "sh -c 'date -u +%Y; (date -u +%Y); sh -c \"date -u +%m\"'"
    inner = " ".join([*own, "at=2050-06-06T00:00:00Z", "--", command])
    done = bench.inside(
        way, ["sh", "-c", f"{inner}; date -u +%Y; {' '.join(own)} advance=366d && date -u +%Y"]
    )
    assert (done.lines, done.stderr) == (["2050", "2050", "06", "2040", "2041"], "")


FORKS = """
import os, subprocess, sys, time
own = [sys.executable, "-P", "-m", "diorama", "clock"]
code = '''
import os, sys, threading, time
want = int(sys.argv[1])
for _ in range(60):
    pid = os.fork()
    if not pid:
        os._exit(0 if int(time.time()) == want else 1)
    found = []
    thread = threading.Thread(target=lambda: found.append(int(time.time())))
    thread.start(); thread.join()
    assert os.waitpid(pid, 0)[1] == 0 and found == [want]
'''
started = [
    subprocess.Popen([*own, f"at=@{at},freeze", "--", sys.executable, "-I", "-c", code, str(at)])
    for at in range(1000, 1004)
]
print([one.wait() for one in started])
"""


@each_way(run_with("--clock", STILL))
def test_a_clock_is_inherited_at_each_clone(bench: Bench, way: Way) -> None:
    done = bench.inside(way, [sys.executable, "-P", "-W", "ignore", "-c", FORKS])
    assert (done.lines, done.stderr) == (["[0, 0, 0, 0]"], "")


@each_way(run_with("--mount", "clock:=/mnt/clock"))
def test_files_read_and_set_it(bench: Bench, way: Way) -> None:
    script = """
        cd /mnt/clock; ls; cat frequency offset
        before=$(date +%s); echo 3600 >offset; after=$(date +%s); cat offset
        test $((after - before)) -ge 3600 && echo an hour later
        echo 0 >frequency; date +%s.%N >/dev/null; one=$(date +%s.%N); sleep 0.01; two=$(date +%s.%N)
        test $one = $two && echo stopped
        echo -1 >frequency; one=$(date +%s%N); sleep 0.01; two=$(date +%s%N)
        test $two -lt $one && echo backwards; cat frequency
        echo 0 >base || echo before 1970
        echo never >offset || echo refused
    """
    done = bench.inside(way, ["bash", "-c", script])
    told = "base frequency offset 1 0 3600 / an hour later / stopped / backwards / -1 / before 1970 / refused"
    assert " ".join(done.lines) == told.replace("/ ", "")
    assert "Invalid argument" in done.stderr


@each_way(run_with("--clock", "at=2040-01-01T00:00:00Z"))
def test_what_tells_how_long_the_system_runs(bench: Bench, way: Way) -> None:
    done = bench.inside(
        way,
        python("""
            import time
            boot, up = (time.clock_gettime(id) for id in (7, 7))
            text = float(open("/proc/uptime").read().split()[0])
            since = next(int(line.split()[1]) for line in open("/proc/stat") if line.startswith("btime"))
            print(boot - 1 <= text <= time.clock_gettime(7) + 1, abs(time.time() - text - since) < 60)
        """),
    )
    assert done.lines == ["True True"]


@each_way(run_with("--clock", "at=2001-01-01T00:00:00Z,freeze", "--mount", "memory:=/mnt/files"))
def test_times_of_files_are_those_of_the_view(bench: Bench, way: Way) -> None:
    done = bench.inside(
        way,
        python("""
            import os
            os.chdir("/mnt/files")
            fd = os.open("file", os.O_RDWR | os.O_CREAT)
            seen = [os.stat("file")]
            os.write(fd, b"text"); seen.append(os.fstat(fd))
            os.utime("file", (5, 6)); print(os.stat("file").st_mtime, os.stat("file").st_atime)
            os.write(fd, b"more"); seen.append(os.stat("file"))
            os.pread(fd, 4, 0); seen.append(os.stat("file"))
            os.utime("file"); os.mkdir("directory"); os.symlink("x", "link")
            os.ftruncate(fd, 1); os.close(fd)
            seen += [os.lstat(name) for name in ("file", "directory", "link", ".")]
            print({one.st_mtime for one in seen}, {one.st_ctime for one in seen})
        """),
    )
    assert done.lines == ["6.0 5.0", "{978307200.0} {978307200.0}"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("at=yesterday", "is no date"),
        ("at=1930-01-01", "shows times from 1970"),
        ("scale=fast", "is no speed"),
        ("scale=1e9", "cannot be a speed"),
        ("offset=1x", "unknown unit"),
        ("advance=-5", "is negative"),
        ("freeze=1", "write freeze"),
        ("at", "write at=..."),
        ("at=2030-01-01,offset=5", "either at=DATE or offset=TIME"),
        ("jump", "unknown 'jump'"),
    ],
)
def test_mistakes_are_told_in_one_line(bench: Bench, change: str, told: str) -> None:
    done = bench.inside(run_with("--clock", change), ["true"])
    assert (done.status, done.stdout, len(done.stderr.splitlines())) == (125, "", 1)
    assert told in done.stderr


def test_outside_of_a_view_there_is_no_clock_to_change(bench: Bench) -> None:
    done = bench.native([sys.executable, "-P", "-m", "diorama", "clock", "freeze"])
    assert (done.status, done.stdout) == (125, "")
    assert "not inside a view with a clock" in done.stderr


@needs_gcc
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86-64")
@each_way(run_with("--clock", STILL))
def test_the_vsyscall_page(bench: Bench, way: Way, programs: Programs) -> None:
    native = bench.native([programs("vsyscall")])
    if native.lines == ["no page"]:
        pytest.skip("needs a kernel with a vsyscall page")
    seconds = int(LATER.timestamp())
    assert bench.inside(way, [programs("vsyscall")]).lines == [f"{seconds} {seconds}"]


def test_handlers_see_who_reads_a_clock(engine: str) -> None:
    seen: set[str] = set()
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.change(STILL)

        @view.on("clock_gettime", "time", "gettimeofday", "nanosleep", "clock_nanosleep")
        def note(call: Any) -> None:
            seen.add(call.NAME)

        done = view.run(
            python("import time; time.sleep(0.01); print(int(time.time()))"),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout == f"{int(LATER.timestamp())}\n"
    assert seen >= {"clock_gettime", "clock_nanosleep"}


@each_way(run_with("--clock", "offset=1000d", "--cpus", "3"))
def test_files_that_tell_of_more_than_time(bench: Bench, way: Way) -> None:
    script = "grep -c '^cpu[0-9]' /proc/stat; grep btime /proc/stat; uptime -s 2>/dev/null || true"
    native = bench.native(["grep", "btime", "/proc/stat"])
    done = bench.inside(way, ["sh", "-c", script])
    assert done.lines[0] == "3"
    ahead = int(done.lines[1].split()[1]) - int(native.stdout.split()[1])
    assert abs(ahead - 1000 * 86400) < 60


# -- what does not wait, and what is too long ---------------------------------------------------


AT_ONCE = """
    import ctypes, errno, socket, struct
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        return errno.errorcode[ctypes.get_errno()] if getattr(libc, name)(*arguments) < 0 else "ok"
    most = 2**63 - 1
    id = libc.semget(0, 1, 0o600)
    print(call("semtimedop", id, struct.pack("Hhh", 0, -1, 0o4000), 1, struct.pack("qq", 10**6, 0)))
    libc.semctl(id, 0, 0)
    one, other = socket.socketpair(type=socket.SOCK_DGRAM)
    messages, wait = ctypes.create_string_buffer(128), struct.pack("qq", 10**6, 0)
    print(call("recvmmsg", one.fileno(), messages, 2, socket.MSG_DONTWAIT, wait))
    print(call("setsockopt", one.fileno(), 1, 20, struct.pack("qq", most, 0), 16), one.getsockopt(1, 20, 16))
    fd, timer = libc.timerfd_create(1, 0), ctypes.c_void_p()
    print(call("timerfd_settime", fd, 1, struct.pack("4q", 0, 0, most, 0), None))
    print(call("timer_create", 0, None, ctypes.byref(timer)))
    print(call("timer_settime", timer, 1, struct.pack("4q", most, 0, most, 0), None))
    print(call("adjtime", None, ctypes.create_string_buffer(16)))
"""


@each_way(run_with("--clock", "scale=0.5"))
def test_what_does_not_wait_and_what_is_too_long(bench: Bench, way: Way) -> None:
    done = bench.inside(way, python(AT_ONCE))
    assert (done.lines, done.stderr) == (bench.native(python(AT_ONCE)).lines, "")


@each_way(run_with("--clock", "step=1000"))
def test_what_is_past_by_a_step_is_past(bench: Bench, way: Way) -> None:
    done = bench.inside(
        way,
        python("""
            import ctypes, os, struct, time
            libc = ctypes.CDLL(None)
            past = struct.pack("qq", int([time.time() for _ in range(3)][-1]) - 1, 0)
            print(libc.clock_nanosleep(0, 1, past, None))
            fd = libc.timerfd_create(0, 0)
            print(libc.timerfd_settime(fd, 1, struct.pack("qq", 0, 0) + past, None), len(os.read(fd, 8)))
        """),
    )
    assert done.lines == ["0", "0 8"]


@each_way(run_with("--clock", "scale=2"))
def test_select_leaves_alone_what_is_behind_its_sets(bench: Bench, way: Way) -> None:
    done = bench.inside(
        way,
        python("""
            import ctypes, struct, threading, time
            room = (ctypes.c_char * (1 << 17))()
            def change():
                time.sleep(0.2)
                room[1 << 16] = 1
            thread = threading.Thread(target=change)
            thread.start()
            print(ctypes.CDLL(None).select(1 << 20, room, None, None, struct.pack("qq", 3, 0)))
            thread.join()
            print(room[1 << 16])
        """),
    )
    assert done.lines == ["0", "b'\\x01'"]


def test_who_waits_for_a_time_that_only_went_by_backwards_waits_in_slices() -> None:
    at = Moment(*[1000 * NSEC] * 4)
    later = Moment(*[1010 * NSEC] * 4)
    clock = Clock(1, lambda: later, Course(at, at, Fraction(-1), Fraction(1)))
    assert Deadline(clock, Kind.WALL, 995 * NSEC).next() == (SLICE, later.wall + SLICE)
    assert Deadline(clock, Kind.WALL, 990 * NSEC).next() == (0, later.wall)


def test_nothing_is_waited_for_longer_than_the_kernel_can() -> None:
    at = Moment(*[1000 * NSEC] * 4)
    clock = Clock(1, lambda: at, Course(at, at))
    assert Deadline.after(clock, 1 << 70).left() == (1 << 63) - 1 - 1000 * NSEC


@each_way(run_with("--mount", "clock:=/mnt/clock"))
def test_files_tell_exactly_and_refuse_what_makes_work(bench: Bench, way: Way) -> None:
    script = """
        cd /mnt/clock; echo 1700000000.123456789 >offset; echo 1700000000.123456789 >base; cat base
        echo -0.5 >offset; cat offset
        for file in base frequency offset; do echo 1e999999999 >$file || echo refused; done
    """
    done = bench.inside(way, ["bash", "-c", script])
    assert done.lines == ["1700000000.123456789", "-0.5", *["refused"] * 3]
