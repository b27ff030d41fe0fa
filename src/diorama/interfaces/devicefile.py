"""Devicefile: the special file that stands for a device, where that is mounted.

It is a file system of one inode.  Each open(2) is an object of its own, whose reads and writes come here one
by one (`diorama.dispatch.files.direct`); who has to wait does so here, and not in the device.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from diorama.errors import warn_once
from diorama.interfaces.apart import apart
from diorama.interfaces.asking import asker
from diorama.interfaces.device import Argument, CharacterDevice, Device, refuse
from diorama.interfaces.filesystem import Attributes, Changes, Entry, FileSystem, Lock, OpenFile
from diorama.view.mounts import Mount

__all__ = ["CharacterFile", "DeviceFile", "Numbers", "OpenedDevice", "told"]

_TICK: Final = 0.1
_MINORS: Final = itertools.count(0x40000)
T = TypeVar("T")


def told(work: Callable[[], None]) -> None:
    """Do something of a device's at whose end nobody waits: what it raises is told, and holds nobody up."""
    try:
        work()
    except OSError as error:
        warn_once("device", f"it was not closed as it should be: {error}")
    except Exception:  # of its author
        traceback.print_exc()


@dataclass(frozen=True, slots=True)
class Numbers:
    """What stat(2) tells of a device; None is for the device to say, and of owner and group the caller's.

    `devid`: every special file of its type and number is the device.
    """

    major: int | None = None
    minor: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    devid: bool = False

    def attributes(self, device: Device) -> Attributes:
        """The status of a special file for a device."""
        minor = device.minor if self.minor is None else self.minor
        major = device.major if self.major is None else self.major
        return Attributes(
            device.kind | (device.mode if self.mode is None else self.mode),
            device=os.makedev(major, next(_MINORS) if minor is None else minor),
            modified=time.time_ns(),
            uid=os.getuid() if self.uid is None else self.uid,
            gid=os.getgid() if self.gid is None else self.gid,
        )


