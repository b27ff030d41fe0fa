"""Which engine is chosen, for kernels that are not this one, and in what words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diorama.engine.choice import GUARDIANS, NOTIFY, Choice, choose, missing_for_notify
from diorama.engine.probe import Features
from diorama.errors import UsageError

ALL = Features(*[True] * 7, yama=0, user_notif=1, notif_killable=True, notif_addfd=True, notif_sync=True)
LACKING = [
    (replace(ALL, notif_killable=False), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19)"),
    (replace(ALL, user_notif=2), "a process above this one has a seccomp listener"),
    (replace(ALL, user_notif=0), "seccomp listeners are refused"),
    (replace(ALL, notif_addfd=False), "SECCOMP_ADDFD_FLAG_SEND (Linux 5.14)"),
]
lacking = pytest.mark.parametrize(("features", "words"), LACKING)
NEED, LEANING = "something that guardians do", "something that they do better"


def test_nothing_is_missing_from_a_kernel_with_everything() -> None:
    assert missing_for_notify(ALL) is None


def test_waking_on_the_same_cpu_is_not_needed() -> None:
    assert missing_for_notify(replace(ALL, notif_sync=False)) is None


@lacking
def test_what_is_missing_is_named(features: Features, words: str) -> None:
    missing = missing_for_notify(features)
    assert missing is not None
    assert words in missing


def test_the_oldest_kernel_lacks_what_came_last() -> None:
    nothing = Features(*[False] * 7, yama=0)
    assert "Linux 5.19" in (missing_for_notify(nothing) or "")


@lacking
def test_asked_for_notifications_that_cannot_be_had_are_a_mistake(features: Features, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(NOTIFY, features, (), ())
    assert str(caught.value).startswith("cannot use the engine 'notify': ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@lacking
def test_by_itself_it_takes_guardians_then_and_says_why(features: Features, words: str) -> None:
    for leanings in ((), (LEANING,)):
        choice = choose("auto", features, (), leanings)
        assert choice.engine == GUARDIANS
        assert words in choice.reason


@pytest.mark.parametrize("features", [ALL, replace(ALL, user_notif=0)])
def test_guardians_that_are_asked_for_are_taken_whatever_there_is(features: Features) -> None:
    assert choose(GUARDIANS, features, (NEED,), (LEANING,)) == Choice(GUARDIANS, "asked for")


def test_notifications_that_are_asked_for_are_taken_against_a_leaning() -> None:
    assert choose(NOTIFY, ALL, (), (LEANING,)) == Choice(NOTIFY, "asked for")


def test_but_not_against_a_need() -> None:
    with pytest.raises(UsageError, match=f"cannot use the engine 'notify': {NEED}"):
        choose(NOTIFY, ALL, (NEED, "another"), ())


def test_by_itself_it_follows_needs_before_what_is_missing_and_that_before_leanings() -> None:
    lame = replace(ALL, user_notif=0)
    assert choose("auto", lame, (NEED,), (LEANING,)) == Choice(GUARDIANS, NEED)
    assert choose("auto", ALL, (NEED,), (LEANING,)) == Choice(GUARDIANS, NEED)
    assert choose("auto", ALL, (), (LEANING, "another")) == Choice(GUARDIANS, LEANING)


def test_by_itself_it_takes_notifications_when_nothing_is_against_them() -> None:
    choice = choose("auto", ALL, (), ())
    assert choice == Choice(NOTIFY, "calls are only answered or let through, but for a few")
