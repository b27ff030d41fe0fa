"""Text: lines as strace writes them."""

from __future__ import annotations

import errno
import signal
from typing import Any

import pytest

from diorama.abi.arch import Abi
from diorama.observe.text import Text
from diorama.observe.trace import Returned
from observe.fakes import ADDRESS, FakeTracee, made

AT_FDCWD = -100


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def text(lines: list[str]) -> Text:
    return Text(lines.append, always_tid=False)


def told(text: Text, call: Any, value: int | None, tasks: int = 1) -> None:
    text.returned(Returned(call, text.describe(call, value), value, 1.5, 0.25, tasks))


def test_results_stand_in_one_column(text: Text, lines: list[str]) -> None:
    told(text, made("close", 3), 0)
    call = made("openat", AT_FDCWD, ADDRESS, 0, memory=b"/etc/passwd\0")
    told(text, call, 3)
    assert lines == [
        "close(3)                                = 0",
        'openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3',
    ]


def test_an_error_has_its_name_and_meaning(text: Text, lines: list[str]) -> None:
    told(text, made("close", 9), -errno.EBADF)
    assert lines == ["close(9)                                = -1 EBADF (Bad file descriptor)"]


def test_a_call_that_never_returned_has_a_question_mark(text: Text, lines: list[str]) -> None:
    told(text, made("exit_group", 3), None)
    assert lines == ["exit_group(3)                           = ?"]


def test_a_call_whose_memory_is_gone_still_has_a_line(text: Text, lines: list[str]) -> None:
    text.returned(Returned(made("write", 1, ADDRESS, 5), None, None, 1.5, 0.25, 1))
    assert lines == ["write(...)                              = ?"]


def test_calls_have_the_name_that_the_program_used(text: Text, lines: list[str]) -> None:
    told(text, made("open", ADDRESS, 0, memory=b"/a\0"), 3)
    assert lines[0].startswith('open("/a", O_RDONLY)')


def test_32_bit_calls_are_shown_alike(text: Text, lines: list[str]) -> None:
    told(text, made("close", 3, abi=Abi.I386), 0)
    assert lines[0].startswith("close(3) ")


def test_several_tasks_are_told_apart(text: Text, lines: list[str]) -> None:
    told(text, made("close", 3), 0, 2)
    text.signalled(FakeTracee(7), signal.SIGCHLD, 2)
    assert lines[0].startswith("[pid    42] close(3) ")
    assert lines[1] == "[pid     7] --- SIGCHLD ---"


def test_lines_of_a_file_begin_with_the_thread(lines: list[str]) -> None:
    text = Text(lines.append, always_tid=True)
    told(text, made("close", 3), 0)
    text.ended(FakeTracee(1234567), 0, 1)
    assert lines[0].startswith("42    close(3) ")
    assert lines[1] == "1234567 +++ exited with 0 +++"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (0, "+++ exited with 0 +++"),
        (3 << 8, "+++ exited with 3 +++"),
        (signal.SIGKILL, "+++ killed by SIGKILL +++"),
        (signal.SIGSEGV | 0x80, "+++ killed by SIGSEGV (core dumped) +++"),
        (-1, "+++ ended unseen +++"),
    ],
)
def test_ends(text: Text, lines: list[str], status: int, line: str) -> None:
    text.ended(FakeTracee(), status, 1)
    assert lines == [line]
