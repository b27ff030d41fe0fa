"""Files: `clock:`, a directory by which programs read and set the clock that they have.

    offset      seconds
    base        seconds since 1970
    frequency   a number

The wall clock shows `(host - base) * frequency + base + offset`, where `host` is the time of the host.
With a frequency all clocks go that fast, but 0 stops the wall clock only (`diorama.view.clock`).  When the
frequency is set, `base` and `offset` become what they are at that moment, so that the clock goes on from
where it is.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.control import ControlFile
from diorama.interfaces.filesystem import Attributes, Changes, Entry, FileSystem
from diorama.modules.options import Options
from diorama.view.asking import asker
from diorama.view.clock import NSEC, Clock, Course, Moment
from diorama.view.clockspec import Change, parse_number, parse_rate
from diorama.view.mounts import Mount

__all__ = ["ClockFiles", "open_clock"]

_NAMES: Final = (b"base", b"frequency", b"offset")
_FIRST: Final = 2

_Change = Callable[[Course, Moment], Course]


def _fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def open_clock(rest: str, options: Options) -> Mount:
    """A mount of `clock:`; a program can make one only in a view that has a clock."""
    options.finish("clock:")
    if rest:
        raise UsageError(f"cannot mount clock:{rest}: it takes nothing behind the colon")
    who = asker()
    if who is not None and who.clock is None:
        raise UsageError("cannot mount clock:: this view has no clock of its own; start it with --clock")
    return Mount(filesystem=ClockFiles(), kind=stat.S_IFDIR, source="clock:", type="clock")


class ClockFiles(FileSystem):
    """The directory.  Any thread; what is told and set is the clock of who asks."""

    title = "clock"
    writable = True
    tells_at_close = True

    def __init__(self) -> None:
        self._made = time.time_ns()

    def lookup(self, directory: int, name: bytes) -> int:
        if directory != self.root or name not in _NAMES:
            raise _fail(errno.ENOENT)
        return _FIRST + _NAMES.index(name)

    def attributes(self, inode: int) -> Attributes:
        if inode == self.root:
            return Attributes(stat.S_IFDIR | 0o755, links=2, modified=self._made)
        return Attributes(stat.S_IFREG | 0o666, size=len(self.content(inode)), modified=self._made)

    def entries(self, directory: int) -> Sequence[Entry]:
        return [Entry(name, number, stat.S_IFREG) for number, name in enumerate(_NAMES, _FIRST)]

    def copy_content(self, inode: int, fd: int) -> None:
        os.write(fd, self.content(inode))

    def save_content(self, inode: int, fd: int) -> None:
        """All is written directly."""

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """A length can be set, for `>`; nothing else."""
        if changes.size is None:
            raise _fail(errno.EPERM)

    def open_file(self, inode: int, flags: int) -> ControlFile:
        return ControlFile(flags, partial(self.content, inode), partial(self.change, inode))

    def content(self, inode: int) -> bytes:
        """What a file tells now."""
        clock = _clock()
        base, frequency, offset = _parameters(clock.course)
        name = _NAMES[inode - _FIRST]
        if name == b"frequency":
            return b"%s\n" % _number(frequency)
        return b"%s\n" % _number(Fraction(base if name == b"base" else offset, NSEC))

    def change(self, inode: int, text: bytes) -> None:
        """Set what a file tells; EINVAL for what it cannot."""
        try:
            words = text.decode("ascii").strip()
            value = parse_rate(words) if _NAMES[inode - _FIRST] == b"frequency" else parse_number(words)
        except (ValueError, ZeroDivisionError):
            raise _fail(errno.EINVAL) from None
        try:
            _clock().change(_CHANGES[_NAMES[inode - _FIRST]](value))
        except UsageError:
            raise _fail(errno.EINVAL) from None


def _clock() -> Clock:
    who = asker()
    if who is None or who.clock is None:
        raise _fail(errno.EOPNOTSUPP)
    return who.clock


def _parameters(course: Course) -> tuple[int, Fraction, int]:
    """Of a course that begins at `base`: it, the frequency, and the offset."""
    return course.real.wall, course.rate, course.shown.wall - course.real.wall


def _number(value: Fraction) -> bytes:
    """A number with as many decimals as it needs, at most nine."""
    whole, rest = divmod(abs(round(value * NSEC)), NSEC)
    text = f"{whole}.{rest:09}".rstrip("0").rstrip(".")
    return (f"-{text}" if value < 0 and text != "0" else text).encode()


def _frequency(rate: Fraction) -> _Change:
    return Change(f"frequency {rate}", freezes=True) if rate == 0 else Change(f"frequency {rate}", rate=rate)


def _base(seconds: Fraction) -> _Change:
    return lambda course, now: course.with_base(now, int(seconds * NSEC), _parameters(course)[2])


def _offset(seconds: Fraction) -> _Change:
    return lambda course, now: course.with_base(now, _parameters(course)[0], int(seconds * NSEC))


_CHANGES: Final[dict[bytes, Callable[[Fraction], _Change]]] = {
    b"base": _base,
    b"frequency": _frequency,
    b"offset": _offset,
}
