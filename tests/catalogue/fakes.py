"""Fakes: a tracee whose memory is there at every address but the first page."""

from __future__ import annotations

import errno
import os
from typing import Any

from diorama import catalogue
from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.catalogue.forms import Spelling, spellings_of

ARENA = 0x7000_0000


class FakeMemory:
    """Sparse memory: zeros where nothing was put, EFAULT in the first page."""

    def __init__(self, contents: dict[int, bytes] | None = None) -> None:
        self.cells: dict[int, int] = {}
        self.end = ARENA
        for address, data in (contents or {}).items():
            self.write(address, data)

    def _check(self, address: int) -> None:
        if address < 0x1000:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def read(self, address: int, size: int) -> bytes:
        self._check(address)
        assert size <= 1 << 20, "what is only shown is read with a limit"
        return bytes(self.cells.get(address + offset, 0) for offset in range(size))

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        self._check(address)
        data = bytearray()
        while len(data) < limit:
            byte = self.cells.get(address + len(data), 0)
            if not byte:
                return bytes(data)
            data.append(byte)
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def write(self, address: int, data: bytes) -> None:
        self._check(address)
        self.cells.update({address + offset: byte for offset, byte in enumerate(data)})

    def place(self, data: bytes) -> int:
        address = self.end
        self.end += -(-len(data) // 16) * 16 + 16
        self.write(address, data)
        return address


class FakeTracee:
    """A thread of process 41."""

    tid = 42
    pid = 41
    syscall = None

    def __init__(self, abi: Abi = Abi.X86_64, contents: dict[int, bytes] | None = None) -> None:
        self.abi = abi
        self.memory = FakeMemory(contents)


class FakeExecution:
    """Remembers what it was asked to run."""

    def __init__(self, tracee: FakeTracee, result: int = 0) -> None:
        self.tracee = tracee
        self.result = result
        self.ran: list[Any] = []

    def run(self, request: Any) -> int:
        self.ran.append(request)
        return self.result


def decoded(name: str, *args: int, abi: Abi = Abi.X86_64, contents: dict[int, bytes] | None = None) -> Any:
    """The request that a call makes."""
    tracee = FakeTracee(abi, contents)
    spelling = catalogue.spelling(abi, NUMBERS[abi.title][name])
    assert spelling is not None, name
    word = 1 << 8 * abi.word
    return spelling.decode(tuple(arg % word for arg in [*args, *[0] * (6 - len(args))]), tracee)


def words(*values: int, word: int = 4) -> bytes:
    """A vector of machine words."""
    return b"".join((value % 256**word).to_bytes(word, "little") for value in values)


def all_spellings(abi: Abi) -> list[Spelling]:
    """Every spelling of an ABI, those behind a multiplexer too."""
    return [spelling for request in catalogue.requests() for spelling in spellings_of(request, abi)]
