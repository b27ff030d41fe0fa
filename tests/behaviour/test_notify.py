"""Notifications and promotion, attacked: no call is lost, no result wrong, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, children_of, finish, left_alive, run_with
from behaviour.programs import Programs
from diorama.engine.choice import NOTIFY, missing_for_notify
from diorama.engine.probe import probe

MISSING = missing_for_notify(probe())
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"no notifications: {MISSING}")
each_engine = pytest.mark.parametrize("engine", ["notify", "guardians"])
each_bits = pytest.mark.parametrize("bits", [64, 32], ids=["64-bit", "32-bit"])


def handled(bench: Bench, handlers: str, *options: str, engine: str = "notify") -> Way:
    """A view with the handlers in this text, which is the body of `load(view)`."""
    body = textwrap.indent(textwrap.dedent(handlers), "    ")
    module = bench.directory / "module.py"
    imports = "import errno, os, threading\nfrom diorama.engine.held import Descriptor\n"
    module.write_text(f"{imports}\ndef load(view):\n{body}\n")
    return run_with("--engine", engine, *options, module=module)


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")


# -- promotion ------------------------------------------------------------------------------------

SEQUENCES = """
    @view.on("getppid", "read", "nanosleep", "clock_nanosleep")
    def twice(call):
        assert call.tracee.syscall.gettid() == call.tracee.tid
        return call.run()

    @view.on("write")
    def after_another(call):
        call.tracee.syscall.gettid()
"""


@each_engine
@each_bits
@pytest.mark.parametrize("seed", range(3))
def test_calls_survive_signals_stops_and_kills(
    bench: Bench, programs: Programs, engine: str, bits: int, seed: int
) -> None:
    found = bench.inside(handled(bench, SEQUENCES, engine=engine), [programs("storm", bits), str(seed)])
    assert (found.stdout, found.stderr, found.status) == ("rounds: 30, wrong: 0\n", "", 0)


@pytest.mark.parametrize("attempt", range(4))
def test_a_process_ends_whose_threads_are_killed_in_promoted_clones(
    bench: Bench, programs: Programs, attempt: int
) -> None:
    way = run_with("--engine", "notify", module="every_result")
    bench.same(way, ["sh", "-c", f"{programs('exit_race')} >/dev/null & {programs('exit_race')}; wait"])


@each_engine
def test_hundreds_of_threads_are_promoted_at_once(bench: Bench, programs: Programs, engine: str) -> None:
    found = bench.inside(handled(bench, SEQUENCES, engine=engine), [programs("crowd"), "300"])
    assert (found.stdout, found.status) == ("300 threads\n", 0)


REDIRECT = """
    @view.on("openat", "open", path="first")
    @view.on("openat", "open", path="gate")
    def redirect(call):
        return call.replace(path=b"./" + call.path)
"""


@each_engine
def test_arenas_are_used_again(bench: Bench, programs: Programs, engine: str) -> None:
    found = bench.inside(handled(bench, REDIRECT, engine=engine), [programs("arena")])
    assert found.lines == ["slots mapped by 4 rounds: none", "processes that grew: 0"]


@each_engine
@each_bits
def test_an_arena_is_there_when_mapping_is_forbidden(
    bench: Bench, programs: Programs, engine: str, bits: int
) -> None:
    bench.prepare = lambda place: (place / "first").touch()
    bench.same(handled(bench, REDIRECT, engine=engine), [programs("mmap_forbidden", bits)])


# -- other tracers --------------------------------------------------------------------------------

UNDETERRED = """
    @view.on("getppid")
    def undeterred(call):
        try:
            call.tracee.syscall.getpid()
        except OSError as error:
            assert error.errno == errno.EPERM
            call.tracee.keeper.check()
            return 77
        return 78
