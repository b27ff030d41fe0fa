"""Clock: the clock of a view, as its author reads and changes it.

    view.clock.change("at=2030-01-01T00:00:00Z,scale=10")
    view.clock.freeze()
    view.clock.advance(3600)

What it is changed to is seen by all programs that have it, also by those that run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from diorama.errors import UsageError
from diorama.view.clock import NSEC, Kind
from diorama.view.clockspec import Change, parse, parse_rate

if TYPE_CHECKING:
    from diorama.view.clock import Clock

__all__ = ["ViewClock"]


class ViewClock:
    """The clock of a view.  Any thread; `UsageError` for what no clock can show."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def change(self, text: str) -> None:
        """Change it in words (`diorama.view.clockspec`)."""
        self._clock.change(parse(text))

    def now(self) -> datetime:
        """What the wall clock shows, to a microsecond; a step is not counted."""
        shown = self._clock.begun().shown[Kind.WALL]
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=shown // 1000)

    def monotonic(self) -> float:
        """What CLOCK_MONOTONIC shows, in seconds."""
        return self._clock.shown(Kind.MONOTONIC) / NSEC

    def set(self, date: datetime | float) -> None:
        """Let the wall clock show a date, or seconds since 1970."""
        self._clock.change(Change(f"{date}", at=_nanoseconds(date)))

    def offset(self, seconds: float) -> None:
        """Let the wall clock be so far ahead of the host's."""
        self._clock.change(Change(f"offset={seconds}", offset=_nanoseconds(seconds)))

    def freeze(self) -> None:
        """Let the wall clock stand still; all other clocks go on."""
        self._clock.change(Change("freeze", freezes=True))

    def scale(self, rate: float | Fraction | str) -> None:
        """Let time go so fast: 1 as the host's, 0 not at all; negative, the wall clock runs backwards."""
        try:
            self._clock.change(Change(f"scale={rate}", rate=parse_rate(str(rate))))
        except ValueError as error:
            raise UsageError(f"cannot set the clock to scale={rate}: {error}") from None

    def advance(self, seconds: float) -> None:
        """Let so much time have passed."""
        by = _nanoseconds(seconds)
        if by < 0:
            raise UsageError(f"cannot advance the clock by {seconds}: it is negative")
        self._clock.change(Change(f"advance={seconds}", advance=by))


def _nanoseconds(date: datetime | float) -> int:
    """Of seconds, or of a date since 1970; `UsageError` for what is no number or out of range."""
    try:
        seconds = date.timestamp() if isinstance(date, datetime) else date
        return int(Fraction(seconds) * NSEC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"cannot set the clock to {date}: {error}") from None
