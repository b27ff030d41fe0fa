"""Disk: a block device with its partitions, which appear beside it.

`/dev/hda` has `/dev/hda1` and so on; after a name that ends in a digit comes a `p`.  The table is read when
the disk is mounted and whenever a program asks for that (BLKRRPART), one partition is added or taken away by
BLKPG.  Who wants a disk or a partition alone (O_EXCL) has it so: partitions do not disturb each other, but
all of the disk is theirs together (bd_may_claim() of Linux).
"""

from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from diorama.errors import warn_once
from diorama.interfaces.apart import apart
from diorama.interfaces.blockfile import BlockFile
from diorama.interfaces.device import BlockDevice, refuse
from diorama.interfaces.devicefile import Numbers, told
from diorama.interfaces.partitions import Partition, found_in
from diorama.view.mounts import Mount

__all__ = ["Disk"]

T = TypeVar("T")

_MINORS: Final = 64
"""Of each disk: what its partitions with greater numbers have is far from all others."""
_FAR: Final = itertools.count(0x80000)
_disks: Final = itertools.count(4)
_sequence: Final = itertools.count(1 << 32)


class Disk:
    """The device and what is on it.  Any thread; `beside` (`diorama.view.mounts.Beside`) of its mount."""

    def __init__(self, device: BlockDevice, numbers: Numbers, source: str) -> None:
        minor = device.minor if numbers.minor is None else numbers.minor
        self.device = device
        self.source = source
        self.on_change: Callable[[], None] = _nothing
        self.is_protected: bool = device.read_only
        """By BLKROSET of all of it."""
        self.table_lock = threading.RLock()
        """Held while partitions are made, changed and taken away."""
        self._numbers = replace(numbers, minor=next(_disks) * _MINORS if minor is None else minor)
        self.sequence: int = next(_sequence)
        """What BLKGETDISKSEQ tells it by."""
        self._lock = threading.Lock()
        self._users = 0
        self._alone: set[int] = set()
        self._parts: dict[int, Mount] = {}
        self._shown: tuple[str, ...] = ()

    def mount(self, shown: tuple[str, ...] = ()) -> Mount:
        """A mount of all of it, not yet attached."""
        self._shown = shown
        whole = BlockFile(self, self._numbers).mount(self.source, shown)
        if self.device.has_partitions:
            whole.beside = self
            self.read_table()
        return whole

    # -- its partitions -----------------------------------------------------------------------

    def mounts(self, name: bytes) -> dict[bytes, Mount]:
        """The partitions by the names that they have beside a disk of this name."""
        between = b"p" if name[-1:].isdigit() else b""
        with self._lock:
            return {b"%s%s%d" % (name, between, number): part for number, part in self._parts.items()}

    @property
    def partitions(self) -> list[BlockFile]:
        """Those that there are."""
        with self._lock:
            return [_file(mount) for mount in self._parts.values()]

    def read_table(self) -> None:
        """Have the partitions that the table tells; EBUSY as long as one of them is open."""
        with self.table_lock:
            if any(part.opens for part in self.partitions):
                raise refuse(errno.EBUSY)
            found, damage = found_in(self._at, self.device.size, self.device.sector)
            if damage:
                warn_once(self.source, f"damaged partition table: {damage}")
            wanted = {part.number: part for part in map(self._inside, found) if part is not None}
            with self._lock:
                known = {number: _file(mount) for number, mount in self._parts.items()}
            same = {
                number
                for number, part in wanted.items()
                if number in known and (known[number].start, known[number].size) == (part.start, part.size)
            }
            made = {number: self._made(part) for number, part in wanted.items() if number not in same}
            with self._lock:
                kept = {number: mount for number, mount in self._parts.items() if number in same}
                self._parts = dict(sorted((kept | made).items()))
            self.on_change()

    def add(self, partition: Partition) -> None:
        """Have one more; EBUSY where there is one, or which has something in common with another."""
        with self.table_lock:
            if self._in_the_way(partition):
                raise refuse(errno.EBUSY)
            made = self._made(partition)
            with self._lock:
                self._parts = dict(sorted((self._parts | {partition.number: made}).items()))
            self.on_change()

    def remove(self, number: int) -> None:
        """Have one less; ENXIO, EBUSY while it is open."""
        with self.table_lock:
            self._find(number, opened=False)
            with self._lock:
                self._parts = {one: part for one, part in self._parts.items() if one != number}
            self.on_change()

    def resize(self, partition: Partition) -> None:
        """Let one have another size; EINVAL if it begins elsewhere."""
        with self.table_lock:
            file = self._find(partition.number)
            if file.start != partition.start:
                raise refuse(errno.EINVAL)
            if self._in_the_way(partition, but=partition.number):
                raise refuse(errno.EBUSY)
            file.size = partition.size

    def _find(self, number: int, *, opened: bool = True) -> BlockFile:
        found = next((part for part in self.partitions if part.partition == number), None)
        if found is None:
            raise refuse(errno.ENXIO)
        if found.opens and not opened:
            raise refuse(errno.EBUSY)
        return found

    def _in_the_way(self, new: Partition, but: int = 0) -> bool:
        return any(
            one.partition != but
            and (one.partition == new.number or (one.start < new.end and new.start < one.start + one.size))
            for one in self.partitions
        )

    def _inside(self, part: Partition) -> Partition | None:
        """What of a partition is on the disk, as Linux has it; of an extended one, what has no others."""
        if part.start >= self.device.size or part.start < 0 or part.size <= 0:
            warn_once(self.source, f"its partition {part.number} begins behind the end of the disk")
            return None
        if part.end > self.device.size:
            warn_once(self.source, f"its partition {part.number} ends behind the end of the disk")
            part = replace(part, size=self.device.size - part.start)
        return replace(part, size=min(part.size, max(1024, self.device.sector))) if part.is_extended else part

    def _made(self, part: Partition) -> Mount:
        base, minor = self._numbers, self._numbers.minor or 0
        near = minor + part.number if part.number < _MINORS else next(_FAR)
        file = BlockFile(self, replace(base, minor=near), part.number, part.start, part.size)
        return file.mount(f"{self.source}#{part.number}", self._shown)

    def _at(self, offset: int, size: int) -> bytes:
        size = min(size, self.device.size - offset)
        return self._ask(lambda: self.device.read(offset, size)) if size > 0 and offset >= 0 else b""

    def _ask(self, work: Callable[[], T]) -> T:
        return apart(work, lambda: False) if self.device.waits else work()

    # -- who has it open ----------------------------------------------------------------------

    def enter(self, file: BlockFile, *, alone: bool) -> None:
        """Somebody opens a file of it; EBUSY if he wants to be alone and is not."""
        with self._lock:
            others = self._alone if not file.partition else self._alone & {0, file.partition}
            if alone and others:
                raise refuse(errno.EBUSY)
            if alone:
                self._alone.add(file.partition)
            file.opens += 1

    def leave(self, file: BlockFile, *, alone: bool) -> None:
        """He has closed it."""
        with self._lock:
            file.opens -= 1
            if alone:
                self._alone.discard(file.partition)

    def use(self) -> None:
        """One more file shows it."""
        with self._lock:
            self._users += 1

    def drop(self) -> None:
        """One less: with the last one the device is closed."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            told(lambda: self._ask(self.device.close))


def _file(mount: Mount) -> BlockFile:
    assert isinstance(mount.filesystem, BlockFile)
    return mount.filesystem


def _nothing() -> None:
    return
