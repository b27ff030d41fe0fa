"""Selection: the expressions of `-e`."""

from __future__ import annotations

import pytest

from diorama.errors import UsageError
from diorama.observe.selection import Selection
from observe.fakes import ADDRESS, made

EVERY = Selection.parse(()).names


def names(*expressions: str) -> frozenset[str]:
    return Selection.parse(expressions).names


def test_nothing_said_is_everything() -> None:
    assert {"openat", "open", "read", "exit_group", "mmap"} <= EVERY
    assert names("all") == EVERY
    assert names("none") == frozenset()


def test_names_are_the_program_s_spellings() -> None:
    assert names("openat,close") == {"openat", "close"}
    selection = Selection.parse(("open",))
    assert selection.shows(made("open", ADDRESS, 0, memory=b"/a\0"))
    assert not selection.shows(made("openat", -100, ADDRESS, 0, memory=b"/a\0"))


def test_expressions_add_up() -> None:
    assert names("openat", "close") == {"openat", "close"}


@pytest.mark.parametrize("prefix", ["trace=", "t="])
def test_the_word_trace_may_stand_before(prefix: str) -> None:
    assert names(f"{prefix}close") == {"close"}


def test_negation_takes_the_rest() -> None:
    assert names("!close,openat") == EVERY - {"close", "openat"}
    assert names("trace=!close") == EVERY - {"close"}


def test_a_class_takes_its_members() -> None:
    assert {"open", "openat", "execve", "stat"} <= names("%file")
    assert "close" not in names("%file")
    assert "close" in names("%desc")


def test_a_regular_expression_takes_what_it_finds() -> None:
    assert {"stat", "fstat", "statx"} <= names("/stat")
    assert "open" not in names("/stat")


@pytest.mark.parametrize(
    "text", ["nosuchcall", "%nosuchclass", "/nosuchcall", "/(", "inject=all", "signal=none"]
)
def test_what_is_unknown_is_said_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse((text,))
    assert "\n" not in str(caught.value)


def test_what_is_subscribed_to_covers_the_names() -> None:
    assert Selection.parse(("open",)).subscribed == ("open",)
    assert len(Selection.parse(("all",)).subscribed) == 1
    assert Selection.parse(("none",)).subscribed == ()
