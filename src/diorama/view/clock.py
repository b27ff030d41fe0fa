"""Clock: the course of time as programs see it, computed from the host's clocks.

A *course* leads from what the host's clocks show to what a program sees, in nanoseconds.  There are two
speeds. The wall clock (CLOCK_REALTIME and what follows it) may run at any rate, backwards too, or stand
still.  All other clocks, and everything that waits, go on at the *pace*, which is never negative: monotonic
clocks stay monotonic. Whenever something is changed, a new course begins at that moment with what the old
one showed.

The native library has the same arithmetic (`native/decide_clock.c`): all divisions round down.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from typing import Final, NamedTuple

from diorama.abi import time as abi

__all__ = ["NSEC", "WALL_MAX", "Clock", "Course", "Kind", "Moment", "kind_of"]

NSEC: Final = 1_000_000_000
WALL_MAX: Final = (1 << 63) - 1 - 30 * 365 * 24 * 3600 * NSEC
"""The latest time that a wall clock is set to, as in Linux (timekeeping_validate_timespec)."""
_MOST: Final = (1 << 63) - 1


class Kind(IntEnum):
    """The clocks of the host that others follow."""

    WALL, MONOTONIC, RAW, BOOTTIME = range(4)


_KINDS: Final = {
    abi.CLOCK_REALTIME: Kind.WALL,
    abi.CLOCK_REALTIME_COARSE: Kind.WALL,
    abi.CLOCK_REALTIME_ALARM: Kind.WALL,
    abi.CLOCK_TAI: Kind.WALL,
    abi.CLOCK_MONOTONIC: Kind.MONOTONIC,
    abi.CLOCK_MONOTONIC_COARSE: Kind.MONOTONIC,
    abi.CLOCK_MONOTONIC_RAW: Kind.RAW,
    abi.CLOCK_BOOTTIME: Kind.BOOTTIME,
    abi.CLOCK_BOOTTIME_ALARM: Kind.BOOTTIME,
}


def kind_of(clock: int) -> Kind | None:
    """What a clock id follows; None for those of processor time and devices, which are left alone."""
    return _KINDS.get(clock)


class Moment(NamedTuple):
    """What the host's clocks of the four kinds show, in nanoseconds."""

    wall: int
    monotonic: int
    raw: int
    boottime: int


_STILL: Final = Moment(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Course:
    """From `real`, where clocks showed `shown`, on; each reading of the wall clock adds `step` to it."""

    real: Moment = _STILL
    shown: Moment = _STILL
    rate: Fraction = Fraction(1)
    pace: Fraction = Fraction(1)
    step: int = 0

    def at(self, kind: Kind, real: int) -> int:
        """What a clock shows when that of the host shows `real`; never less than 0."""
        return min(max(self._at(kind, real), 0), _MOST)

    def _at(self, kind: Kind, real: int) -> int:
        rate = self.rate if kind is Kind.WALL else self.pace
        return self.shown[kind] + (real - self.real[kind]) * rate.numerator // rate.denominator

    def when(self, kind: Kind, shown: int) -> int | None:
        """What the host's clock shows when this one shows that, or more, for the first time from now on.

        None if it never will.  What is past is some time before.
        """
        rate = self.rate if kind is Kind.WALL else self.pace
        ahead = shown - self.shown[kind]
        if ahead <= 0:
            return self.real[kind] + (ahead if rate <= 0 else _up(Fraction(ahead) / rate))
        return None if rate <= 0 else self.real[kind] + _up(ahead / rate)

    def lasts(self, shown: int) -> int | None:
        """How long a duration lasts for the host; None for ever."""
        if not self.pace:
            return None if shown > 0 else 0
        return _up(shown / self.pace)

    def counts(self, real: int) -> int:
        """What a duration of the host is for programs."""
        return int(real * self.pace)

    def moment(self, now: Moment) -> Moment:
        """What all clocks show."""
        return Moment(*[self.at(kind, now[kind]) for kind in Kind])

    # -- changes, all from a moment on --------------------------------------------------------

    def begun(self, now: Moment) -> Course:
        """The same, as a course that begins at this moment."""
        return replace(self, real=now, shown=self.moment(now))

    def with_rates(self, now: Moment, rate: Fraction, pace: Fraction, step: int = 0) -> Course:
        """The same with other speeds."""
        return replace(self.begun(now), rate=rate, pace=pace, step=step)

    def with_wall(self, now: Moment, wall: int) -> Course:
        """The same with the wall clock set."""
        begun = self.begun(now)
        return replace(begun, shown=begun.shown._replace(wall=wall))

    def with_base(self, now: Moment, base: int, offset: int) -> Course:
        """The same with a wall clock that showed `base + offset` when the host's showed `base`; EINVAL."""
        wall = base + offset
        if not (0 <= base <= WALL_MAX and abs(wall) <= WALL_MAX):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        course = replace(self, real=self.real._replace(wall=base), shown=self.shown._replace(wall=wall))
        if not 0 <= course._at(Kind.WALL, now.wall) <= WALL_MAX:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return course

    def advanced(self, now: Moment, by: int) -> Course:
        """The same as if so much time had passed."""
        begun = self.begun(now)
        return replace(begun, shown=Moment(*[min(shown + by, _MOST) for shown in begun.shown]))


def _up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def _nobody(_clock: Clock, _before: Course | None = None) -> None:
    return


def _nothing() -> int | None:
    return None


class Clock:
    """A course that can be changed, for the processes that have it.  Any thread.

    `now` reads the host's clocks.  While `holding` nobody reads this clock, and `on_change` is told of every
    course then; `after_change` of the one before, when all see the new one.  `read_wall` is a reading of the
    wall clock, by which one with a step goes on.
    """

    def __init__(self, number: int, now: Callable[[], Moment], course: Course | None = None) -> None:
        self.number = number
        self.now = now
        self.holding: Callable[[], AbstractContextManager[None]] = nullcontext
        self.on_change: Callable[[Clock], None] = _nobody
        self.after_change: Callable[[Clock, Course], None] = _nobody
        self.read_wall: Callable[[], int | None] = _nothing
        self._lock = threading.Lock()
        moment = now()
        self._course = course or Course(moment, moment)

    @property
    def course(self) -> Course:
        """The present one."""
        return self._course

    def change(self, how: Callable[[Course, Moment], Course]) -> None:
        """Begin a new course, made of the present one and this moment."""
        with self._lock:
            stepped = self.read_wall() if self._course.step else None
            with self.holding():
                now = self.now()
                course = self._course if stepped is None else self._course.with_wall(now, stepped)
                self._course = how(course, now)
                self.on_change(self)
            self.after_change(self, course)

    def begun(self) -> Course:
        """Its course, as one that begins now."""
        stepped = self.read_wall() if self._course.step else None
        now = self.now()
        return self._course.begun(now) if stepped is None else self._course.with_wall(now, stepped)

    def shown(self, kind: Kind) -> int:
        """What it shows now; steps are not counted."""
        return self._course.at(kind, self.now()[kind])

    def read(self, kind: Kind) -> int:
        """What a program that reads it now sees; of a wall clock with a step, this is one reading more."""
        stepped = self.read_wall() if kind is Kind.WALL and self._course.step else None
        return self.shown(kind) if stepped is None else stepped
