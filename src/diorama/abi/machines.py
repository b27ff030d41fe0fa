"""Machines: by what the programs of an architecture are known, elf(5), and what qemu-user calls it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

from diorama.abi.binfmt import Format

__all__ = ["MACHINES", "Machine", "find_machine", "machine_of"]

_MAGIC: Final = b"\x7fELF"
_VERSION: Final = b"\x01"
_EXECUTABLE: Final = 2
"""ET_EXEC, and with one bit more ET_DYN, which programs that can be loaded anywhere are."""
_SIXTEEN: Final = 0xFFFF
_FLAGS: Final = b"POCF"


@dataclass(frozen=True, slots=True)
class Machine:
    """An architecture: its name for uname(2) and qemu, bits, `e_machine`, Debian's name, byte order."""

    name: str
    bits: int
    number: int
    debian: str = ""
    big_endian: bool = False

    @property
    def programs(self) -> tuple[str, str]:
        """What emulates it, the better first: what needs no library runs in any root."""
        return f"qemu-{self.name}-static", f"qemu-{self.name}"

    @property
    def is_own(self) -> bool:
        """Whether the kernel runs its programs by itself."""
        own = os.uname().machine
        return own == self.name or (own, self.name) == ("x86_64", "i386")

    def format(self, interpreter: bytes) -> Format:
        """Its programs, as binfmt_misc has them, for whatever operating system and version of its ABI."""
        order = ">" if self.big_endian else "<"
        identity = bytes([self.bits // 32, 1 + self.big_endian]) + _VERSION
        magic = _MAGIC + identity + bytes(9) + struct.pack(f"{order}2H", _EXECUTABLE, self.number)
        every = b"\xff" * (len(_MAGIC) + len(identity))
        mask = every + bytes(2) + b"\xff" * 7 + struct.pack(f"{order}2H", _SIXTEEN - 1, _SIXTEEN)
        return Format(b"qemu-" + self.name.encode(), interpreter, magic, mask, flags=_FLAGS)


MACHINES: Final = (
    Machine("aarch64", 64, 183, "arm64"),
    Machine("aarch64_be", 64, 183, big_endian=True),
    Machine("alpha", 64, 0x9026),
    Machine("arm", 32, 40, "armhf"),
    Machine("armeb", 32, 40, big_endian=True),
    Machine("hppa", 32, 15, big_endian=True),
    Machine("i386", 32, 3),
    Machine("loongarch64", 64, 258, "loong64"),
    Machine("m68k", 32, 4, big_endian=True),
    Machine("mips", 32, 8, big_endian=True),
    Machine("mips64", 64, 8, big_endian=True),
    Machine("mips64el", 64, 8),
    Machine("mipsel", 32, 8),
    Machine("or1k", 32, 92, big_endian=True),
    Machine("ppc", 32, 20, "powerpc", big_endian=True),
    Machine("ppc64", 64, 21, big_endian=True),
    Machine("ppc64le", 64, 21, "ppc64el"),
    Machine("riscv32", 32, 243),
    Machine("riscv64", 64, 243),
    Machine("s390x", 64, 22, big_endian=True),
    Machine("sh4", 32, 42),
    Machine("sparc", 32, 2, big_endian=True),
    Machine("sparc64", 64, 43, big_endian=True),
    Machine("x86_64", 64, 62, "amd64"),
)
_OTHER_NAMES: Final = {"armel": "arm", "armv7l": "arm", "i686": "i386", "x86-64": "x86_64"}


def machine_of(head: bytes) -> Machine | None:
    """The architecture of an executable that begins so; None if it is none, or nobody knows it."""
    return next((one for one in MACHINES if one.format(b"").accepts(b"", head)), None)


def find_machine(name: str) -> Machine | None:
    """The architecture of a name, uname's or Debian's; None if nobody knows it."""
    wanted = _OTHER_NAMES.get(name, name)
    return next((one for one in MACHINES if wanted in (one.name, one.debian)), None)
