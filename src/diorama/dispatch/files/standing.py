"""Standing: directories that are opened without asking here.

That is done natively (`native/standins.c`), for programs that are who the kernel says.  Whoever opens one
that nobody has opened has what stands for it made there; it is known here when somebody looks for something.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from diorama.engine._told import Standin
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diorama.dispatch.settling import Numbers
    from diorama.engine.decider import Decider
    from diorama.view.host import Status
    from diorama.view.mounts import Mount

__all__ = ["Standing"]


class Standing:
    """What is native of the stand-ins of one view.

    `numbers` are the decider's of mounts; `are_plain`: whether programs are who the kernel says.
    """

    def __init__(self, decider: Decider, numbers: Numbers, are_plain: Callable[[], bool]) -> None:
        self._decider = decider
        self._numbers = numbers
        self._are_plain = are_plain
        self._made = Standin()
        self._count = decider.standins_made

    def make(self, home: bytes) -> None:
        """Whoever opens a directory first may have it made there."""
        self._decider.make_standins(home if self._are_plain() else None)

    def opened(self, place: Place, real: bytes) -> None:
        """A directory was opened: whoever does so again by this path is not asked about."""
        if _is_told(place.mount) and self._are_plain():
            self._decider.standin(self._numbers.of(place.mount), place.inode, place.path, real)

    def claim(self, mount: Mount, inode: int) -> None:
        """None is made there for a directory from now on."""
        if _is_told(mount):
            self._decider.claim_standin(self._numbers.of(mount), inode)

    def drop(self, mount: Mount, inode: int) -> None:
        """A directory has no name any more."""
        if _is_told(mount):
            self._decider.drop_standin(self._numbers.of(mount), inode)

    def hold(self) -> None:
        """None is made until `forget`."""
        self._decider.hold_standins()

    def forget(self) -> None:
        """Directories have other paths now."""
        self._decider.forget_standins()

    @property
    def has_made(self) -> bool:
        """Whether it has made some that nobody here knows of yet."""
        return self._count.value != 0

    def adopted(self) -> Iterator[tuple[Place, bytes, Status]]:
        """These, by the path that led there, with what stands for it; by one thread at a time."""
        made = self._made
        while self._decider.adopt_standin(made):
            path, real, _ = bytes(made.paths).split(b"\0", 2)
            mount = self._numbers.mount(made.mount)
            place = Place(mount, path, made.inode, touched=True, directory=made.directory)
            status = made.mode, made.number, made.device, 2, os.geteuid(), os.getegid(), 0, 0, 0, 0
            assert stat.S_ISDIR(made.mode)
            yield place, real, os.stat_result(status)


def _is_told(mount: Mount) -> bool:
    return mount.filesystem is not None and mount.filesystem.told is not None
