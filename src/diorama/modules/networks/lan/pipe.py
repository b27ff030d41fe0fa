"""Pipe: what it takes to get from one host to another, in one direction.

Half of the latency, more or less half of the jitter, and what the bandwidth takes, which all that passes
between the two shares. It is asked for each piece that passes, so that a change counts at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from diorama.modules.networks.lan.conditions import Conditions

__all__ = ["Pipe", "Pipes"]

_LARGEST: Final = 1 << 18
_SMALLEST: Final = 1448
_MOST: Final = 4 << 20
_LEAST: Final = 1 << 16
_SLICE: Final = 0.02
_SLACK: Final = 0.2


class Pipe:
    """One direction between two hosts."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self._free_at = 0.0

    def delay(self) -> float:
        """Seconds that something without a length takes."""
        jitter = self.conditions.jitter
        return max(0.0, (self.conditions.latency + (random.uniform(-jitter, jitter) if jitter else 0.0)) / 2)

    def arrival(self, size: int) -> float:
        """When so many bytes that set out now have arrived."""
        now = time.monotonic()
        bandwidth = self.conditions.bandwidth
        if bandwidth:
            now = self._free_at = max(now, self._free_at) + size / bandwidth
        return now + self.delay()

    @property
    def waits(self) -> float:
        """Seconds until something that sets out now gets through."""
        return max(0.0, self._free_at - time.monotonic())

    @property
    def piece(self) -> int:
        """How many bytes should set out at once, so that they do not arrive in lumps."""
        bandwidth = self.conditions.bandwidth
        return min(_LARGEST, max(_SMALLEST, int(bandwidth * _SLICE))) if bandwidth else _LARGEST

    @property
    def room(self) -> int:
        """How many bytes may be under way; more wait where they come from."""
        bandwidth = self.conditions.bandwidth
        if not bandwidth:
            return _MOST
        return min(_MOST, max(_LEAST, int(bandwidth * (self.conditions.latency + _SLACK))))


class Pipes:
    """Those of a LAN, by the numbers of the hosts at their ends."""

    def __init__(self, conditions: Callable[[int, int], Conditions]) -> None:
        self._conditions = conditions
        self._pipes: dict[tuple[int, int], Pipe] = {}

    def between(self, one: int, other: int) -> Pipe:
        """The way from one to the other."""
        pipe = self._pipes.get((one, other))
        if pipe is None:
            pipe = self._pipes[one, other] = Pipe(self._conditions(one, other))
        return pipe

    def refresh(self) -> None:
        """What is between hosts has changed."""
        for (one, other), pipe in self._pipes.items():
            pipe.conditions = self._conditions(one, other)
