"""Courses of time, in Python and in the native library, and the words in which they are changed."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.engine import _native
from diorama.engine.decider import to_native
from diorama.errors import UsageError
from diorama.view.clock import NSEC, WALL_MAX, Clock, Course, Kind, Moment
from diorama.view.clockspec import Change, parse, parse_rate, parse_time

times = st.integers(0, WALL_MAX)
moments = st.builds(Moment, times, times, times, times)
rates = st.fractions(0, 1000, max_denominator=1000)
courses = st.builds(
    lambda real, shown, pace, sign: Course(real, shown, pace * sign, pace),
    moments, moments, rates, st.sampled_from([1, 0, -1]),
)  # fmt: skip
kinds = st.sampled_from(list(Kind))
NOW = Moment(1000 * NSEC, 50 * NSEC, 51 * NSEC, 60 * NSEC)


@given(courses, kinds, times)
def test_the_native_library_computes_the_same(course: Course, kind: Kind, real: int) -> None:
    native = to_native(course)
    assert _native.lib.dio_course_at(ctypes.byref(native), kind, real) == course.at(kind, real)


@given(courses, kinds, times, times)
def test_when_is_the_first_time_that_shows_it(course: Course, kind: Kind, real: int, shown: int) -> None:
    when = course.when(kind, shown)
    if when is None or course.shown[kind] >= shown:
        return
    assert course.at(kind, when) >= shown
    assert course.at(kind, when - 1) < shown


@given(courses, moments)
def test_a_change_begins_with_what_was_shown(course: Course, now: Moment) -> None:
    changed = course.with_rates(now, Fraction(-3), Fraction(3))
    assert changed.moment(now) == course.moment(now)


@given(courses, moments, st.integers(0, 10**18))
def test_time_that_is_advanced_has_passed_for_all(course: Course, now: Moment, by: int) -> None:
    before, after = course.moment(now), course.advanced(now, by).moment(now)
    assert all(second == min(first + by, (1 << 63) - 1) for first, second in zip(before, after, strict=True))


@given(rates, st.integers(0, 10**18))
def test_what_lasts_is_not_shorter(pace: Fraction, duration: int) -> None:
    course = Course(pace=pace)
    lasts = course.lasts(duration)
    assert (lasts is None) == (not pace and duration > 0)
    assert lasts is None or course.counts(lasts) >= duration


def test_a_clock_is_changed_in_a_hold() -> None:
    clock = Clock(1, lambda: NOW)
    seen: list[Course] = []
    clock.on_change = lambda changed: seen.append(changed.course)
    clock.change(parse("scale=2"))
    assert [course.pace for course in seen] == [2]
    assert clock.shown(Kind.MONOTONIC) == NOW.monotonic


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90", 90),
        ("1d12h", 129600),
        ("-30m", -1800),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (".5", 0.5),
        ("2w", 1209600),
    ],
)
def test_times(text: str, time: float) -> None:
    assert parse_time(text) == time * NSEC


@pytest.mark.parametrize("text", ["", "s", "+", "1x", "1-2", "--5", "1 d", "9" * 30, "1" * 60 + "!"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time|unknown unit|too long"):
        parse_time(text)


@pytest.mark.parametrize("text", ["1e999999999", "1E+0999999999/7", "1e-999999999", "1" * 4000])
def test_numbers_that_make_work_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no speed"):
        parse_rate(text)
    with pytest.raises(UsageError, match="write @SECONDS"):
        parse(f"at=@{text}")


@pytest.mark.parametrize(
    "text",
    ["at=2030-01-01T00:00:00Z", "at=@2e9", "at=2030-01-01T01:00:00+01:00,freeze", "scale=1/3,offset=-1.5h"],
)
def test_words_mean_the_same_when_they_are_read_again(text: str) -> None:
    change = parse(text)
    again = parse(change.words)
    assert (again.at, again.offset, again.rate, again.freezes) == (
        change.at, change.offset, change.rate, change.freezes,
    )  # fmt: skip


def test_dates() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert parse("at=2030-01-01T00:00:00Z").at == parse(f"at=@{int(at)}").at == int(at) * NSEC
    assert parse("at=2030-01-01T01:00:00.000001+01:00").at == int(at) * NSEC + 1000


@pytest.mark.parametrize("text", ["offset=-1d", "at=@-5", "at=2400-01-01", f"at=@{10**18}"])
def test_no_clock_shows_what_is_out_of_range(text: str) -> None:
    with pytest.raises(UsageError, match="1970"):
        parse(text)(Course(NOW, NOW), NOW)


def test_changes() -> None:
    course = Course(NOW, NOW)
    frozen = parse("at=@5,freeze")(course, NOW)
    assert (frozen.rate, frozen.pace, frozen.shown.wall) == (0, 1, 5 * NSEC)
    assert frozen.shown.monotonic == NOW.monotonic
    backwards = parse("scale=-2")(course, NOW)
    assert (backwards.rate, backwards.pace) == (-2, 2)
    stepped = parse("step=1ms")(course, NOW)
    assert (stepped.rate, stepped.step) == (0, 10**6)
    assert Change("", at=9)(stepped, NOW).step == 10**6
    assert parse("scale=1")(stepped, NOW).step == 0
    assert parse("host")(backwards, NOW) == course
    assert parse("advance=10")(course, NOW).shown.boottime == NOW.boottime + 10 * NSEC


def test_base_and_offset() -> None:
    course = Course(NOW, NOW, Fraction(2), Fraction(2))
    placed = course.with_base(NOW, 900 * NSEC, 7 * NSEC)
    assert placed.at(Kind.WALL, NOW.wall) == (1000 - 900) * 2 * NSEC + 907 * NSEC
    with pytest.raises(OSError, match="Invalid argument"):
        course.with_base(NOW, -NSEC, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        course.with_base(NOW, 0, -(10**15))


def test_a_clock_with_a_step_is_read_by_who_waits() -> None:
    clock = Clock(1, lambda: NOW, Course(NOW, NOW, Fraction(0), Fraction(1), step=5))
    clock.read_wall = lambda: 7
    assert [clock.read(kind) for kind in Kind] == [7, *NOW[1:]]
    assert clock.shown(Kind.WALL) == NOW.wall
