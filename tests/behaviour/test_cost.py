"""Cost: what a view does not virtualise is not stopped, and what it does not need is not loaded.

How long things take is measured by `make bench`, never here.
"""

from __future__ import annotations

import sys

import pytest

from behaviour.harness import EMPTY, Bench, finish

STATUS = ["grep", "-E", "^(TracerPid|Seccomp|NoNewPrivs):", "/proc/self/status"]
HEAVY = ("fsspec", "greenlet", "asyncio", "json", "diorama.catalogue.index", "diorama.view.resolve")


def test_a_view_without_handlers_has_no_tracer_and_no_filter(bench: Bench) -> None:
    native = bench.native(STATUS)
    assert len(native.lines) == 3
    assert bench.inside(EMPTY, STATUS) == native


@pytest.mark.parametrize("module", HEAVY)
def test_starting_a_program_does_not_load(bench: Bench, module: str) -> None:
    words = EMPTY(["true"])
    loaded = finish(bench.start([sys.executable, "-X", "importtime", *words[1:]])).stderr
    names = {line.rsplit("|", 1)[-1].strip() for line in loaded.splitlines()}
    assert "diorama.engine.launch" in names
    assert module not in names
