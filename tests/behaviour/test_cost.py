"""Cost: what a view does not virtualise costs nothing that can be measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from behaviour.harness import EMPTY, Bench, finish, run_with
from behaviour.programs import Programs

ATTEMPTS = 4  # other tests run at the same time: the claim holds if it can be seen to hold once


def eventually(claim: Callable[[], bool]) -> bool:
    return any(claim() for _ in range(ATTEMPTS))


def test_calls_run_at_native_speed_in_a_view_without_handlers(bench: Bench, programs: Programs) -> None:
    measure_both(bench, programs, 64, 1.15)


def test_32_bit_calls_run_at_native_speed_in_a_view_without_handlers(
    bench: Bench, programs: Programs
) -> None:
    measure_both(bench, programs, 32, 1.15)


def measure_both(bench: Bench, programs: Programs, bits: int, most: float) -> None:
    ratios: list[tuple[float, ...]] = []

    def claim() -> bool:
        command = [programs("speed", bits)]
        pairs = [(bench.native(command), bench.inside(EMPTY, command)) for _ in range(3)]
        best = [
            [min(map(float, column)) for column in zip(*(one.stdout.split() for one in side), strict=True)]
            for side in zip(*pairs, strict=True)
        ]
        ratios.append(tuple(inside / native for native, inside in zip(*best, strict=True)))
        return max(ratios[-1]) < most

    assert eventually(claim), ratios


def test_an_unrelated_handler_leaves_the_clock_alone(bench: Bench, programs: Programs) -> None:
    module = bench.directory / "module.py"
    module.write_text("def load(view):\n    view.on('uname')(lambda call: None)\n")
    ratios: list[float] = []

    def claim() -> bool:
        command = [programs("speed")]
        native = float(bench.native(command).stdout.split()[1])
        ratios.append(float(bench.inside(run_with(module=module), command).stdout.split()[1]) / native)
        return ratios[-1] < 1.2

    assert eventually(claim), ratios


def test_a_view_starts_within_60_ms_of_python(bench: Bench) -> None:
    differences: list[float] = []

    def taken(argv: list[str]) -> float:
        start = time.perf_counter()
        assert finish(bench.start(argv)).status == 0
        return time.perf_counter() - start

    def claim() -> bool:
        python, view = zip(
            *((taken([sys.executable, "-c", "pass"]), taken(EMPTY(["true"]))) for _ in range(7)), strict=True
        )
        differences.append(min(view) - min(python))
        return differences[-1] < 0.060

    assert eventually(claim), differences