"""


def test_a_handler_goes_on_when_its_tracee_has_another_tracer(bench: Bench) -> None:
    needs("strace")
    code = "import os; print(os.getppid())"
    plain = bench.inside(handled(bench, UNDETERRED), [sys.executable, "-c", code])
    assert plain.stdout == "78\n"
    traced = bench.inside(
        handled(bench, UNDETERRED), ["strace", "-f", "-o", "/dev/null", sys.executable, "-c", code]
    )
    assert (traced.stdout, traced.status) == ("77\n", 0)


def test_a_change_of_a_traced_call_is_an_error_and_one_warning(bench: Bench) -> None:
    needs("strace")
    bench.prepare = lambda place: (place / "first").write_text("text\n")
    script = "cat first; cat first; echo $?"
    found = bench.inside(handled(bench, REDIRECT), ["strace", "-f", "-o", "/dev/null", "sh", "-c", script])
    assert found.stdout == "1\n"
    assert found.stderr.count("diorama: ") == 1
    assert found.stderr.count("Operation not permitted") == 2


def archive(place: Path) -> None:
    import zipfile

    with zipfile.ZipFile(place / "x.zip", "w") as made:
        made.writestr("f", "in the archive\n")
    (place / "mnt").mkdir()


def test_strace_shows_calls_on_a_mount(bench: Bench) -> None:
    needs("strace")
    bench.prepare = archive
    way = run_with("--engine", "notify", "--mount", "zip:x.zip=mnt")
    found = bench.inside(way, ["strace", "-f", "-e", "trace=openat", "cat", "mnt/f"])
    assert (found.stdout, found.status) == ("in the archive\n", 0)
    assert 'openat(AT_FDCWD, "mnt/f", O_RDONLY) = 3' in " ".join(found.stderr.split())


def test_gdb_runs_a_program(bench: Bench, programs: Programs) -> None:
    needs("gdb")
    bench.prepare = archive
    way = run_with("--engine", "notify", "--mount", "zip:x.zip=mnt")
    steps = [word for step in ("break main", "run", "backtrace", "continue") for word in ("-ex", step)]
    found = bench.inside(way, ["gdb", "-nx", "-batch", *steps, "--args", programs("threads"), "5"])
    assert "Breakpoint 1, " in found.stdout
    assert "#0 " in found.stdout
    assert "exited normally" in found.stdout


# -- workers --------------------------------------------------------------------------------------

DEPENDENT = """
    done = threading.Event()

    @view.on("read", fd=0)
    def waits(call):
        return 1 if done.wait(20) else 0

    @view.on("getppid")
    def frees(call):
        done.set()
        return call.run()
"""


def test_a_handler_may_wait_for_another_call_of_the_same_program(bench: Bench) -> None:
    code = (
        "import os, threading\n"
        "threads = [threading.Thread(target=lambda: print(len(os.read(0, 1)) == 1)) for _ in range(12)]\n"
        "[thread.start() for thread in threads]\n"
        "os.getppid()\n"
        "[thread.join() for thread in threads]\n"
    )
    found = bench.inside(handled(bench, DEPENDENT), [sys.executable, "-c", code])
    assert found.lines == ["True"] * 12


ANSWERS = """
    @view.on("getppid")
    def slow(call):
        import time
        time.sleep(0.001)
        return 5
