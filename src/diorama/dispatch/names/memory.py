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
    from collections.abc import Iterable, Iterator

    from diorama.dispatch.files.state import Files

__all__ = ["memory_files", "scaled_node"]

_KIB: Final = 1024
_PAGE: Final = 4096
_LINE: Final = re.compile(rb"^(Node \d+ |)(\w+(?:\(\w+\))?:\s+)(\d+) kB$", re.MULTILINE)
_PAGES: Final = re.compile(
    rb"^(nr_(?:free_pages(?:_blocks)?|zone_\w+|(?:in)?active_\w+|unevictable|mlock|slab_\w+|anon_\w+|mapped|file_\w+"
    rb"|dirty|dirty_\w*threshold|writeback|shmem\w*|kernel_stack|page_table_pages) )(\d+)$",
    re.MULTILINE,
)
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
    """The files that tell of memory (of /sys: `diorama.modules.filesystems.sysfs`)."""
    total = names.system.memory
    if total is None:
        return

    def read(files: Files, subject: Subject) -> bytes:
        return _meminfo(subject.real(), total // _KIB)

    yield b"/proc/meminfo", SystemFile(read)
    yield b"/proc/vmstat", SystemFile(lambda files, subject: _vmstat(subject.real(), total // _KIB))


def _vmstat(real: bytes, total: int) -> bytes:
    """With numbers of pages that there are scaled, and what has been counted since the beginning as it is."""
    with open("/proc/meminfo", "rb") as file:
        own = _total(file.read())
    return _PAGES.sub(lambda match: match[1] + b"%d" % (int(match[2]) * total // own), real)


def _total(meminfo: bytes) -> int:
    return next(int(match[3]) for match in _LINE.finditer(meminfo) if match[2].startswith(b"MemTotal:"))


def _meminfo(real: bytes, total: int, own: int | None = None) -> bytes:
    """With all but what is the machine's scaled as `total` is to `own`, or to what it has in all itself."""
    own = own or _total(real)

    def told(match: re.Match[bytes]) -> bytes:
        if match[2].startswith(_OF_THE_MACHINE):
            return match[0]
        value = b"%d" % (int(match[3]) * total // own)
        width = len(match[2]) + len(match[3])
        name = match[2].rstrip()
        return match[1] + name + value.rjust(width - len(name)) + b" kB"

    return _LINE.sub(told, real)


def scaled_node(node: bytes, nodes: Iterable[bytes], total: int) -> bytes:
    """What the file `meminfo` of one of the `nodes` of the machine tells, of so many bytes in all of them."""
    own = sum(_total(_of_node(one)) for one in nodes)
    return _meminfo(_of_node(node), total // _KIB, own)


def _of_node(node: bytes) -> bytes:
    with open(node + b"/meminfo", "rb") as file:
        return file.read()
