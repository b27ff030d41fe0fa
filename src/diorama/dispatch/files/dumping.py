"""Dumping: programs that close their memory (PR_SET_DUMPABLE), where it must be read.

A supervisor without CAP_SYS_PTRACE could read no path of such a program any more, and neither lead it into
a mount nor past one.  So the kernel's flag stays as it is, and the program is told what it has set.  Linux
keeps that flag with the memory: a fork copies it, an exec sets it anew.  So do we: a page in the memory of
the program tells it, at a fixed address, and how that begins tells whether it is there.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.abi.process import PR_GET_DUMPABLE, PR_SET_DUMPABLE
from diorama.catalogue.processes import Prctl
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files, fail
from diorama.view.credentials import CAP_SYS_PTRACE
from diorama.view.host import RealHost

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee

__all__ = ["DUMPING"]

DUMPING: Final = (PR_GET_DUMPABLE, PR_SET_DUMPABLE)
_SIGNATURE: Final = b"diorama:dumps:1"
_SIZE: Final = 4096
_PROT_READ: Final = 1
_READS_ALL: Final = bool(RealHost.credentials(os.getpid()).capabilities >> CAP_SYS_PTRACE & 1)
_MAP_PRIVATE_ANONYMOUS_NOREPLACE: Final = 0x100022


@answers(Prctl)
def control(_files: Files, call: Prctl) -> Outcome:
    """Remember the flag, or tell it; all else is the kernel's."""
    if _READS_ALL or call.option not in DUMPING:
        return None
    tracee, flag = call.tracee, _find(call.tracee)
    if call.option == PR_GET_DUMPABLE:
        return flag
    if call.second not in (0, 1):
        raise fail(errno.EINVAL)
    if call.second == 1 and flag is None:
        return None
    if flag is None:
        _make_page(tracee)
    tracee.memory.force(_address(tracee), _SIGNATURE + bytes((call.second,)))
    return 0


def _find(tracee: Tracee) -> int | None:
    """What the program has set; None if it has set nothing, or cannot be asked any more."""
    try:
        found = tracee.memory.read(_address(tracee), len(_SIGNATURE) + 1)
    except OSError:
        return None
    return found[-1] if found.startswith(_SIGNATURE) and len(found) > len(_SIGNATURE) else None


def _address(tracee: Tracee) -> int:
    return 0x2D10_0000 if tracee.abi.word == 4 else 0x2D_1001_0000


def _make_page(tracee: Tracee) -> None:
    mmap = tracee.syscall.mmap2 if tracee.abi.word == 4 else tracee.syscall.mmap
    mmap(_address(tracee), _SIZE, _PROT_READ, _MAP_PRIVATE_ANONYMOUS_NOREPLACE, (1 << 64) - 1, 0)
