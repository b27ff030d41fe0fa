"""Trace: what it tells of calls, whatever becomes of them, and that it changes none."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from diorama.errors import TraceeDied
from diorama.observe.trace import Returned, Trace
from observe.fakes import FakeExecution, FakeTracee, made


class Told:
    """A writer that remembers."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def describe(self, call: Any, value: int | None) -> tuple[int | None]:
        if call.tracee.memory.gone:
            raise TraceeDied
        return (value,)

    def returned(self, event: Returned) -> None:
        assert event.time > 0
        assert event.duration >= 0
        self.all.append((event.call.NAME, event.described, event.value, event.tasks))

    def signalled(self, tracee: Any, sig: int, tasks: int) -> None:
        self.all.append(("signal", sig, tasks))

    def ended(self, tracee: Any, status: int, tasks: int) -> None:
        self.all.append(("end", status, tasks))


@pytest.fixture
def told() -> Told:
    return Told()


def started(writer: Any) -> Trace:
    """A trace of a program that runs already."""
    trace = Trace(writer, lambda call: True)
    trace.executed(FakeTracee())
    return trace


def failing(error: BaseException) -> Any:
    def outcome() -> int:
        raise error

    return outcome


def test_a_result_is_told_and_passed_on(told: Told) -> None:
    trace = started(told)
    assert trace.handle(made("getppid", outcome=lambda: 7)) == 7
    assert told.all == [("getppid", (7,), 7, 1)]


def test_an_error_is_told_and_passed_on(told: Told) -> None:
    trace = started(told)
    with pytest.raises(OSError, match="gone") as caught:
        trace.handle(made("close", 9, outcome=failing(OSError(errno.EBADF, "gone"))))
    assert caught.value.errno == errno.EBADF
    assert told.all == [("close", (-errno.EBADF,), -errno.EBADF, 1)]


def test_a_call_that_never_returns_is_told_too(told: Told) -> None:
    trace = started(told)
    with pytest.raises(TraceeDied):
        trace.handle(made("exit_group", 3, outcome=failing(TraceeDied())))
    assert told.all == [("exit_group", (None,), None, 1)]


def test_a_call_whose_memory_went_with_it_is_told_without_arguments(told: Told) -> None:
    call = made("write", 1, 0x1000, 5, outcome=failing(TraceeDied()))
    call.tracee.memory.gone = True
    with pytest.raises(TraceeDied):
        started(told).handle(call)
    assert told.all == [("write", None, None, 1)]


def test_what_an_exec_replaces_is_read_before(told: Told) -> None:
    call = made("execve", 0x1000, 0, 0, memory=b"/bin/true\0")

    def run() -> int:
        call.tracee.memory.gone = True
        return 0

    call = call.bound(FakeExecution(call.tracee, run))
    assert started(told).handle(call) == 0
    assert told.all == [("execveat", (None,), 0, 1)]


def test_the_search_for_the_program_is_not_told(told: Told) -> None:
    trace = Trace(told, lambda call: True)
    missing = made("execve", 0x1000, 0, 0, memory=b"/a\0", outcome=failing(FileNotFoundError(2, "")))
    with pytest.raises(FileNotFoundError):
        trace.handle(missing)
    assert told.all == []


def test_an_end_is_told_after_the_call_in_which_it_came(told: Told) -> None:
    trace = started(told)
    call = made("exit_group", 3)

    def run() -> int:
        trace.exited(call.tracee, 3 << 8)
        raise TraceeDied

    call = call.bound(FakeExecution(call.tracee, run))
    with pytest.raises(TraceeDied):
        trace.handle(call)
    assert [event[0] for event in told.all] == ["exit_group", "end"]


def test_a_writer_that_fails_does_not_hurt_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Told):
        def describe(self, call: Any, value: int | None) -> Any:
            raise ValueError("in describe")

        def returned(self, event: Returned) -> None:
            raise ValueError("in returned")

    assert started(Broken()).handle(made("getppid", outcome=lambda: 7)) == 7
    err = capsys.readouterr().err
    assert "in describe" in err
    assert "in returned" in err


def test_what_is_not_shown_runs_as_it_is(told: Told) -> None:
    trace = Trace(told, lambda call: False)
    assert trace.handle(made("getppid")) is None
    assert told.all == []


def test_tasks_are_counted(told: Told) -> None:
    trace = started(told)
    parent, child = FakeTracee(1, 1), FakeTracee(2, 2)
    trace.cloned(parent, child, 0)
    trace.signalled(parent, 17)
    trace.exited(child, 0)
    trace.executed(parent)
    trace.exited(parent, 3 << 8)
    assert told.all == [("signal", 17, 2), ("end", 0, 2), ("end", 3 << 8, 1)]
