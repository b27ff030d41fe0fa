"""Medians, spreads and ratios, and how a program's lines are read."""

from __future__ import annotations

import pytest

from benchmarks.results import MICROSECONDS, THOUSANDS, Cell, Results, Row, number, parse, with_spread

STAT = Row("stat", "stat", MICROSECONDS)
RATE = Row("stat_2", "stat, 2 processes", THOUSANDS)


def results(row: str, **ways: list[float]) -> Results:
    found = Results()
    for way, values in ways.items():
        for value in values:
            found.add(row, way, value)
    return found


def test_a_ratio_is_that_of_the_medians() -> None:
    found = results("stat", native=[100, 300, 200], ours=[900, 1000, 5000])
    assert found.ratio(STAT, "ours", "native") == 5.0


def test_a_ratio_of_rates_says_how_many_times_fewer() -> None:
    found = results("stat_2", native=[800], ours=[200])
    assert found.ratio(RATE, "ours", "native") == 4.0


def test_what_failed_or_was_not_measured_has_no_ratio() -> None:
    found = results("stat", native=[100], ours=[200])
    found.fail("stat", "ours", "status 1")
    assert found.ratio(STAT, "ours", "native") is None
    assert found.ratio(STAT, "other", "native") is None


def test_the_first_reason_of_a_failure_stays() -> None:
    found = Results()
    found.fail("stat", "ours", "status 1")
    found.fail("stat", "ours", "status 2")
    assert found.cell("stat", "ours").failure == "status 1"


def test_a_cell_shows_median_and_spread() -> None:
    assert with_spread(Cell([1000.0, 3000.0, 2000.0]), MICROSECONDS) == "2.00 (1.00 to 3.00)"
    assert with_spread(Cell([1000.0]), MICROSECONDS) == "1.00"
    assert with_spread(Cell(), MICROSECONDS) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123, "0.12"), (9.994, "9.99"), (12.34, "12.3"), (123.4, "123"), (2_000_000, "2000000")],
)
def test_numbers_have_the_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_lines_of_tools_among_the_program_s_are_passed_over() -> None:
    assert parse("stat 12.5\nvufs: warning 3x\n\nstat_2 1000\n") == {"stat": 12.5, "stat_2": 1000.0}
