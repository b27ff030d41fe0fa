"""Actions: the four things that can happen to a call, on real programs, by every path, in both forms.

The paths are those of the guardians' portable layer; being notified is one more way beside them.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, Way, run_with
from behaviour.programs import Programs
from engines import needs_notify

PATHS = {
    "info=kernel": ("info=kernel",),
    "info=registers": ("info=registers",),
    "skip=registers": ("skip=registers",),
    "skip=exit": ("skip=exit",),
    "rewind=restart": ("rewind=restart",),
    "rewind=registers": ("rewind=registers",),
    "oldest": ("info=registers", "skip=exit", "rewind=registers"),
    "portable": ("info=kernel", "skip=exit", "rewind=restart"),
}

WAYS = [
    pytest.param(("--engine", "guardians"), id="guardians"),
    *(
        pytest.param(tuple(word for path in paths for word in ("--force", path)), id=name)
        for name, paths in PATHS.items()
    ),
    pytest.param(("--engine", "notify"), id="notify", marks=needs_notify),
]

Inside = Callable[..., Outcome]


@pytest.fixture(params=[64, 32], ids=["64-bit", "32-bit"])
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=WAYS)
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture
def inside(bench: Bench, options: tuple[str, ...]) -> Inside:
    """Run a command with handlers, given as the text of a module, in one of the ways."""

    def run(handlers: str, *argv: str | Path | int, **more: object) -> Outcome:
        return bench.inside(way(bench, handlers, options), argv, **more)  # type: ignore[arg-type]

    return run


def way(bench: Bench, handlers: str, options: tuple[str, ...] = ()) -> Way:
    """A view with the handlers in this text, which is the body of `load(view)`."""
    body = textwrap.indent(textwrap.dedent(handlers), "    ")
    module = bench.directory / "module.py"
    module.write_text(f"import errno, os\nfrom diorama import calls\n\ndef load(view):\n{body}\n")
    return run_with(*options, module=module)


def coreutil(name: str, programs: Programs, own: str, bits: int) -> Path:
    """The system's program in 64-bit form, our own in 32-bit form."""
    return Path(shutil.which(name) or "") if bits == 64 else programs(own, bits)


ZONES = Path("/usr/share/zoneinfo/Europe/Paris")
FAIL_ZONE = """
    @view.on("openat", path="*/zoneinfo/*")
    def fail(call):
        raise PermissionError
"""


@pytest.mark.skipif(not ZONES.exists(), reason="needs tzdata")
def test_date_fails_to_open_its_zone_file(
    bench: Bench, programs: Programs, inside: Inside, bits: int
) -> None:
    bench.environment = {"TZ": "Europe/Paris"}
    command = ["date", "-d", "@1577836800", "+%H:%M %Z"] if bits == 64 else [programs("zone", bits)]
    assert bench.native(command).stdout == "01:00 CET\n"
    assert inside(FAIL_ZONE, *command) == Outcome("00:00 Europe\n", "", 0)


REDIRECT = """
    @view.on("openat", path="*/first")
    def redirect(call):
        return call.replace(path=b"a-longer-path/../second")
"""


def two_files(place: Path) -> None:
    (place / "a-longer-path").mkdir()
    (place / "first").write_text("the first file\n")
    (place / "second").write_text("the second file\n")


def test_cat_is_redirected_to_another_file(
    bench: Bench, programs: Programs, inside: Inside, bits: int
) -> None:
    bench.prepare = two_files
    cat = coreutil("cat", programs, "cat", bits)
    assert inside(REDIRECT, cat, "./first", "second").stdout == "the second file\nthe second file\n"


REDIRECT_AND_LOOK = """
    @view.on("openat", path="*/first")
    def redirect(call):
        fd = call.run(path=b"second")
        assert fd >= 3, fd
        return fd
"""


def test_a_changed_call_s_result_is_seen(bench: Bench, programs: Programs, inside: Inside, bits: int) -> None:
    bench.prepare = two_files
    cat = coreutil("cat", programs, "cat", bits)
    assert inside(REDIRECT_AND_LOOK, cat, "./first").stdout == "the second file\n"


ANSWER_UNAME = """
    @view.on("uname")
    def answer(call):
        fields = [b"Linux", b"a.name.of.our.own", b"6.0", b"#1", b"machine", b"domain"]
        address = next(value.address for name in call.FIELDS for value in [getattr(call, name)])
        call.tracee.memory.write(address, b"".join(field.ljust(65, b"\\0") for field in fields))
        return 0
"""


def test_uname_is_answered(programs: Programs, inside: Inside, bits: int) -> None:
    command = ["uname", "-n"] if bits == 64 else [programs("node_name", bits)]
    assert inside(ANSWER_UNAME, *command) == Outcome("a.name.of.our.own\n", "", 0)


THREE_FOR_ONE = """
    @view.on("openat", path="*/first")
    def three(call):
        fd = call.run()
        assert call.tracee.syscall.lseek(fd, 4, os.SEEK_SET) == 4
        return call.tracee.syscall.dup(fd)
"""


