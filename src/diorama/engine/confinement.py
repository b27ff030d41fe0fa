"""Confinement: programs that reach no process and no abstract name outside of their view, whatever they do.

Addresses of AF_UNIX are read by the kernel after we have looked at them, and another process can be made to
act in a program's stead by ptrace(2), or give its descriptors away (pidfd_getfd(2)). The kernel forbids both
to a Landlock domain (landlock(7), Linux 6.12): its processes reach only sockets with abstract names that
are made in it, and trace only one another. Where we bind and connect all sockets in the programs' stead, it
forbids them to do that themselves with TCP (Linux 6.7), so that an address that changes while it is looked
at leads nowhere. A domain belongs to a thread and all that descends from it. So the programs of a view are
started from one thread, which has entered it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["Confinement"]

T = TypeVar("T")

_CREATE_RULESET: Final = 444
_RESTRICT_SELF: Final = 446
_SCOPE_ABSTRACT: Final = 1
_TCP: Final = 3
"""LANDLOCK_ACCESS_NET_BIND_TCP and _CONNECT_TCP."""
_NO_NEW_PRIVS: Final = 38
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Confinement:
    """A thread in a domain of its own; on a kernel that knows none, a thread like others.

    `with_tcp`: who is in it binds and connects no socket of TCP.
    """

    def __init__(self, *, with_tcp: bool) -> None:
        ways = _TCP if with_tcp else 0
        self._thread = ThreadPoolExecutor(1, "diorama-launch", initializer=_enter, initargs=(ways,))

    def run(self, work: Callable[[], T]) -> T:
        """What this starts belongs to the domain."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """Nothing is started any more."""
        self._thread.shutdown()


def _enter(ways: int) -> None:
    attributes = struct.pack("=QQQ", 0, ways, _SCOPE_ABSTRACT)
    ruleset = _LIBC.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return
    try:
        if _LIBC.syscall(_RESTRICT_SELF, ruleset, 0) == 0 or ctypes.get_errno() != errno.EPERM:
            return
        # As for a filter: who has no privileges promises to gain none.
        if _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            _LIBC.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
