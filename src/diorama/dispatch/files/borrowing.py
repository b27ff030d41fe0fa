"""Borrowing: a copy of a program's descriptor, which shares its offset (pidfd_getfd(2), Linux 5.6).

With it we read and move an offset in the program's stead, which else takes calls of the program's own.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.abi.numbers import NUMBERS
from diorama.engine.ourcall import make_call

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee

__all__ = ["Offset", "borrow"]

_PIDFD_THREAD: Final = os.O_EXCL  # Linux 6.9


def borrow(tracee: Tracee, fd: int) -> int | None:
    """A copy of ours of a descriptor; None if we may not have it.  `OSError` EBADF."""
    pidfd = _open(tracee)
    if pidfd is None:
        return None
    try:
        return make_call(NUMBERS[tracee.abi.native()[0].title]["pidfd_getfd"], pidfd, fd, 0)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        return None
    finally:
        os.close(pidfd)


def _open(tracee: Tracee) -> int | None:
    try:
        return os.pidfd_open(tracee.tid, _PIDFD_THREAD)
    except OSError:
        if tracee.tid != tracee.pid:
            return None
    try:
        return os.pidfd_open(tracee.pid, 0)
    except OSError:
        return None


class Offset:
    """The offset of a descriptor; `ours` is a copy of it, closed at the end of a `with`, or None."""

    __slots__ = ("_fd", "_tracee", "ours")

    def __init__(self, tracee: Tracee, fd: int) -> None:
        self._tracee = tracee
        self._fd = fd
        self.ours = borrow(tracee, fd)

    def __enter__(self) -> Offset:
        return self

    def __exit__(self, *_: object) -> None:
        if self.ours is not None:
            os.close(self.ours)
            self.ours = None

    def get(self) -> int:
        """Where it is; EBADF."""
        if self.ours is not None:
            return os.lseek(self.ours, 0, os.SEEK_CUR)
        try:
            with open(f"/proc/{self._tracee.tid}/fdinfo/{self._fd}", "rb") as info:
                return int(next(line for line in info if line.startswith(b"pos:"))[4:])
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def set(self, offset: int) -> None:
        """Move it."""
        if self.ours is not None:
            os.lseek(self.ours, offset, os.SEEK_SET)
        else:
            self._tracee.syscall.lseek(self._fd, offset, os.SEEK_SET)
