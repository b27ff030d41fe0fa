"""What socket calls cost: the table of results that nobody has measured, the program that is measured."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.results import Results
from benchmarks.sockets import NATIVE, NETWORKS, ROWS, SOURCE, measure, spent, table, ways


def test_ratios_are_to_what_it_takes_natively() -> None:
    results = Results()
    for way, value in ((NATIVE, 2e3), (NATIVE, 4e3), (NATIVE, 3e3), ("lan-notify", 30e3)):
        results.add("sendto", way, value)
    text = table(results, [NATIVE, "lan-notify"])
    assert "| `sendto` | 3.00 | 30.0 (10.0) |" in text
    assert "| `send`, `recv` |  |  |" in text


def test_each_network_is_measured_with_both_engines() -> None:
    expected = [f"{net}-{engine}" for engine in ("guardians", "notify") for net in NETWORKS]
    assert [*ways()] == [NATIVE, *expected]


def test_every_row_is_measured(tmp_path: Path) -> None:
    program = tmp_path / "sockets"
    subprocess.run(["gcc", "-o", program, SOURCE], check=True, timeout=60)
    keys = [row.key for row in ROWS]
    found = dict(measure([str(program)], 3, keys))
    assert [*found] == keys
    assert all(value >= 0 for value in found.values())
    with pytest.raises(RuntimeError, match="it ended"):
        list(measure([str(program)], 3, ["nothing"]))


def test_the_time_of_children_counts() -> None:
    assert spent(os.getpid()) > 0
