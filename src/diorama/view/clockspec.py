"""Clockspec: how a clock is to be changed, in words: `scale=10,at=2030-01-01T00:00:00Z`.

    at=DATE        the wall clock shows this now: a date of ISO 8601, or @SECONDS since 1970
    offset=TIME    the wall clock is this far ahead of the host's; behind it, if negative
    scale=NUMBER   how fast time goes; negative: the wall clock runs backwards; 0: all clocks stand still
    freeze         the wall clock stands still, and all other clocks go on
    step=TIME      as freeze, but for each reading of the wall clock, which adds this
    advance=TIME   as if this time had passed
    host           as the host's clocks

TIME is a number of seconds, or numbers with units, `1d12h`, `1.5s`, `-30m`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from diorama.errors import UsageError
from diorama.view.clock import NSEC, WALL_MAX, Course, Moment

__all__ = ["CALL", "CHANGE", "OWN", "Change", "parse", "parse_number", "parse_rate", "parse_time"]

CALL: Final = 0x64696F72
"""A clock id that no kernel knows: of the clock_adjtime(2) by which `diorama clock` asks a view."""
CHANGE, OWN = "change", "own"
"""Before a change and a colon, where that call points to: of the clock that the caller has, or its own."""

_UNITS: Final = {
    "ns": 1, "us": 1000, "ms": 10**6, "s": NSEC, "m": 60 * NSEC, "h": 3600 * NSEC,
    "d": 86400 * NSEC, "w": 7 * 86400 * NSEC,
}  # fmt: skip
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([a-z]*)")
_TIME: Final = re.compile(r"[+-]?(?=[\d.])(?:(?:\d+(?:\.\d*)?|\.\d+)[a-z]+)*(?:\d+(?:\.\d*)?|\.\d+)?")
_LONGEST: Final = 64
"""The longest text of a number; more makes work, as does a large exponent."""
_EXPONENT: Final = re.compile(r"[eE][+-]?0*\d{3}")
_MOST_RATE: Final = 10**6
_MOST_UNIT: Final = 10**9
_MOST_TIME: Final = 200 * 366 * 86400 * NSEC


@dataclass(frozen=True, slots=True)
class Change:
    """A change; what is None stays as it is.  Calling it makes the new course of the present one."""

    text: str
    at: int | None = None
    offset: int | None = None
    rate: Fraction | None = None
    freezes: bool = False
    step: int = 0
    advance: int = 0
    host: bool = False

    @property
    def words(self) -> str:
        """The same in words that mean the same wherever they are read."""
        items = {
            "host": "" if self.host else None,
            "scale": None if self.rate is None else str(self.rate),
            "freeze": "" if self.freezes and not self.step else None,
            "step": _seconds(self.step) if self.step else None,
            "at": None if self.at is None else f"@{_seconds(self.at)}",
            "offset": None if self.offset is None else _seconds(self.offset),
            "advance": _seconds(self.advance) if self.advance else None,
        }
        return ",".join(
            f"{name}={value}" if value else name for name, value in items.items() if value is not None
        )

    def __call__(self, course: Course, now: Moment) -> Course:
        """The course from now on; `UsageError` if the wall clock would show what none can."""
        if self.host:
            course = Course(now, now)
        rate, pace = course.rate, course.pace
        if self.rate is not None:
            rate, pace = self.rate, abs(self.rate)
        if self.freezes:
            rate = Fraction(0)
        keeps = self.rate is None and not self.freezes and not self.host
        course = course.with_rates(now, rate, pace, course.step if keeps else self.step)
        wall = self.at if self.offset is None else now.wall + self.offset
        if wall is not None:
            if not 0 <= wall <= WALL_MAX:
                raise UsageError(f"cannot set the clock to {self.text}: it shows times from 1970 to 2232")
            course = course.with_wall(now, wall)
        return course.advanced(now, self.advance) if self.advance else course


def _seconds(time: int) -> str:
    """A time in seconds, exactly."""
    whole, rest = divmod(abs(time), NSEC)
    return f"{'-' if time < 0 else ''}{whole}.{rest:09}"


def parse(text: str) -> Change:
    """Read a change; `UsageError` in one line."""
    found: dict[str, object] = {}
    for item in text.split(","):
        if not item.strip():
            continue
        name, equals, value = item.strip().partition("=")
        if name not in _ITEMS:
            known = ", ".join(_ITEMS)
            raise UsageError(f"cannot set the clock to {text!r}: unknown {name!r}; there are {known}")
        if bool(equals) is (name in _FLAGS):
            form = name if name in _FLAGS else f"{name}=..."
            raise UsageError(f"cannot set the clock to {text!r}: write {form}")
        try:
            found |= _ITEMS[name](value)
        except ValueError as error:
            raise UsageError(f"cannot set the clock to {text!r}: {error}") from None
    if "at" in found and "offset" in found:
        raise UsageError(f"cannot set the clock to {text!r}: either at=DATE or offset=TIME")
    return Change(text, **found)  # type: ignore[arg-type]


def parse_time(text: str) -> int:
    """A duration in nanoseconds; ValueError."""
    if len(text) > _LONGEST or not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is no time: write seconds, or as 1d12h, 1.5s, -30m")
    total = Fraction(0)
    for number, unit in _PART.findall(text):
        if unit and unit not in _UNITS:
            raise ValueError(f"unknown unit {unit!r}; there are {', '.join(_UNITS)}")
        total += Fraction(number if number[0] != "." else "0" + number) * _UNITS[unit or "s"]
    if total > _MOST_TIME:
        raise ValueError(f"{text!r} is too long: at most 200 years")
    return int(-total if text.startswith("-") else total)


def parse_rate(text: str) -> Fraction:
    """A speed: 10, 0.5, 1/3, -1; ValueError."""
    try:
        rate = parse_number(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no speed: write 10, 0.5, 1/3 or -1") from None
    if rate.denominator > _MOST_UNIT or abs(rate) > _MOST_RATE:
        raise ValueError(f"{text!r} cannot be a speed: at most {_MOST_RATE}, in parts of {_MOST_UNIT}")
    return rate


def parse_number(text: str) -> Fraction:
    """A number as Python writes it, or a fraction of two; ValueError, also for what has too many digits."""
    if len(text) > _LONGEST or _EXPONENT.search(text):
        raise ValueError(f"{text[:_LONGEST]!r} is too long a number")
    return Fraction(text)


def _date(text: str) -> int:
    if text.startswith("@"):
        try:
            return int(parse_number(text[1:]) * NSEC)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{text!r} is no time: write @SECONDS since 1970") from None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: write 2030-01-31, 2030-01-31T12:00:00Z or @SECONDS") from None
    try:
        known = date.astimezone(UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"{text!r} is out of range") from None
    since = known - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * NSEC + since.microseconds * 1000


def _not_negative(text: str) -> int:
    time = parse_time(text)
    if time < 0:
        raise ValueError(f"{text!r} is negative")
    return time


_ITEMS: Final[dict[str, Callable[[str], dict[str, object]]]] = {
    "at": lambda value: {"at": _date(value)},
    "offset": lambda value: {"offset": parse_time(value)},
    "scale": lambda value: {"rate": parse_rate(value)},
    "freeze": lambda _: {"freezes": True},
    "step": lambda value: {"freezes": True, "step": _not_negative(value)},
    "advance": lambda value: {"advance": _not_negative(value)},
    "host": lambda _: {"host": True},
}
_FLAGS: Final = frozenset({"freeze", "host"})
