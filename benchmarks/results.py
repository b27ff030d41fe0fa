"""Results: what was measured, by row and way; medians, spreads and ratios."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Unit:
    """How a number is shown; `rate` tells that more is better."""

    name: str
    divisor: float
    rate: bool = False


MICROSECONDS = Unit("µs", 1e3)
MILLISECONDS = Unit("ms", 1e6)
THOUSANDS = Unit("thousand/s", 1e3, rate=True)
MEGABYTES = Unit("MB", 1e6)
KILOBYTES = Unit("kB", 1e3)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured, in nanoseconds, bytes or calls per second; `unit` says how it is shown."""

    key: str
    title: str
    unit: Unit


@dataclass(slots=True)
class Cell:
    """What one way gave for one row."""

    values: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float | None:
        """None if it failed or was not measured."""
        return None if self.failure or not self.values else statistics.median(self.values)


@dataclass(slots=True)
class Results:
    """All cells, by key of row and of way."""

    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def cell(self, row: str, way: str) -> Cell:
        """The cell, made when first asked for."""
        return self.cells.setdefault((row, way), Cell())

    def add(self, row: str, way: str, value: float) -> None:
        """Keep a measured value."""
        self.cell(row, way).values.append(value)

    def fail(self, row: str, way: str, reason: str) -> None:
        """Note that a way cannot do this; the first reason stays."""
        cell = self.cell(row, way)
        cell.failure = cell.failure or reason

    def median(self, row: str, way: str) -> float | None:
        """The median, None if there is none."""
        cell = self.cells.get((row, way))
        return cell.median if cell else None

    def ratio(self, row: Row, way: str, base: str) -> float | None:
        """How many times as long as in the way `base`; for a rate, how many times fewer."""
        ours, theirs = self.median(row.key, way), self.median(row.key, base)
        if not ours or not theirs:
            return None
        return theirs / ours if row.unit.rate else ours / theirs


def number(value: float) -> str:
    """Three digits that count, and no exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def with_spread(cell: Cell, unit: Unit) -> str:
    """The median and, if there were several runs, the smallest and the largest value."""
    median = cell.median
    if median is None:
        return ""
    text = number(median / unit.divisor)
    if len(cell.values) == 1:
        return text
    low, high = (number(value / unit.divisor) for value in (min(cell.values), max(cell.values)))
    return f"{text} ({low} to {high})"


def parse(printed: str) -> dict[str, float]:
    """`NAME NUMBER` lines; others, which tools print among them, are passed over."""
    found: dict[str, float] = {}
    for line in printed.splitlines():
        name, _, text = line.strip().partition(" ")
        try:
            found[name] = float(text)
        except ValueError:
            continue
    return found
