"""Demonstration: what `make demo` shows is what programs are told."""

from __future__ import annotations

import runpy
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples/demo.py"


def test_a_program_has_a_user_a_clock_a_name_and_a_device_of_its_view() -> None:
    assert runpy.run_path(str(DEMO))["show_surroundings"]()
