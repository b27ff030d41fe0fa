"""Architectures: the ABIs through which a program may talk to the kernel."""

from __future__ import annotations

import os
from enum import Enum

__all__ = ["Abi"]

_CONVENTION_64 = 0x80000000
_LITTLE_ENDIAN = 0x40000000


class Abi(Enum):
    """One calling convention of the kernel: system call numbers, word size, structure layouts.

    `audit` is the AUDIT_ARCH_* value that seccomp and ptrace report; `word` is the size of a pointer and of a
    `long` in bytes; `wide_alignment` is the alignment of a 64-bit integer within a structure.
    """

    X86_64 = ("x86-64", 62 | _CONVENTION_64 | _LITTLE_ENDIAN, 8, 8)
    I386 = ("i386", 3 | _LITTLE_ENDIAN, 4, 4)
    AARCH64 = ("aarch64", 183 | _CONVENTION_64 | _LITTLE_ENDIAN, 8, 8)
    RISCV64 = ("riscv64", 243 | _CONVENTION_64 | _LITTLE_ENDIAN, 8, 8)

    title: str
    audit: int
    word: int
    wide_alignment: int

    def __init__(self, title: str, audit: int, word: int, wide_alignment: int) -> None:
        self.title = title
        self.audit = audit
        self.word = word
        self.wide_alignment = wide_alignment

    # Members are singletons; the default hash is written in Python and shows in the decoder's time.
    __hash__ = object.__hash__

    @staticmethod
    def of_audit(audit: int) -> Abi:
        """The ABI that the kernel calls by this AUDIT_ARCH_* value; ValueError for one we do not know."""
        abi = _BY_AUDIT.get(audit)
        if abi is None:
            raise ValueError(f"unknown AUDIT_ARCH value {audit:#x}")
        return abi

    @staticmethod
    def of_title(title: str) -> Abi:
        """The ABI of this title, "i386" for example; ValueError for one we do not know."""
        for abi in Abi:
            if abi.title == title:
                return abi
        raise ValueError(f"unknown ABI {title!r}; known are {', '.join(abi.title for abi in Abi)}")

    @staticmethod
    def native() -> tuple[Abi, ...]:
        """What this machine's kernel may present, its main ABI first."""
        return _NATIVE[_MACHINE]


_BY_AUDIT = {abi.audit: abi for abi in Abi}

_MACHINE = os.uname().machine
_NATIVE = {
    "x86_64": (Abi.X86_64, Abi.I386),
    "i686": (Abi.I386,),
    "aarch64": (Abi.AARCH64,),
    "riscv64": (Abi.RISCV64,),
}
