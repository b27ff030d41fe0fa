"""Jsonl: one object a line, with everything by name."""

from __future__ import annotations

import errno
import json
import signal
from typing import Any

import pytest

from diorama.observe.jsonl import Jsonl
from diorama.observe.trace import Returned
from observe.fakes import ADDRESS, FakeTracee, made


class Objects:
    """A writer of objects, and what it wrote."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.writer = Jsonl(self.lines.append)

    def told(self, call: Any, value: int | None) -> None:
        self.writer.returned(Returned(call, self.writer.describe(call, value), value, 1.5, 0.25, 1))

    @property
    def last(self) -> dict[str, Any]:
        assert "\n" not in self.lines[-1]
        found: dict[str, Any] = json.loads(self.lines[-1])
        return found


@pytest.fixture
def objects() -> Objects:
    return Objects()


def test_a_call_has_its_arguments_by_name(objects: Objects) -> None:
    objects.told(made("open", ADDRESS, 0, memory=b"/etc/passwd\0"), 3)
    found = objects.last
    args = found.pop("args")
    assert args["path"] == "/etc/passwd"
    assert found == {
        "pid": 41,
        "tid": 42,
        "time": 1.5,
        "call": "open",
        "result": 3,
        "errno": None,
        "duration": 0.25,
    }


def test_a_failed_call_has_an_errno_and_no_result(objects: Objects) -> None:
    objects.told(made("close", 9), -errno.EBADF)
    assert (objects.last["result"], objects.last["errno"]) == (None, "EBADF")


def test_a_call_that_never_returned_has_neither(objects: Objects) -> None:
    objects.told(made("exit_group", 9), None)
    assert (objects.last["result"], objects.last["errno"]) == (None, None)


def test_a_call_whose_memory_is_gone_has_no_arguments(objects: Objects) -> None:
    objects.writer.returned(Returned(made("write", 1, ADDRESS, 5), None, None, 1.5, 0.25, 1))
    assert (objects.last["call"], objects.last["args"]) == ("write", {})


def test_bytes_that_are_no_text_are_told(objects: Objects) -> None:
    objects.told(made("open", ADDRESS, 0, memory=b"/\xff\0"), 3)
    assert objects.last["args"]["path"] == "/\\xff"


def test_a_signal(objects: Objects) -> None:
    objects.writer.signalled(FakeTracee(), signal.SIGINT, 1)
    assert objects.last["signal"] == "SIGINT"


@pytest.mark.parametrize(
    ("status", "exited", "killed"), [(3 << 8, 3, None), (signal.SIGKILL, None, "SIGKILL"), (-1, None, None)]
)
def test_ends(objects: Objects, status: int, exited: int | None, killed: str | None) -> None:
    objects.writer.ended(FakeTracee(), status, 1)
    assert (objects.last["exited"], objects.last["killed"]) == (exited, killed)
