"""Giving: a descriptor of ours put into a tracee's table by calls that the tracee makes itself.

`pidfd_getfd` takes it from this process, where the tracee may (ptrace(2) access to its supervisor, which
Yama refuses); else it comes as SCM_RIGHTS over a socket that the tracee makes for the purpose. Either way
it ends at the lowest free number, as open(2) has it: the helper's number is taken over at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from diorama.engine.tracee import Syscalls, Tracee

_O_CLOEXEC: Final = os.O_CLOEXEC
_AF_UNIX, _SOCK_DGRAM, _SOCK_CLOEXEC = 1, 2, 0o2000000
_MSG_CMSG_CLOEXEC: Final = 0x40000000
_SOL_SOCKET, _SCM_RIGHTS = 1, 1
_REFUSED: Final = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def give(tracee: Tracee, fd: int, *, cloexec: bool) -> int:
    """Give the tracee a descriptor while one of its calls is handled; its number there, or `OSError`."""
    syscall = tracee.syscall
    helper, number = _take(syscall, fd) or _receive(tracee, fd)
    syscall.dup3(number, helper, _O_CLOEXEC if cloexec else 0)
    syscall.close(number)
    return helper


def _take(syscall: Syscalls, fd: int) -> tuple[int, int] | None:
    try:
        pidfd = syscall.pidfd_open(os.getpid(), 0)
    except OSError as error:
        if error.errno in _REFUSED:
            return None
        raise
    try:
        return pidfd, syscall.pidfd_getfd(pidfd, fd, 0)
    except OSError as error:
        syscall.close(pidfd)
        if error.errno in _REFUSED:
            return None
        raise


def _receive(tracee: Tracee, fd: int) -> tuple[int, int]:
    import socket

    syscall, memory = tracee.syscall, tracee.memory
    theirs = _call(tracee, "socket", _AF_UNIX, _SOCK_DGRAM | _SOCK_CLOEXEC, 0)
    try:
        _call(tracee, "bind", theirs, memory.place(_AF_UNIX.to_bytes(2, "little")), 2)
        room, size = memory.place(bytes(128)), memory.place((128).to_bytes(4, "little"))
        _call(tracee, "getsockname", theirs, room, size)
        name = memory.read(room, int.from_bytes(memory.read(size, 4), "little"))[2:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ours:
            # Not send_fds, which forgets the address.
            rights = fd.to_bytes(4, sys.byteorder)
            ours.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], 0, name)
        header, control = _message(tracee)
        _call(tracee, "recvmsg", theirs, header, _MSG_CMSG_CLOEXEC)
        word = tracee.abi.word
        got = memory.read(control, 2 * word + 8)
        if not int.from_bytes(memory.read(header + 5 * word, word), "little"):
            # The message came without it: there is no number for it.
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return theirs, int.from_bytes(got[word + 8 :][:4], "little")
    except OSError:
        with contextlib.suppress(OSError):
            syscall.close(theirs)
        raise


def _message(tracee: Tracee) -> tuple[int, int]:
    """A `struct msghdr` in the tracee with room for a byte and a descriptor; where its control data goes."""
    word, place = tracee.abi.word, tracee.memory.place
    control = place(bytes(64))
    vector = place(place(bytes(8)).to_bytes(word, "little") + (1).to_bytes(word, "little"))
    fields = (0, 0, vector, 1, control, 2 * word + 8, 0)
    return place(b"".join([field.to_bytes(word, "little") for field in fields])), control


def _call(tracee: Tracee, name: str, *args: int) -> int:
    result: int = getattr(tracee.syscall, name)(*args)
    return result

