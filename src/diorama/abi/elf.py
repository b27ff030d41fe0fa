"""Elf: who loads an executable file, and what it is linked with (elf(5), fs/binfmt_elf.c)."""

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
    "find_needed",
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

_WIDE: Final = 2
"""The class of files of 64 bits."""
_PATH_MAX: Final = 4096
_MOST_HEADERS: Final = 65536
_MOST_ENTRIES: Final = 1 << 16
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5
_EM_486: Final = 6
_NATIVE: Final = frozenset({abi.audit & 0xFFFF for abi in Abi.native()})


class _Class(NamedTuple):
    """The structures of one word size: headers, and where a program header has `p_offset` and `p_filesz`."""

    file: struct.Struct
    program: struct.Struct
    offset_at: int
    size_at: int
    word: str


# The header from e_machine to e_phnum; p_type, p_offset, p_vaddr, p_filesz.
_CLASSES: Final = {
    1: _Class(struct.Struct("<18xH4x4xI4x4x2xHH"), struct.Struct("<III4xI12x"), 4, 16, "<I"),
    2: _Class(struct.Struct("<18xH4x8xQ8x4x2xHH"), struct.Struct("<I4xQQ8xQ16x"), 8, 32, "<Q"),
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
    for part in _parts(fd):
        if part.kind == _PT_INTERP:
            length = part.length
            path = os.pread(fd, length, part.offset) if 2 <= length <= _PATH_MAX else b""
            if len(path) < length or not path.endswith(b"\0"):
                return None
            return Interpreter(path.partition(b"\0")[0], part.header, part.word)
    return None


def find_needed(fd: int) -> list[bytes]:
    """The names of the libraries that an executable of this machine is linked with; none if it tells none."""
    parts = _parts(fd)
    dynamic = next((part for part in parts if part.kind == _PT_DYNAMIC), None)
    if dynamic is None or dynamic.length > _MOST_ENTRIES:
        return []
    entry = struct.Struct("<qQ" if dynamic.word == _WIDE else "<iI")
    table = os.pread(fd, dynamic.length, dynamic.offset)
    entries = list(entry.iter_unpack(table[: len(table) // entry.size * entry.size]))
    names = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    loaded = (part for part in parts if part.kind == _PT_LOAD)
    if names is None:
        return []
    text = next((part for part in loaded if 0 <= names - part.address < part.length), None)
    if text is None:
        return []
    start = text.offset + names - text.address
    found = (os.pread(fd, _PATH_MAX, start + value) for tag, value in entries if tag == _DT_NEEDED)
    return [name.partition(b"\0")[0] for name in found]


class _Part(NamedTuple):
    """A program header, which stands at `header` in the file; the class of the file is `word`."""

    kind: int
    offset: int
    address: int
    length: int
    header: int
    word: int


def _parts(fd: int) -> list[_Part]:
    """The program headers of an executable of this machine; none of what the kernel refuses."""
    head = os.pread(fd, 64, 0)
    known = _CLASSES.get(head[4]) if head.startswith(b"\x7fELF") and len(head) > 5 and head[5] == 1 else None
    if known is None or len(head) < known.file.size:
        return []
    machine, start, size, count = known.file.unpack_from(head)
    is_ours = machine in _NATIVE or (machine == _EM_486 and Abi.I386.audit & 0xFFFF in _NATIVE)
    if not is_ours or size != known.program.size or not 0 < size * count <= _MOST_HEADERS:
        return []
    table = os.pread(fd, size * count, start)
    if len(table) < size * count:
        return []
    parts: list[_Part] = []
    for at in range(0, len(table), size):
        kind, offset, address, length = known.program.unpack_from(table, at)
        parts.append(_Part(kind, offset, address, length, start + at, head[4]))
    return parts