"""


@pytest.mark.parametrize("attempt", range(3))
def test_calls_do_not_fail_when_the_supervisor_is_killed(
    bench: Bench, programs: Programs, attempt: int
) -> None:
    process = bench.start(handled(bench, ANSWERS)([programs("unanswered"), "log"]))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    process.kill()
    process.communicate(timeout=50)
    assert left_alive() == []
    assert (bench.work / "log").read_text() == ""


def test_when_init_is_killed_processes_that_nobody_knew_end(bench: Bench) -> None:
    bench.prepare = lambda place: [(place / name).mkdir() for name in ("src", "mnt")] and None
    script = "setsid sleep 100 & (sleep 101 &); sh -c 'sleep 102; :' & echo ready; sleep 103; :"
    bench.fresh()
    process = bench.start(run_with("--engine", "notify", "--mount", "src=mnt")(["sh", "-c", script]))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.2)
    for child in children_of(process.pid):
        os.kill(child, signal.SIGKILL)
    process.communicate(timeout=50)
    assert process.returncode != 0
    assert left_alive() == []


def own_process(bench: Bench, script: str) -> str:
    """What a Python script prints that uses the library."""
    bench.fresh()
    found = finish(bench.start([sys.executable, "-P", "-c", textwrap.dedent(script)]))
    assert (found.stderr, found.status) == ("", 0)
    return found.stdout


def test_a_view_closes_on_running_programs_and_keeps_nothing(bench: Bench) -> None:
    bench.prepare = archive
    script = """
        import os, time, diorama

        def held():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        before = held()
        for _ in range(3):
            view = diorama.View(engine="notify")
            view.on("getppid")(lambda call: call.run() if call.tracee.pid % 2 else 5)
            view.mount("zip:x.zip", "mnt")
            busy = ["sh", "-c", "while :; do cat mnt/f; sh -c :; done >/dev/null"]
            running = [view.Popen(busy) for _ in range(4)]
            time.sleep(0.4)
            view.close()
            print([process.wait() for process in running], len(view.router.tracees))
        patience = time.monotonic() + 50
        while held() != before and time.monotonic() < patience:
            time.sleep(0.01)
        print(held() == before)
    """
    assert own_process(bench, script) == "[-9, -9, -9, -9] 0\n" * 3 + "True\n"


def test_thousands_of_processes_are_not_remembered(bench: Bench) -> None:
    bench.prepare = lambda place: [(place / name).mkdir() for name in ("src", "mnt")] and None
    script = """
        import diorama

        view = diorama.View(engine="notify")
        view.on("getppid")(lambda call: 5)
        view.mount("src", "mnt")
        view.run(["sh", "-c", "cd mnt; for i in $(seq 1500); do (:); done"], check=True)
        print(len(view.router.tracees) < 600)
        view.close()
    """
    assert own_process(bench, script) == "True\n"


# -- descriptors ----------------------------------------------------------------------------------

GIVES = """
    def opened(call):
        return Descriptor(os.open("/etc/passwd", os.O_RDONLY), cloexec=bool(call.flags & os.O_CLOEXEC))

    view.on("openat", "open", path="at_the_end")(opened)

    @view.on("openat", "open", path="in_between")
    def now(call):
        descriptor = opened(call)
        return descriptor.give_now(call.tracee)

    @view.on("openat", "open", path="promoted")
    def after(call):
        call.tracee.syscall.getpid()
        return opened(call)
