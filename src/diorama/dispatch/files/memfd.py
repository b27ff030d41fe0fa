"""Memfd: the anonymous files of Linux, and what the kernel tells about who has one open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable
from functools import cache
from typing import Final

from diorama.abi.fcntl import (
    F_ADD_SEALS,
    F_RDLCK,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    F_WRLCK,
)
from diorama.engine.ourcall import take_lease

__all__ = [
    "are_equal", "create_memfd", "digest", "give_to", "has_fine_times", "is_held", "is_written", "make_memfd",
    "replace", "special_bits", "try_lease",
]  # fmt: skip

_MFD_EXEC: Final = 0x10
_SEALS: Final = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_CHUNK: Final = 1 << 20


def make_memfd(name: bytes, fill: Callable[[int], None], *, sealed: bool) -> int:
    """A memfd that a function has filled, as a descriptor for reading that leaves the time of access alone.

    It is the only one: execution needs a file that nobody has open for writing (ETXTBSY).
    """
    writable = create_memfd(name)
    try:
        fill(writable)
        if sealed:
            fcntl.fcntl(writable, F_ADD_SEALS, _SEALS)
        fd = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
    finally:
        os.close(writable)
    return fd


def is_held(fd: int) -> bool:
    """Whether a file that we have open once, for reading, is open or mapped elsewhere."""
    return bool(try_lease(fd, F_WRLCK))


def is_written(fd: int) -> bool:
    """Whether somebody has it open for writing, or mapped so."""
    return bool(try_lease(fd, F_RDLCK))


def give_to(fd: int, status: os.stat_result, uid: int, gid: int) -> None:
    """Let it, which has this status, belong to somebody, where we may: leases are for owners."""
    if (status.st_uid, status.st_gid) != (uid, gid):
        with contextlib.suppress(OSError):
            os.fchown(fd, uid, gid)


def special_bits(mode: int) -> int:
    """What the kernel must know of a mode; without the execution bit it is not for writing to clear."""
    return mode & stat.S_ISUID | (mode & stat.S_ISGID if mode & stat.S_IXGRP else 0)


def digest(fd: int) -> bytes:
    """What tells its content from another."""
    from hashlib import blake2b

    found, at = blake2b(digest_size=16), 0
    while chunk := os.pread(fd, _CHUNK, at):
        found.update(chunk)
        at += len(chunk)
    return found.digest()


def are_equal(fd: int, other: int) -> bool:
    """Whether two files have the same content."""
    if os.fstat(fd).st_size != os.fstat(other).st_size:
        return False
    at = 0
    while chunk := os.pread(fd, _CHUNK, at):
        if chunk != os.pread(other, _CHUNK, at):
            return False
        at += len(chunk)
    return True


def replace(fd: int, source: int) -> None:
    """Let an open file have the content of another."""
    at = 0
    while chunk := os.pread(source, _CHUNK, at):
        os.pwrite(fd, chunk, at)
        at += len(chunk)
    os.ftruncate(fd, at)


@cache
def has_fine_times() -> bool:
    """Whether a file that was looked at gets another time by each change (multigrain, since Linux 6.13)."""
    fd = create_memfd(b"times")
    try:
        times: list[int] = []
        for _ in range(3):
            os.write(fd, b"x")
            times.append(os.fstat(fd).st_mtime_ns)
        return len(set(times)) == len(times)
    finally:
        os.close(fd)


def try_lease(fd: int, kind: int) -> int:
    """Take a lease on an open file, and give it back: 0, or why that cannot be."""
    return take_lease(fd, kind)


def create_memfd(named: bytes) -> int:
    """A memfd that may be executed, open for reading and writing; `named` shows in /proc."""
    name = os.fsdecode(named)[:200]
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:
        # Linux before 6.3 does not know the flag, and has memfds executable.
        return os.memfd_create(name, flags)
