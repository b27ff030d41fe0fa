"""Memory: how much there is, as a view tells it.

What is free, cached and so on is the same share of it as of the machine's, so that all figures agree with
one another.  Swap, huge pages and address space are the machine's.
"""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.system import SysInfo
from diorama.catalogue.system import Sysinfo
from diorama.dispatch.files.generated import Subject, SystemFile
from diorama.dispatch.names.answers import Outcome, answers
from diorama.dispatch.names.state import Names
from diorama.engine.ourcall import make_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diorama.dispatch.files.state import Files

__all__ = ["memory_files"]

_KIB: Final = 1024
_PAGE: Final = 4096
_LINE: Final = re.compile(rb"^(\w+(?:\(\w+\))?:\s+)(\d+) kB$", re.MULTILINE)
_OF_THE_MACHINE: Final = (b"Swap", b"Vmalloc", b"Huge", b"DirectMap", b"Commit", b"Zswap", b"Cma", b"Percpu")
_SCALED: Final = ("freeram", "sharedram", "bufferram")


@answers(Sysinfo)
def sysinfo(names: Names, call: Sysinfo) -> Outcome:
    """The kernel's own figures, with the memory that is told."""
    total = names.system.memory
    if total is None:
        return None
    found = _sysinfo()
    own = found.totalram * found.mem_unit
    values = {name: getattr(found, name) * found.mem_unit * total // own for name in _SCALED}
    values |= {"totalram": total}
    values |= {name: getattr(found, name) * found.mem_unit for name in ("totalswap", "freeswap")}
    unit = 1
    if call.tracee.abi.word < 8 and max(values.values()) >> 32:
        unit, values = _PAGE, {name: value // _PAGE for name, value in values.items()}
    call.info.write(found.replace(**values, mem_unit=unit, totalhigh=0, freehigh=0))
    return 0


def _sysinfo() -> SysInfo:
    abi = Abi.native()[0]
    room = ctypes.create_string_buffer(SysInfo.size(abi))
    make_call(NUMBERS[abi.title]["sysinfo"], ctypes.addressof(room))
    return SysInfo.unpack(abi, room.raw)


def memory_files(names: Names) -> Iterator[tuple[bytes, SystemFile]]:
    """The file that tells of memory."""
    total = names.system.memory
    if total is None:
        return

    def read(files: Files, subject: Subject) -> bytes:
        return _meminfo(subject.real(), total // _KIB)

    yield b"/proc/meminfo", SystemFile(read)


def _meminfo(real: bytes, total: int) -> bytes:
    own = next(int(match[2]) for match in _LINE.finditer(real) if match[1].startswith(b"MemTotal:"))

    def told(match: re.Match[bytes]) -> bytes:
        if match[1].startswith(_OF_THE_MACHINE):
            return match[0]
        value = b"%d" % (int(match[2]) * total // own)
        width = len(match[1]) + len(match[2])
        name = match[1].rstrip()
        return name + value.rjust(width - len(name)) + b" kB"

    return _LINE.sub(told, real)
