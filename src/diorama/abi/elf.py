"""Elf: what the kernel reads of an executable file to find its interpreter (elf(5), fs/binfmt_elf.c)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from diorama.abi.arch import Abi

__all__ = [
    "AT_CLKTCK",
    "AT_EGID",
    "AT_EUID",
    "AT_EXECFD",
    "AT_EXECFN",
    "AT_FLAGS",
    "AT_GID",
    "AT_IGNORE",
    "AT_SECURE",
    "AT_SYSINFO_EHDR",
    "AT_UID",
    "Interpreter",
    "find_interpreter",
    "is_native",
]

AT_IGNORE: Final = 1
"""In the auxiliary vector: an entry that says nothing."""

AT_EXECFD: Final = 2
"""In the auxiliary vector: the descriptor of the program that an interpreter is to run."""

AT_FLAGS: Final = 8
"""In the auxiliary vector: `diorama.abi.binfmt.AT_FLAGS_PRESERVE_ARGV0`."""

AT_UID: Final = 11
AT_EUID: Final = 12
AT_GID: Final = 13
AT_EGID: Final = 14
AT_SECURE: Final = 23
"""In the auxiliary vector: who runs a program, and whether it has more rights than who started it."""

AT_CLKTCK: Final = 17
"""In the auxiliary vector: the frequency of times(2), 100 on every architecture of Linux but Alpha."""

AT_EXECFN: Final = 31
"""In the auxiliary vector: the address of the string by which a program was called (getauxval(3))."""

AT_SYSINFO_EHDR: Final = 33
"""In the auxiliary vector: the address of the vDSO (vdso(7))."""

_PATH_MAX: Final = 4096
_MOST_HEADERS: Final = 65536
_PT_INTERP: Final = 3
_EM_486: Final = 6
_NATIVE: Final = frozenset({abi.audit & 0xFFFF for abi in Abi.native()})


class _Class(NamedTuple):
    """The structures of one word size: headers, and where a program header has `p_offset` and `p_filesz`."""

    file: struct.Struct
    program: struct.Struct
    offset_at: int
    size_at: int
    word: str


# The header from e_machine to e_phnum; p_type, p_offset, p_filesz.
_CLASSES: Final = {
    1: _Class(struct.Struct("<18xH4x4xI4x4x2xHH"), struct.Struct("<II8xI12x"), 4, 16, "<I"),
    2: _Class(struct.Struct("<18xH4x8xQ8x4x2xHH"), struct.Struct("<I4xQ16xQ16x"), 8, 32, "<Q"),
}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The program that loads another: its path, and where in the file the header stands that names it."""

    path: bytes
    header: int
    kind: int

    def elsewhere(self, offset: int, size: int) -> list[tuple[int, bytes]]:
        """What is to be written where, so that the kernel finds `size` bytes of path at `offset` instead."""
        known = _CLASSES[self.kind]
        return [
            (self.header + known.offset_at, struct.pack(known.word, offset)),
            (self.header + known.size_at, struct.pack(known.word, size)),
        ]


def is_native(head: bytes) -> bool:
    """Whether a file that begins so is an executable for this machine."""
    if len(head) < _CLASSES[2].file.size or not head.startswith(b"\x7fELF") or head[5] != 1:
        return False
    machine = int.from_bytes(head[18:20], "little")
    return machine in _NATIVE or (machine == _EM_486 and Abi.I386.audit & 0xFFFF in _NATIVE)


def find_interpreter(fd: int) -> Interpreter | None:
    """The interpreter that an executable of this machine asks for.

    None for what has none, and for what the kernel refuses or leaves to others.
    """
    head = os.pread(fd, 64, 0)
    known = _CLASSES.get(head[4]) if head.startswith(b"\x7fELF") and len(head) > 5 and head[5] == 1 else None
    if known is None or len(head) < known.file.size:
        return None
    machine, start, size, count = known.file.unpack_from(head)
    is_ours = machine in _NATIVE or (machine == _EM_486 and Abi.I386.audit & 0xFFFF in _NATIVE)
    if not is_ours or size != known.program.size or not 0 < size * count <= _MOST_HEADERS:
        return None
    table = os.pread(fd, size * count, start)
    if len(table) < size * count:
        return None
    for at in range(0, len(table), size):
        kind, offset, length = known.program.unpack_from(table, at)
        if kind == _PT_INTERP:
            path = os.pread(fd, length, offset) if 2 <= length <= _PATH_MAX else b""
            if len(path) < length or not path.endswith(b"\0"):
                return None
            return Interpreter(path.partition(b"\0")[0], start + at, head[4])
    return None
