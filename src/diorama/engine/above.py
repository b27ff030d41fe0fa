"""Above: whether this process is in a view itself, as far as its ancestors tell.

A process is below the supervisor of its view, which has our native library mapped, and says in its command
line what it is.  Sockets by which views are found may be out of sight, in another root.  What else has the
library, or the name in its command line, such as a test runner or `make -C diorama`, has as many seccomp
filters as we; a supervisor that is notified has fewer than what is in its view.
"""

from __future__ import annotations

import os
from typing import Final

from diorama.engine.descent import filters_of

__all__ = ["is_in_a_view"]

_LIBRARY: Final = b"/libdiorama.so"
_NAME: Final = b"diorama"
_WORDS: Final = 5
"""In how many of the first words of a command line its name is, behind the interpreter and its options."""


def is_in_a_view() -> bool:
    """Whether an ancestor may be a supervisor; where no process can be looked at, one may be."""
    pid, ours = os.getppid(), filters_of(os.getpid())
    if not os.path.exists("/proc/self/stat"):
        return True
    while pid > 1:
        if _has_fewer(pid, ours) and _supervises(pid):
            return True
        pid = _parent_of(pid)
    return False


def _has_fewer(pid: int, ours: int | None) -> bool:
    """Whether a process may have fewer filters than we."""
    theirs = filters_of(pid)
    return ours is None or theirs is None or theirs < ours


def _supervises(pid: int) -> bool:
    words = _read(pid, "cmdline").split(b"\0")[:_WORDS]
    return any(os.path.basename(word) == _NAME for word in words) or _LIBRARY in _read(pid, "maps")


def _parent_of(pid: int) -> int:
    """The parent of a process; 0 if it is gone (proc_pid_stat(5))."""
    words = _read(pid, "stat").rpartition(b")")[2].split()
    return int(words[1]) if words else 0


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""
