"""Fakes: a tracee with memory, and calls of it that give what a test wants."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diorama import catalogue
from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.errors import TraceeDied

ADDRESS = 0x1000


@dataclass
class FakeMemory:
    """One mapping at `ADDRESS`; reading raises `TraceeDied` once it is gone."""

    data: bytes = b""
    gone: bool = False

    def read(self, address: int, size: int) -> bytes:
        if self.gone:
            raise TraceeDied
        found = self.data[address - ADDRESS : address - ADDRESS + size] if address >= ADDRESS else b""
        if not found:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return found

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        return self.read(address, limit).split(b"\0")[0]


@dataclass(eq=False)
class FakeTracee:
    tid: int = 42
    pid: int = 41
    abi: Abi = Abi.X86_64
    memory: FakeMemory = field(default_factory=FakeMemory)


@dataclass
class FakeExecution:
    tracee: FakeTracee
    outcome: Callable[[], int]

    def run(self, request: Any) -> int:
        return self.outcome()


def made(
    name: str,
    *args: int,
    outcome: Callable[[], int] = lambda: 0,
    memory: bytes = b"",
    abi: Abi = Abi.X86_64,
) -> Any:
    """A call as a program makes it, bound to an execution with that outcome."""
    tracee = FakeTracee(abi=abi, memory=FakeMemory(memory))
    spelling = catalogue.spelling(abi, NUMBERS[abi.title][name])
    assert spelling is not None
    call = spelling.decode((*args, *[0] * (6 - len(args))), tracee)
    return call.bound(FakeExecution(tracee, outcome))
