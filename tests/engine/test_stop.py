"""The portable layer on its own, as the writer of another tracer would use it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine.probe import Features, Paths, probe, resolve
from diorama.engine.stop import Stop
from diorama.errors import UsageError

PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT = 24, 0x4206, 0x4207
OPTIONS = 1 | 1 << 20  # TRACESYSGOOD, EXITKILL
WALL = 0x40000000
SYSCALL_STOP = signal.SIGTRAP | 0x80
NATIVE = NUMBERS[Abi.native()[0].title]
GETPPID, GETPGID = NATIVE["getppid"], NATIVE["getpgid"]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int, pid: int, data: int = 0) -> None:
    assert libc.ptrace(request, pid, 0, data) == 0, os.strerror(ctypes.get_errno())


def child_answer(write: int, go: int) -> None:
    os.read(go, 1)
    libc.syscall.restype = ctypes.c_long
    os.write(write, str(libc.syscall(ctypes.c_long(GETPPID))).encode())
    os._exit(0)


def traced(paths: Paths, act: Callable[[Stop, int], None]) -> int:
    """What a child sees as the result of its getppid when `act` is called at each stop of it."""
    (answer, write), (hold, go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        child_answer(write, hold)
    os.close(write)
    ptrace(PTRACE_SEIZE, pid, OPTIONS)
    ptrace(PTRACE_INTERRUPT, pid)
    os.write(go, b"g")
    visits = 0
    while True:
        _, status = os.waitpid(pid, WALL)
        if not os.WIFSTOPPED(status):
            break
        if os.WSTOPSIG(status) == SYSCALL_STOP:
            stop = Stop.read(pid, paths)
            if visits or (stop.kind == "entry" and stop.nr == GETPPID):
                visits += 1
                act(stop, visits)
        ptrace(PTRACE_SYSCALL, pid)
    text = os.read(answer, 100)
    for fd in (answer, hold, go):
        os.close(fd)
    return int(text)


def every_path() -> list[Paths]:
    """All combinations that this kernel can do."""
    features, found = probe(), set[Paths]()
    for info in ("kernel", "registers"):
        for skip in ("kernel", "registers", "exit"):
            for rewind in ("kernel", "restart", "registers"):
                try:
                    found.add(resolve(Paths(info, skip, rewind), features))
                except UsageError:
                    continue
    return sorted(found, key=str)


@pytest.fixture(params=every_path(), ids=lambda paths: f"{paths.info}-{paths.skip}-{paths.rewind}")
def paths(request: pytest.FixtureRequest) -> Paths:
    return request.param


def test_unchanged_call_gives_its_own_result(paths: Paths) -> None:
    assert traced(paths, lambda stop, visits: None) == os.getpid()


def test_skipped_call_gives_the_chosen_result(paths: Paths) -> None:
    pending: list[bool] = []

    def act(stop: Stop, visits: int) -> None:
        if visits == 1:
            pending.append(stop.skip(1234))
        elif visits == 2 and pending == [True]:
            stop.set_result(1234)

    assert traced(paths, act) == 1234


def test_changed_call_runs_instead(paths: Paths) -> None:
    def act(stop: Stop, visits: int) -> None:
        if visits == 1:
            stop.change(GETPGID, (0, 0, 0, 0, 0, 0))

    assert traced(paths, act) == os.getpgid(0)


def test_rewound_call_comes_again_as_another(paths: Paths) -> None:
    seen: list[int] = []

    def act(stop: Stop, visits: int) -> None:
        if stop.kind == "exit" and not seen:
            seen.append(stop.result)
            stop.rewind()
        elif stop.kind == "entry" and len(seen) == 1:
            seen.append(stop.nr)
            stop.change(GETPGID, (0, 0, 0, 0, 0, 0))

    assert traced(paths, act) == os.getpgid(0)
    assert seen[0] == os.getpid()


def test_errors_are_set_as_negative_errno(paths: Paths) -> None:
    def act(stop: Stop, visits: int) -> None:
        if visits == 2:
            stop.set_result(-28)

    assert traced(paths, act) == -1


def test_a_dead_tracee_is_told_apart() -> None:
    with pytest.raises(ProcessLookupError):
        Stop.read(os.getpid(), Paths("kernel", "exit", "registers"))


def test_a_forced_path_that_the_kernel_lacks_is_refused() -> None:
    bare = Features(*[False] * 7, yama=0)
    assert resolve(Paths(), bare).info == "registers"
    for forced in (Paths(info="kernel"), Paths(skip="kernel"), Paths(rewind="kernel")):
        with pytest.raises(UsageError):
            resolve(forced, bare)


def test_words_for_paths_are_checked() -> None:
    assert Paths.parse(("skip=exit", "rewind=restart")) == Paths("auto", "exit", "restart")
    with pytest.raises(UsageError, match="skip=auto"):
        Paths.parse(("skip=nonsense",))
