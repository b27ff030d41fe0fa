"""Answers: `View.answer`, settled without entering Python, by both engines, in both forms of a program."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import diorama
from behaviour.programs import Programs


@pytest.fixture(params=[64, 32], ids=["64-bit", "32-bit"])
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


class Counted:
    """A view that counts the calls about which Python is asked."""

    def __init__(self, engine: str) -> None:
        self.view = diorama.View(engine=engine, strict=True)
        self.asked = 0
        self._called = self.view.router.called
        self.view.router.called = self._count  # type: ignore[method-assign]

    def _count(self, held: Any) -> None:
        self.asked += 1
        self._called(held)

    def run(self, *words: str | Path | int) -> tuple[str, str, int]:
        done = self.view.run([str(word) for word in words], capture_output=True, text=True, timeout=50)
        return done.stdout, done.stderr, done.returncode


@pytest.fixture
def counted(engine: str) -> Iterator[Counted]:
    one = Counted(engine)
    yield one
    one.view.close()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"the {name}\n")
    return [tmp_path / "first", tmp_path / "second"]


def test_a_result_is_given_without_python(counted: Counted, programs: Programs, bits: int) -> None:
    counted.view.answer("getpid", result=4242)
    assert counted.run(programs("getpid_loop", bits), 1000) == ("1 different, last 4242\n", "", 0)
    assert counted.asked == 0


def test_an_error_is_given_by_the_path_without_python(
    counted: Counted, programs: Programs, bits: int, files: list[Path]
) -> None:
    counted.view.answer("openat", error=errno.EXDEV, path="*/first")
    message = f"cat: {files[0]}: {os.strerror(errno.EXDEV)}\n"
    assert counted.run(programs("cat", bits), *files) == ("the second\n", message, 1)
    assert counted.asked == 0


def test_an_answer_is_chosen_by_an_argument_without_python(
    counted: Counted, programs: Programs, bits: int
) -> None:
    counted.view.answer("write", result=5, fd=1)
    assert counted.run(programs("write_text", bits)) == ("", "5 written\n5 written\n", 0)
    assert counted.asked == 0


def test_both_predicates_must_hold(
    counted: Counted, programs: Programs, bits: int, files: list[Path]
) -> None:
    counted.view.answer("openat", error=errno.EXDEV, path="*/first", flags=os.O_WRONLY)
    assert counted.run(programs("cat", bits), *files) == ("the first\nthe second\n", "", 0)
    counted.view.answer("openat", error=errno.EXDEV, path="*/second", flags=os.O_RDONLY)
    assert counted.run(programs("cat", bits), files[0])[0] == "the first\n"


def test_the_answer_registered_last_is_given(counted: Counted, programs: Programs, bits: int) -> None:
    counted.view.answer("getpid", result=1)
    counted.view.answer("getpid", result=2)
    assert counted.run(programs("getpid_loop", bits))[0] == "1 different, last 2\n"


def test_a_handler_registered_later_is_asked_first(counted: Counted, programs: Programs, bits: int) -> None:
    answers = iter([7, None, 8])
    counted.view.answer("getpid", result=4242)
    counted.view.on("getpid")(lambda call: next(answers))
    assert counted.run(programs("getpid_loop", bits), 3)[0] == "3 different, last 8\n"
    assert counted.asked == 3


def test_a_handler_registered_earlier_is_not_asked(counted: Counted, programs: Programs, bits: int) -> None:
    counted.view.on("getpid")(lambda call: 7)
    counted.view.answer("getpid", result=4242)
    assert counted.run(programs("getpid_loop", bits), 5)[0] == "1 different, last 4242\n"
    assert counted.asked == 0


def test_answers_come_before_mounts(
    counted: Counted, programs: Programs, bits: int, files: list[Path]
) -> None:
    (files[0].parent / "mnt").mkdir()
    target = files[0].parent / "mnt"
    counted.view.mount(files[0].parent, target)
    counted.view.answer("openat", error=errno.EXDEV, path="*/mnt/first")
    out, err, status = counted.run(programs("cat", bits), target / "first", target / "second")
    assert (out, status) == ("the second\n", 1)
    assert os.strerror(errno.EXDEV) in err


@pytest.mark.parametrize("wrong", [{}, {"result": 1, "error": 2}])
def test_an_answer_is_a_result_or_an_error(wrong: dict[str, int]) -> None:
    with diorama.View() as view, pytest.raises(diorama.UsageError, match="either"):
        view.answer("getpid", **wrong)