def test_one_openat_becomes_three_calls(bench: Bench, programs: Programs, inside: Inside, bits: int) -> None:
    bench.prepare = two_files
    cat = coreutil("cat", programs, "cat", bits)
    assert inside(THREE_FOR_ONE, cat, "./first", "./first").stdout == "first file\n" * 2


DOUBLE_WRITE = """
    @view.on("write", fd=1)
    def double(call):
        call.run()
        return call.run()
"""


def test_a_write_is_doubled(programs: Programs, inside: Inside, bits: int) -> None:
    found = inside(DOUBLE_WRITE, programs("write_text", bits))
    assert found == Outcome("first line\nfirst line\nsecond\nsecond\n", "11 written\n7 written\n", 0)


def test_getpid_is_answered_many_times(
    programs: Programs, inside: Inside, options: tuple[str, ...], bits: int
) -> None:
    times = 10_000 if "--force" in options else 100_000
    found = inside('view.on("getpid")(lambda call: 4242)', programs("getpid_loop", bits), times)
    assert found == Outcome("1 different, last 4242\n", "", 0)


MIDDLE_FAILS = """
    @view.on("openat", path="*/first")
    def fails(call):
        fd = call.run()
        try:
            call.tracee.syscall.lseek(-1, 0, 0)
        except OSError as error:
            assert error.errno == errno.EBADF
            call.tracee.syscall.close(fd)
            raise OSError(errno.EXDEV, "as the test wants it") from None
"""
MIDDLE_PASSES_THROUGH = """
    @view.on("openat", path="*/first")
    def fails(call):
        call.tracee.syscall.close(call.run())
        call.tracee.syscall.lseek(-1, 0, 0)
        return call.run()
"""


@pytest.mark.parametrize(
    ("handlers", "message"), [(MIDDLE_FAILS, "cross-device"), (MIDDLE_PASSES_THROUGH, "Bad file")]
)
def test_a_sequence_whose_middle_call_fails(
    bench: Bench, programs: Programs, inside: Inside, bits: int, handlers: str, message: str
) -> None:
    bench.prepare = two_files
    found = inside(handlers, programs("cat", bits), "./first", "second")
    assert (found.stdout, found.status) == ("the second file\n", 1)
    assert message.lower() in found.stderr.lower()


AROUND_READ = """
    @view.on("read")
    def around(call):
        syscall = call.tracee.syscall
        before = syscall.gettid()
        try:
            count = call.run()
        except InterruptedError:
            assert syscall.gettid() == before
            raise
        assert syscall.gettid() == before
        return count
"""


@pytest.mark.parametrize("mode", ["restart", "fail"])
def test_a_sequence_is_interrupted_by_a_signal_with_a_handler(
    bench: Bench, programs: Programs, inside: Inside, bits: int, mode: str
) -> None:
    program = programs("interrupted", bits)
    assert inside(AROUND_READ, program, mode) == bench.native([program, mode])


ENDLESS = """
    @view.on("getpid")
    def endless(call):
        if not os.readlink(f"/proc/{call.tracee.pid}/exe").endswith("getpid_loop"):
            return None  # the shell asks too
        call.tracee.syscall.gettid()
        os.write(2, b"in the middle\\n")
        call.tracee.syscall.poll(0, 0, 100000)
        os.write(2, b"never\\n")
"""


def test_a_sequence_is_cut_by_sigkill(bench: Bench, programs: Programs, inside: Inside, bits: int) -> None:
    script = f"{programs('getpid_loop', bits)} & child=$!; sleep 0.3; kill -KILL $child; wait $child; echo $?"
    found = inside(ENDLESS, "bash", "-c", script.replace("$!", "$!; disown -h 2>/dev/null"))
    assert found.stdout == "137\n"
    assert "never" not in found.stderr
    assert "Traceback" not in found.stderr


REGISTER_HANDLERS = {
    "skipped": 'view.on("getppid", "getpid", "writev", "access")(lambda call: 77)',
    "failed": """
        def fail(call):
            raise OSError(errno.ENOSPC, "no space")
        view.on("getppid", "getpid", "access", "readlink", "writev")(fail)
        view.on("openat", path="/nowhere/*")(fail)
        view.on("write", fd=-1)(fail)
    """,
    "changed": """
        view.on("openat", path="/nowhere/*")(lambda call: call.replace(path=b"/dev/zero"))
        view.on("write", fd=-1)(lambda call: call.replace(fd=2, size=0))
        view.on("readlink")(lambda call: call.replace(path=b"/proc/self/cwd"))
    """,
    "changed and seen": """
        view.on("openat", path="/nowhere/*")(lambda call: call.run(path=b"/dev/zero"))
        view.on("write", fd=-1)(lambda call: call.run(fd=2, size=0))
        view.on("getppid")(lambda call: call.tracee.syscall.gettid())
    """,
    "replaced": 'view.on("getppid", "getpid", "access")(lambda call: calls.Close(fd=-1))',
    "sequence": """
        @view.on("getppid", "openat", "write", "writev", "read", "close", "access", "readlink")
        def sequence(call):
            call.tracee.syscall.gettid()
            try:
                return call.run()
            finally:
                call.tracee.syscall.getuid()
    """,
}


