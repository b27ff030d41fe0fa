"""Aarch64: programs of a few instructions, made without a compiler for that architecture."""

from __future__ import annotations

import struct

WRITE, EXIT, EXECVE, UNAME = 64, 93, 221, 160
_BASE = 0x400000
_HEADERS = 120
_MACHINE = 4 * 65
"""Where uname(2) puts the name of the machine."""


def _mov(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register


def _call(number: int) -> list[int]:
    return [_mov(8, number), 0xD4000001]


class Program:
    """Machine code with its data behind it."""

    def __init__(self) -> None:
        self._code: list[int | tuple[int, int]] = []
        self._data = b""

    def data(self, value: bytes) -> int:
        """Where that will be in the data."""
        at = len(self._data)
        self._data += value + bytes(-len(value) % 8)
        return at

    def call(self, number: int, *arguments: int | tuple[str, int]) -> None:
        """A system call, whose arguments are numbers, or `("at", place)` in the data."""
        for register, argument in enumerate(arguments):
            if isinstance(argument, int):
                self._code.append(_mov(register, argument))
            else:
                self._code.append((register, argument[1]))
        self._code += _call(number)

    def elf(self) -> bytes:
        """The file."""
        start = _BASE + _HEADERS
        data = start + 4 * len(self._code)
        words: list[int] = []
        for at, one in enumerate(self._code):
            if isinstance(one, tuple):
                away = data + one[1] - (start + 4 * at)
                one = 0x10000000 | (away & 3) << 29 | (away >> 2) << 5 | one[0]
            words.append(one)
        content = struct.pack(f"<{len(words)}I", *words) + self._data
        size = _HEADERS + len(content)
        identity = b"\x7fELF\2\1\1" + bytes(9)
        header = struct.pack("<2HI3QI6H", 2, 183, 1, start, 64, 0, 0, 64, 56, 1, 64, 0, 0)
        segment = struct.pack("<2I6Q", 1, 7, 0, _BASE, _BASE, size, size, 0x1000)
        return identity + header + segment + content


def says(text: str) -> bytes:
    """A program that writes a text."""
    program = Program()
    place = program.data(text.encode())
    program.call(WRITE, 1, ("at", place), len(text))
    program.call(EXIT, 0)
    return program.elf()


def says_machine() -> bytes:
    """A program that writes what uname(2) calls the machine, 65 bytes."""
    program = Program()
    place = program.data(bytes(65 * 6))
    program.call(UNAME, ("at", place))
    program.call(WRITE, 1, ("at", place + _MACHINE), 65)
    program.call(EXIT, 0)
    return program.elf()


def executes(path: str) -> bytes:
    """A program that executes another, without arguments; it ends with 9 if it cannot."""
    program = Program()
    place = program.data(path.encode() + b"\0")
    program.call(EXECVE, ("at", place), 0, 0)
    program.call(EXIT, 9)
    return program.elf()
