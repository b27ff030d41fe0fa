"""Contexts: file systems that are being configured, as programs hold them.

A program has a context as a descriptor, from which it reads what went wrong, a message a read.  That is what
a pipe in packet mode does, so the descriptor is the end of one, known by its identity; the other end is ours.
While that is open the kernel gives the identity to nothing else, and it tells when the last reader is gone.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.answers import fail

if TYPE_CHECKING:
    from diorama.view.mounts import Mount
    from diorama.view.task import Task, Tasks

__all__ = ["Context", "Contexts", "Phase"]

_MESSAGE_MAX: Final = 2048


class Phase(Enum):
    """How far a context is."""

    PARAMETERS = "parameters"
    MADE = "made"
    MOUNTED = "mounted"
    RECONFIGURING = "reconfiguring"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Context:
    """A file system that is being configured; `log` is our end of its pipe."""

    type: str
    log: int
    phase: Phase
    source: str | None = None
    options: list[str] = field(default_factory=list[str])
    mount: Mount | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, message: str) -> None:
        """Let the program read of an error."""
        try:
            os.write(self.log, f"e {self.type}: {message}\n".encode()[:_MESSAGE_MAX])
        except OSError:
            return  # nobody reads it, or has not for long

    @property
    def is_gone(self) -> bool:
        """Whether nobody has it any more."""
        poll = select.poll()
        poll.register(self.log, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))


class Contexts:
    """The contexts of a view, by the identity of their descriptors.  Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[tuple[int, int], Context] = {}

    def add(self, type: str, phase: Phase, mount: Mount | None = None) -> tuple[Context, int]:
        """A new one, and the descriptor that is to be given to the program."""
        ours, log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECT)
        context = Context(type, log, phase, mount=mount)
        status = os.fstat(log)
        with self._lock:
            self._sweep()
            self._contexts[status.st_dev, status.st_ino] = context
        return context, ours

    def find(self, tasks: Tasks, task: Task, fd: int) -> Context:
        """That of a descriptor; EBADF, EINVAL."""
        try:
            status = tasks.status(task, fd) if fd >= 0 else None
        except OSError:
            raise fail(errno.EBADF) from None
        context = None if status is None else self._contexts.get((status.st_dev, status.st_ino))
        if context is None:
            raise fail(errno.EINVAL)
        return context

    def mounts(self) -> set[Mount]:
        """What was made and is not mounted."""
        with self._lock:
            self._sweep()
            made = [one.mount for one in self._contexts.values() if one.phase is Phase.MADE]
            return {mount for mount in made if mount is not None}

    def close(self) -> None:
        """The view has ended."""
        with self._lock:
            for context in self._contexts.values():
                os.close(context.log)
            self._contexts.clear()

    def _sweep(self) -> None:
        for key, context in list(self._contexts.items()):
            if context.is_gone:
                del self._contexts[key]
                os.close(context.log)