@pytest.mark.parametrize("name", REGISTER_HANDLERS)
def test_registers_are_unchanged(programs: Programs, inside: Inside, bits: int, name: str) -> None:
    found = inside(REGISTER_HANDLERS[name], programs("registers", bits), "3")
    assert found == Outcome("0 registers damaged\n", "", 0)


def test_skipping_is_not_seen_by_the_program_s_own_filter(
    bench: Bench, programs: Programs, inside: Inside, bits: int
) -> None:
    program = programs("own_filter", bits)
    handlers = 'view.on("gettid")(lambda call: call.tracee.pid)'
    assert inside(handlers, program) == bench.native([program])


def test_execve_is_redirected(programs: Programs, inside: Inside, bits: int) -> None:
    handlers = """
        view.on("execve", path="/bin/echo")(lambda call: call.replace(path=b"/usr/bin/printf"))
    """
    found = inside(handlers, programs("vfork_exec", bits))
    assert found.lines[0] == "fromexecuted: exit 0"


def test_a_fork_is_made_to_fail(programs: Programs, inside: Inside, bits: int) -> None:
    handlers = """
        @view.on("fork")
        def fail(call):
            raise BlockingIOError(errno.EAGAIN, "no more")
    """
    found = inside(handlers, programs("fork_raw", bits))
    assert "Resource temporarily unavailable" in found.stdout
    assert found.status == 99


def test_handlers_run_newest_first_and_predicates_choose(
    bench: Bench, inside: Inside, programs: Programs, bits: int
) -> None:
    bench.prepare = two_files
    handlers = """
        view.on("openat", path="*/first")(lambda call: call.replace(path=b"nowhere"))
        view.on("openat", path="*irst")(lambda call: call.replace(path=b"second"))
        view.on("openat", path="*/second")(lambda call: os._exit(3))
        view.on("write", fd=77)(lambda call: os._exit(4))
    """
    assert inside(handlers, programs("cat", bits), "./first").stdout == "the second file\n"


def test_what_a_handler_changes_is_shown_to_those_whose_predicates_it_fits_now(
    bench: Bench, inside: Inside, programs: Programs, bits: int
) -> None:
    bench.prepare = two_files
    handlers = """
        view.on("openat", path="*/unseen")(lambda call: call.replace(path=b"second"))
        view.answer("openat", error=errno.EACCES, path="*/closed")
        view.on("openat", path="*/first")(lambda call: call.replace(path=b"./unseen"))
        view.on("openat", path="*/other")(lambda call: call.run(path=b"./closed"))
    """
    cat = programs("cat", bits)
    assert inside(handlers, cat, "./first").stdout == "the second file\n"
    assert os.strerror(13) in inside(handlers, cat, "./other").stderr


def test_a_handler_that_raises_costs_eio_and_a_traceback(
    bench: Bench, programs: Programs, engine: str
) -> None:
    bench.prepare = two_files
    handlers = """
        @view.on("openat", path="*/first")
        def broken(call):
            return {}["no such key"]
    """
    found = bench.inside(way(bench, handlers).on(engine), [programs("cat"), "./first", "second"])
    assert (found.stdout, found.status) == ("the second file\n", 1)
    assert "Input/output error" in found.stderr
    assert "KeyError: 'no such key'" in found.stderr
    assert "module.py" in found.stderr


def test_a_handler_s_warning_of_something_unsupported_appears_once(
    bench: Bench, programs: Programs, engine: str
) -> None:
    bench.prepare = two_files
    handlers = """
        from diorama import Unsupported
        @view.on("openat", path="*/first")
        def unsupported(call):
            raise Unsupported("openat", "files called first")
    """
    found = bench.inside(way(bench, handlers).on(engine), [programs("cat"), *["./first"] * 3])
    assert found.status == 1
    assert found.stderr.count("diorama: ") == 1
    assert found.stderr.count(os.strerror(95)) == 3


def test_a_call_put_in_place_of_another_does_not_pass_the_mounts_by(bench: Bench, engine: str) -> None:
    (bench.directory / "real").mkdir()
    (bench.directory / "real" / "f").write_text("the host's\n")
    module = bench.directory / "module.py"
    path = bench.directory / "real" / "f"
    module.write_text(
        "import os\nfrom diorama import calls\nfrom diorama.interfaces.tree import Tree\n"
        "def load(view):\n"
        "    tree = Tree('t'); tree.add_file(b'f', b'the view\\'s\\n')\n"
        f"    view.mount(tree, {str(path.parent)!r})\n"
        f"    made = calls.OpenAt(dirfd=-100, path={str(path).encode()!r}, flags=os.O_RDONLY, mode=0)\n"
        "    view.on('getppid')(lambda call: made)\n"
    )
    script = "import os; print(os.read(os.getppid(), 99).decode(), end='')"
    found = bench.inside(run_with(module=module).on(engine), [sys.executable, "-c", script])
    assert (found.stdout, found.stderr) == ("the view's\n", "")
