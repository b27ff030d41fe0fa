"""Rules: which calls a handler wants, settled in C (`native/rules.c`)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diorama.engine import _native

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Test:
    """One argument compared with a value; `width` bits of it count (32 or 64)."""

    arg: int
    value: int
    width: int = 64
    op: int = _native.TEST_EQ


@dataclass(frozen=True, slots=True)
class Rule:
    """A call wanted: by audit architecture and number, argument tests, and a glob over one string.

    `fixed` is the answer, -errno for an error, that the native library gives without entering Python; with
    `decides` it asks its decider first (`diorama.engine.decider`).
    """

    abi: int
    nr: int
    id: int
    tests: tuple[Test, ...] = ()
    path_arg: int = 0
    glob: bytes | None = None
    fixed: int | None = None
    decides: bool = False


class Rules:
    """An immutable table of rules in the native library; keep it while guardians use it."""

    __slots__ = ("_handle",)

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._handle = ctypes.c_void_p()
        array = (_native.Rule * max(1, len(rules)))()
        for native, rule in zip(array, rules, strict=False):
            _fill(native, rule)
        _native.check(_native.lib.dio_rules_new(array, len(rules), ctypes.byref(self._handle)))

    @property
    def handle(self) -> ctypes.c_void_p:
        """The native table."""
        return self._handle

    def __del__(self) -> None:
        if self._handle:
            _native.lib.dio_rules_free(self._handle)


def _fill(native: _native.Rule, rule: Rule) -> None:
    native.abi, native.nr, native.id = rule.abi, rule.nr, rule.id
    native.path_arg, native.glob = rule.path_arg, rule.glob
    native.fixed, native.value = rule.fixed is not None, rule.fixed or 0
    native.decides = rule.decides
    native.test_count = len(rule.tests)
    for index, test in enumerate(rule.tests):
        native.tests[index] = _native.Test(test.arg, test.op, test.width, 0, 0, test.value & (1 << 64) - 1)
