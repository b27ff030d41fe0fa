"""Placement: guardians beside their tracees, done in C (`native/placement.c`)."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine import _native

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CALLS = ("sched_setaffinity", "sched_getaffinity")


class Placement:
    """What the guardians of one view share to pin themselves; keep it while guardians use it."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle = ctypes.c_void_p()
        _native.check(_native.lib.dio_placement_new(ctypes.byref(self._handle)))

    @property
    def handle(self) -> ctypes.c_void_p:
        """The native handle."""
        return self._handle

    def close(self) -> None:
        """End its thread, when there are no guardians any more."""
        if self._handle:
            _native.lib.dio_placement_free(self._handle)
            self._handle = ctypes.c_void_p()

    __del__ = close


def has_choice() -> bool:
    """Whether there is more than one CPU to be placed on; that of the first thread, which is never pinned."""
    return len(os.sched_getaffinity(os.getpid())) > 1


def with_masks(wanted: Mapping[Abi, Iterable[int]]) -> dict[Abi, list[int]]:
    """The numbers to stop at, with the calls that tell or set masks of CPUs."""
    numbers = {abi: [NUMBERS[abi.title][name] for name in _CALLS] for abi in Abi.native()}
    return {abi: sorted({*wanted.get(abi, ()), *mine}) for abi, mine in numbers.items()}
