"""Taking: a descriptor of a program, as one of this process's own; and which it has.

It is the program's open file description itself, with its offset, not another one for the same file
(pidfd_getfd(2), Linux 5.6); so an offset can be read and set for the program.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine.ourcall import make_call

__all__ = ["can_take", "descriptors_of", "process_behind", "taken"]

_GET: Final = NUMBERS[Abi.native()[0].title]["pidfd_getfd"]
_PIDFD_THREAD: Final = os.O_EXCL
_PID: Final = re.compile(rb"^Pid:\t(\d+)$", re.MULTILINE)


def descriptors_of(tid: int) -> list[int]:
    """The descriptors of a thread (proc_pid_fd(5)); none if it is gone, or closed to us."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{tid}/fd")]
    except OSError:
        return []


def process_behind(tid: int, pidfd: int) -> int | None:
    """The process that a descriptor of a thread stands for; None if it stands for none."""
    try:
        with open(f"/proc/{tid}/fdinfo/{pidfd}", "rb") as file:
            found = _PID.search(file.read())
    except OSError:
        return None
    return int(found[1]) if found else None


@contextmanager
def taken(tid: int, pid: int, fd: int) -> Generator[int, None, None]:
    """The descriptor `fd` of a thread, for a while; EBADF, ESRCH, EPERM if its process is closed to us."""
    pidfd = _open(tid, pid)
    try:
        number = make_call(_GET, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    try:
        yield number
    finally:
        os.close(number)


def can_take() -> bool:
    """Whether this kernel knows how."""
    try:
        with taken(os.getpid(), os.getpid(), -1):
            return True
    except OSError as error:
        return error.errno == errno.EBADF


def _open(tid: int, pid: int) -> int:
    if tid == pid:
        return os.pidfd_open(pid)
    try:
        return os.pidfd_open(tid, _PIDFD_THREAD)  # since Linux 6.9
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.pidfd_open(pid)  # threads with descriptors of their own are rare
