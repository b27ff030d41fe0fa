"""Conditions: arguments without which some calls never concern a mount, so that the filter lets them pass.

Without an address nothing is sent or received by one; of clones others may tell.  A mapping of no file
concerns nobody, and one of a whole file only if it is to be executed.  Devices can be
mapped, and have numbers as files that are read directly.  Of device control, what changes a file
that is open for reading does, and what clones a FUSE device; of files that a server may have open, all.
Locks are for file systems that want to know of them.  Descriptors of files that are read and written directly
have large numbers, or those of standard input and output (`diorama.dispatch.files.direct`).
"""

from __future__ import annotations

from typing import Final

from diorama.abi.fcntl import O_RDWR
from diorama.abi.memory import PROT_EXEC
from diorama.catalogue.files import OpenAt
from diorama.catalogue.io import CopyFileRange, Fcntl, Ioctl, SendFile, Splice
from diorama.catalogue.memory import MMap
from diorama.catalogue.processes import Clone, Prctl
from diorama.catalogue.rings import IoSubmit
from diorama.catalogue.sockets import Accept4, RecvFrom, SendTo
from diorama.dispatch.files.controlling import CONCERNS_US
from diorama.dispatch.files.direct import HIGH, LOW
from diorama.dispatch.files.direct_calls import BY_DESCRIPTOR
from diorama.dispatch.files.dumping import DUMPING
from diorama.dispatch.files.locking import LOCKING
from diorama.dispatch.files.reading import READING
from diorama.dispatch.subscription import ArgumentTest, Tests
from diorama.engine._native import TEST_BITS, TEST_EQ, TEST_NE, TEST_OUTSIDE, TEST_WITHIN
from diorama.view.task import CLONE_NEWNS, CLONE_NEWUTS

__all__ = ["conditions", "conditions_of_servers"]

_BOUNDS: Final = LOW | HIGH << 16
_CONTROLLING: Final = ArgumentTest("command", TEST_EQ, CONCERNS_US[0], CONCERNS_US[1:])
_LOCKS: Final = ArgumentTest("command", TEST_EQ, LOCKING[0], LOCKING[1:])
_ADDRESSED: Final = ArgumentTest("address", TEST_NE, 0)
_EXECUTED: Final = ArgumentTest("protection", TEST_BITS, PROT_EXEC)
_MAPPED: Final = tuple(ArgumentTest("fd", TEST_WITHIN, bounds) for bounds in (HIGH | 0xFFFF << 16, LOW << 16))
_OF_A_FILE: Final = ArgumentTest("fd", TEST_NE, 0xFFFFFFFF)


def _numbered(*fields: str) -> tuple[ArgumentTest, ...]:
    return tuple([ArgumentTest(name, TEST_OUTSIDE, _BOUNDS) for name in fields])


def conditions(*, in_pieces: bool, direct: bool, tells_clones: bool, names: bool) -> Tests:
    """Of some requests, alternatives of which one must hold.

    `in_pieces`: files may be held in pieces; `direct`: or read and written by their file system itself;
    `names`: there are namespaces of names.
    """
    found: dict[type, tuple[ArgumentTest, ...]] = dict.fromkeys((Accept4, RecvFrom, SendTo), (_ADDRESSED,))
    if not direct:
        found[Ioctl] = (_CONTROLLING,)
    found[Prctl] = (ArgumentTest("option", TEST_EQ, DUMPING[0], DUMPING[1:]),)
    found[MMap] = (_OF_A_FILE,) if in_pieces else (_EXECUTED,)
    if direct and not in_pieces:
        found[MMap] = (_EXECUTED, *_MAPPED)
    if tells_clones:
        divided = (CLONE_NEWNS, CLONE_NEWUTS) if names else (CLONE_NEWNS,)
        found[Clone] = tuple([ArgumentTest("flags", TEST_BITS, flag) for flag in divided])
    if direct:
        for request in BY_DESCRIPTOR if in_pieces else BY_DESCRIPTOR | READING - {IoSubmit, MMap}:
            two = request in (SendFile, CopyFileRange, Splice)
            found[request] = _numbered("in_fd", "out_fd") if two else _numbered("fd")
        found[Fcntl] = (*found[Fcntl], _LOCKS)
    return found


def conditions_of_servers() -> Tests:
    """Of `wanted.of_servers`: a FUSE device is opened to read and write, and cloned, or files lent by it."""
    return {OpenAt: (ArgumentTest("flags", TEST_BITS, O_RDWR),), Ioctl: (_CONTROLLING,)}