class DeviceFile(FileSystem):
    """The file.  Any thread."""

    writable = True
    tells_at_close = True

    def __init__(self, device: Device, numbers: Numbers | None = None) -> None:
        numbers = numbers or Numbers()
        self.device = device
        self.title = device.title
        self.devid = numbers.devid
        self._attributes = numbers.attributes(device)
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._changes = 0
        self._watching: dict[OpenedDevice, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.heed(device)

    @property
    def number(self) -> int:
        """What stat(2) calls its device."""
        return self._attributes.device

    def mount(self, source: str, shown: tuple[str, ...] = ()) -> Mount:
        """A mount, not yet attached."""
        return Mount(filesystem=self, kind=self.device.kind, source=source, type=self.title, options=shown)

    # -- a file system of one special file ----------------------------------------------------

    def attributes(self, inode: int) -> Attributes:
        return self._attributes

    def set_attributes(self, inode: int, changes: Changes) -> None:
        with self._lock:
            was = self._attributes
            kind = stat.S_IFMT(was.mode)
            self._attributes = replace(
                was,
                mode=was.mode if changes.mode is None else kind | changes.mode,
                uid=was.uid if changes.uid is None else changes.uid,
                gid=was.gid if changes.gid is None else changes.gid,
                accessed=was.accessed if changes.accessed is None else changes.accessed,
                modified=was.modified if changes.modified is None else changes.modified,
                changed=changes.changed or time.time_ns(),
            )

    def lookup(self, directory: int, name: bytes) -> int:
        """There is nothing in it."""
        raise refuse(errno.ENOTDIR)

    def entries(self, directory: int) -> Sequence[Entry]:
        """There is nothing in it."""
        raise refuse(errno.ENOTDIR)

    def copy_content(self, inode: int, fd: int) -> None:
        """It has none."""
        raise refuse(errno.EINVAL)

    def open_device(self, inode: int, flags: int) -> int:
        """Its reads and writes must be seen."""
        raise refuse(errno.ENXIO)

    @abstractmethod
    def open_special(self, inode: int, flags: int) -> OpenedDevice | None:
        """One open(2)."""

    def sync(self) -> None:
        self.ask(self.device.sync)

    def close(self) -> None:
        self.stop()
        told(lambda: self.ask(self.device.close))

    def ask(self, work: Callable[[], T]) -> T:
        """Call a method of the device, which may take its time; EINTR for who is killed meanwhile.

        What belongs to its end is waited for: it may write the last bytes.
        """
        if not self.device.waits:
            return work()
        is_ending = self._is_closed
        return apart(work, lambda: self._is_closed and not is_ending)

    def stop(self) -> None:
        """Nobody is told of changes any more, and nobody waits for one."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    # -- who waits ----------------------------------------------------------------------------

    def heed(self, device: Device) -> None:
        """Let a device, or what it has made of one open(2), say that it has changed."""
        device.changed = self._tell

    def _tell(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def mark(self) -> int:
        """How often it has changed; to be taken before looking."""
        return self._changes

    def wait(self, mark: int) -> None:
        """Until it has changed since; EINTR for who is interrupted."""
        who = asker()
        if who is not None:
            who.step_aside()
        while True:
            with self._changed:
                if self._changes != mark or self._changed.wait_for(lambda: self._changes != mark, _TICK):
                    return
            if self._is_closed or (who is not None and who.is_interrupted()):
                raise refuse(errno.EINTR)

    def watch(self, opened: OpenedDevice, changed: Callable[[], None]) -> None:
        """Have somebody told of each change, on a thread of its own."""
        with self._changed:
            self._watching[opened] = changed
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, args=(self._changes,), daemon=True)
                self._thread.start()

    def used(self, opened: OpenedDevice) -> None:
        """Somebody has read or written, which may have changed it for the others."""
        if len(self._watching) > (opened in self._watching):
            self._tell()

    def unwatch(self, opened: OpenedDevice) -> None:
        """Nobody wants to be told any more."""
        with self._changed:
            self._watching.pop(opened, None)

    def _run(self, seen: int) -> None:
        while True:
            with self._changed:
                while not (self._is_closed or self._changes != seen):
                    self._changed.wait()
                if self._is_closed:
                    return
                seen, told = self._changes, list(self._watching.values())
            for tell in told:
                tell()


class OpenedDevice(ABC):
    """One open(2) of a device: what is alike for both kinds (`diorama.view.special.OpenSpecial`)."""

    def __init__(self, file: DeviceFile, flags: int) -> None:
        self.file = file
        self.flags = flags

    @property
    def keeps(self) -> bool:
        """Nothing is cached."""
        return True

    @property
    def direct(self) -> bool:
        """All is for the device."""
        return True

    @property
    @abstractmethod
    def size(self) -> int:
        """Where its end is."""

    @property
    @abstractmethod
    def seeks(self) -> bool:
        """Whether there is an offset that can be set."""

    @property
    def streams(self) -> bool:
        """Whether there is none: then several may read at once."""
        return not self.seeks

    @property
    def writes(self) -> bool:
        """Whether it is open for writing."""
        return bool(self.flags & os.O_ACCMODE)

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Read."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> int:
        """Write; how much was taken."""

    @abstractmethod
    def place(self, position: int, offset: int, whence: int) -> int:
        """Where lseek(2) leads."""

    @abstractmethod
    def ioctl(self, command: int, argument: Argument) -> int:
        """Do what a program asks."""

    @abstractmethod
    def mapping(self, offset: int, length: int) -> tuple[int, int]:
        """What is mapped in its stead."""

    @abstractmethod
    def allocate(self, mode: int, offset: int, length: int) -> None:
        """As fallocate(2)."""

    @abstractmethod
    def flush(self, owner: int = 0) -> None:
        """A descriptor is being closed."""

    @abstractmethod
    def close(self) -> None:
        """It is open no longer."""

    def copy(self, offset: int, target: OpenFile, to: int, size: int) -> int:
        """As between any two files, by who asks for it."""
        raise refuse(errno.EINVAL)

    def truncate(self, size: int) -> None:
        """It has no length that can be set."""
        raise refuse(errno.EINVAL)

    def control(self, command: int, argument: int, data: bytes, room: int) -> tuple[int, bytes]:
        """Not asked: `ioctl` is."""
        raise refuse(errno.ENOTTY)

    def seek(self, offset: int, whence: int) -> int:
        """Not asked: `place` is."""
        raise refuse(errno.EINVAL)

    def test_lock(self, lock: Lock) -> Lock | None:
        """There are none but the kernel's."""
        return None

    def set_lock(self, lock: Lock, *, waits: bool) -> None:
        """Not asked: they are the kernel's."""
        raise refuse(errno.ENOLCK)

    def poll(self, changed: Callable[[], None]) -> int | None:
        """For what the device says to be ready."""
        try:
            events = self.file.ask(self.polled)
        except OSError:
            raise
        except Exception as error:
            traceback.print_exc()
            raise refuse(errno.EIO) from error
        if events is not None:
            self.file.watch(self, changed)
        return events

    def polled(self) -> int | None:
        """What the device says."""
        return self.file.device.poll()

    def patiently(self, work: Callable[[], T]) -> T:
        """Do something as soon as the device is ready for it; EAGAIN for who does not wait."""
        while True:
            mark = self.file.mark()
            try:
                return self.file.ask(work)
            except BlockingIOError:
                if self.flags & os.O_NONBLOCK:
                    raise
            self.file.wait(mark)


class CharacterFile(DeviceFile):
    """A character device."""

    device: CharacterDevice

    def open_special(self, inode: int, flags: int) -> OpenedDevice:
        opened = self.ask(lambda: self.device.open(flags))
        if opened is not self.device:
            self.heed(opened)
        return _OpenedCharacter(self, opened, flags)


class _OpenedCharacter(OpenedDevice):
    """One open(2) of a character device."""

    def __init__(self, file: CharacterFile, device: CharacterDevice, flags: int) -> None:
        super().__init__(file, flags)
        self.device = device

    @property
    def size(self) -> int:
        return 0

    @property
    def seeks(self) -> bool:
        return self.device.seeks

    def read(self, offset: int, size: int) -> bytes:
        found = self.patiently(lambda: self.device.read(offset, size))[:size]
        self.file.used(self)
        return found

    def write(self, offset: int, data: bytes) -> int:
        done = self.patiently(lambda: self.device.write(offset, data))
        self.file.used(self)
        return done

    def place(self, position: int, offset: int, whence: int) -> int:
        return self.file.ask(lambda: self.device.seek(position, offset, whence))

    def ioctl(self, command: int, argument: Argument) -> int:
        return self.file.ask(lambda: self.device.ioctl(command, argument))

    def polled(self) -> int | None:
        return self.device.poll()

    def mapping(self, offset: int, length: int) -> tuple[int, int]:
        raise refuse(errno.ENODEV)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        raise refuse(errno.ESPIPE if not self.device.seeks else errno.ENODEV)

    def flush(self, owner: int = 0) -> None:
        self.file.ask(self.device.flush)

    def close(self) -> None:
        self.file.unwatch(self)
        if self.device is not self.file.device:
            told(lambda: self.file.ask(self.device.released))
