"""Uts: the names of a system, as a task sees them; a namespace of them (uts_namespaces(7)).

A view that tells of other names than the kernel's has its own: what holds for all of it (`System`), and
namespaces with host and domain name, which tasks share as the kernel's are shared: a child has that of its
parent, until one of them gets another by clone(2), unshare(2) or setns(2).

The first namespace of a view is shown as the kernel's.  Another one is a memfd for who looks at it in /proc,
so that it has an identity, can be opened and kept, and be entered by its descriptor.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from typing import Final

__all__ = ["NAME_MAX", "Uts"]

NAME_MAX: Final = 64
"""The bytes of a name (__NEW_UTS_LEN)."""

_PIPE: Final = 4096


@dataclass(slots=True, eq=False)
class Uts:
    """One namespace.  Any thread."""

    nodename: bytes
    domainname: bytes
    fd: int = -1
    """The memfd by which others know it; -1 for the first one."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def get(self, name: str) -> bytes:
        """`nodename` or `domainname`, after all that has been written to its file."""
        with self._lock:
            self._settle()
            value: bytes = getattr(self, name)
            return value

    def set(self, name: str, value: bytes) -> None:
        """Change one of them, for all tasks in it."""
        with self._lock:
            self._settle()
            setattr(self, name, value[:NAME_MAX])

    def copy(self) -> Uts:
        """Another one with the names of now."""
        with self._lock:
            self._settle()
            return Uts(self.nodename, self.domainname, os.memfd_create("uts", os.MFD_CLOEXEC))

    def writer(self, name: str) -> int:
        """A descriptor to write a name to: it counts for whoever looks after it was written.

        The end of a pipe, which is read before anybody is told the name.
        """
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with self._lock:
            self._settle()
            self._written.append((name, ours))
        return theirs

    def _settle(self) -> None:
        for entry in list(self._written):
            name, fd = entry
            with contextlib.suppress(BlockingIOError):
                while data := os.read(fd, _PIPE):
                    setattr(self, name, data.split(b"\n", 1)[0].split(b"\0", 1)[0][:NAME_MAX])
                os.close(fd)
                self._written.remove(entry)

    def __del__(self) -> None:
        for fd in (self.fd, *[fd for _, fd in self._written]):
            if fd >= 0:
                os.close(fd)