"""


@each_engine
@each_bits
def test_given_descriptors_are_as_if_opened(bench: Bench, programs: Programs, engine: str, bits: int) -> None:
    names = ["at_the_end", "in_between", "promoted"]
    found = bench.inside(handled(bench, GIVES, engine=engine), [programs("given", bits), *names])
    assert found.stdout == "".join(f"{name}: the lowest, and nothing else\n" for name in names)


# -- inheritance ----------------------------------------------------------------------------------


def two_places(place: Path) -> None:
    archive(place)
    for name in ("src", "bound"):
        (place / name).mkdir()
        (place / name / "marker").touch()


@each_engine
@each_bits
def test_children_stand_where_their_parents_stood(
    bench: Bench, programs: Programs, engine: str, bits: int
) -> None:
    bench.prepare = two_places
    way = run_with("--engine", engine, "--mount", "src=bound", "--mount", "zip:x.zip=mnt")
    places = [str(bench.work / "bound"), str(bench.work / "mnt"), "/usr"]
    found = bench.same(way, [programs("inherit", bits), *places, "60"])
    assert found.stdout == "60 rounds\n"


@each_engine
def test_a_process_stays_where_it_is_when_its_first_thread_ends(
    bench: Bench, programs: Programs, engine: str
) -> None:
    bench.prepare = two_places
    bench.same(run_with("--engine", engine, "--mount", "src=bound"), [programs("main_gone"), "bound"])


# -- signals --------------------------------------------------------------------------------------


@each_engine
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="handlers have stubs on x86-64 only")
def test_signals_interrupt_what_waits_and_nothing_else(bench: Bench, programs: Programs, engine: str) -> None:
    """Calls wait for a worker, where a signal would end the wait: the more, the busier the machine."""
    bench.prepare = two_places
    way = run_with("--engine", engine, "--mount", "src=bound")
    script = 'for i in a b; do mkdir bound/$i; (cd bound/$i; exec "$0" 60) >$i & done; wait; cat a b'
    found = bench.same(way, ["sh", "-c", script, programs("handlers")])
    assert found.lines == ["told", "children: enough", "left", "interrupted", "wrong: 0"] * 2


@each_engine
def test_a_shell_can_fork_while_its_children_end(bench: Bench, engine: str) -> None:
    """dash has a handler without SA_RESTART for SIGCHLD."""
    bench.prepare = two_places
    script = "cd bound; i=0; while [ $i -lt 60 ]; do /bin/true | /bin/true | echo $i; i=$((i + 1)); done"
    found = bench.same(run_with("--engine", engine, "--mount", "src=bound"), ["sh", "-c", script])
    assert len(found.lines) == 60


# -- listeners of a program's own -----------------------------------------------------------------

OWN_LISTENER = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
program = Program(1, ctypes.addressof(code))
fd = libc.syscall(317, 1, 8, ctypes.byref(program))
print("listener" if fd >= 0 else os.strerror(ctypes.get_errno()))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls by their x86-64 numbers")
@pytest.mark.parametrize(
    ("engine", "expected"), [("notify", "Device or resource busy"), ("guardians", "listener")]
)
def test_a_program_may_have_a_listener_only_under_guardians(bench: Bench, engine: str, expected: str) -> None:
    found = bench.inside(handled(bench, ANSWERS, engine=engine), [sys.executable, "-c", OWN_LISTENER])
    assert found.stdout == f"{expected}\n"
    assert subprocess.run([sys.executable, "-c", OWN_LISTENER], capture_output=True, check=True).stdout


HUNG = r"""
import ctypes, os, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd
if libc.mount(b"hung", b"hung", b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
_, _, unique = struct.unpack_from("IIQ", os.read(fd, 1 << 17))
init = struct.pack("IIIIHHII", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1) + bytes(32)
os.write(fd, struct.pack("IiQ", 16 + len(init), 0, unique) + init)
print("mounted", flush=True)
sys.stdin.read()  # and nothing is answered
libc.umount2(b"hung", 2)
"""


@pytest.mark.root
@pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="needs /dev/fuse and to mount")
def test_a_file_system_that_does_not_answer_holds_up_only_who_touches_it(bench: Bench) -> None:
    script = """
        stat hung/x & pid=$!
        for i in $(seq 300); do cat bound/file; done | uniq -c | tr -s ' '
        kill -9 $pid; echo went on
        """
    bench.prepare = lambda work: [(work / name).mkdir() for name in ("hung", "source", "bound")]
    bench.fresh()
    (bench.work / "source/file").write_text("content\n")
    server = bench.start([sys.executable, "-c", HUNG])
    try:
        assert server.stdout is not None
        if server.stdout.readline() != b"mounted\n":
            pytest.skip("needs to mount a FUSE file system of the kernel's")
        way = run_with("--mount", "source=bound").on(NOTIFY)
        out = finish(bench.start(way(["sh", "-c", script])), "", 50)
    finally:
        server.communicate(timeout=50)
    assert (out.stdout, out.status) == (" 300 content\nwent on\n", 0)
