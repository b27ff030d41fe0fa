"""Verdicts: numbers against bounds, for each engine."""

from __future__ import annotations

import pytest

from benchmarks import memory, micro, targets, workloads
from benchmarks.results import Results
from benchmarks.targets import Target, judge

ROWS = {row.key: row for row in (*micro.ROWS, *(each.row for each in workloads.ALL), *memory.ROWS)}


def measured(row: str, way: str, ours: float, native: float = 100.0) -> Results:
    results = Results()
    results.add(row, "native", native)
    results.add(row, way, ours)
    return results


@pytest.mark.parametrize(("ours", "met"), [(799.0, True), (804.0, True), (806.0, False)])
def test_a_ratio_is_compared_at_one_decimal(ours: float, met: bool) -> None:
    results = measured("stat", "guardians-unused", ours)
    assert judge(Target("", "stat", "unused", 8.0), "guardians", results, ROWS).met is met


@pytest.mark.parametrize(("engine", "met"), [("guardians", False), ("notify", True)])
def test_each_engine_has_its_own_throughput_to_reach(engine: str, met: bool) -> None:
    results = measured("stat_2", f"{engine}-unused", 150.0)
    results.add("stat_1", f"{engine}-unused", 100.0)
    target = next(target for target in targets.TARGETS if target.kind == "throughput")
    assert judge(target, engine, results, ROWS).met is met


def test_without_a_bound_a_number_is_only_shown() -> None:
    results = measured("thread", "guardians-unused", 300.0)
    verdict = judge(Target("", "thread", "unused", None, 1.2), "guardians", results, ROWS)
    assert str(verdict) == "3.00"


def test_a_size_is_compared_in_megabytes() -> None:
    results = measured("peak", "notify-unused", 61.2e6)
    assert (
        str(judge(Target("", "peak", "unused", 60.0, None, "size"), "notify", results, ROWS))
        == "**61.2 missed**"
    )


def test_what_failed_has_missed_its_bound() -> None:
    results = measured("stat", "notify-bind", 100.0)
    results.fail("stat", "notify-bind", "status 1")
    assert str(judge(Target("", "stat", "bind", 10.0), "notify", results, ROWS)) == "**failed**"
    assert targets.summary(["notify"], results, {"stat": ROWS["stat"]}) == "notify meets 0 of 2."


def test_every_target_is_about_a_row_that_is_measured() -> None:
    assert {target.row for target in targets.TARGETS} <= ROWS.keys()


def test_the_table_has_the_bounds_of_both_engines_and_a_verdict_for_each() -> None:
    results = measured("stat_2", "notify-unused", 150.0)
    results.add("stat_1", "notify-unused", 100.0)
    lines = targets.table(["guardians", "notify"], results, {"stat_2": ROWS["stat_2"]})
    assert lines[0] == "| target | bound | guardians | notify |"
    assert lines[2].split(" | ")[1:] == ["guardians ≥ 1.7, notify ≥ 1.4", "not measured", "1.50 met |"]


def test_the_summary_counts_what_has_been_judged() -> None:
    results = measured("stat", "notify-unused", 500.0)
    results.add("stat", "notify-bind", 5000.0)
    assert targets.summary(["notify"], results, {"stat": ROWS["stat"]}) == "notify meets 1 of 2."


def test_a_bind_is_compared_with_what_is_beside_it() -> None:
    results = measured("stat", "notify-bind", 500.0)
    results.add("stat", "notify-beside", 400.0)
    target = Target("", "stat", "bind", 1.0, kind="beside")
    assert judge(target, "notify", results, ROWS) == targets.Verdict(1.25, met=False)
