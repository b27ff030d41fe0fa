"""Patience: waiting for a file system that is slow, but not longer than the program that asked lives.

A handler may block: only its own program waits for it.  But Linux lets a program that waits for a network
file system be killed, and one that is traced does not even react while a handler decides.  So what may take
long is done on a thread of its own, and given up when nobody is left who wants it.  The thread goes on: what
it fetches may be wanted by another.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from signal import SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH
from typing import Final, TypeVar

__all__ = ["wait_for"]

T = TypeVar("T")

_TICK: Final = 0.05
_HARMLESS: Final = (SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH)
_STATES: Final = (b"Z", b"X")


def wait_for(tid: int, work: Callable[[], T]) -> T:
    """The result of `work`, or its error; EINTR when the thread `tid` is dead or about to be killed."""
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        done.set()

    threading.Thread(target=run, name="diorama-fetch", daemon=True).start()
    while not done.wait(_TICK):
        if _is_doomed(tid):
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
    if errors:
        raise errors[0]
    return results[0]


def _is_doomed(tid: int) -> bool:
    """Whether a signal that will kill it waits for a thread (proc(5))."""
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            fields = dict(line.split(b":", 1) for line in status if b":" in line)
    except OSError:
        return True
    if fields[b"State"].split()[0] in _STATES:
        return True
    pending, shared, blocked, ignored, caught = (
        int(fields[name], 16) for name in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")
    )
    harmless = sum(1 << sig - 1 for sig in _HARMLESS)
    survived = (blocked | ignored | caught | harmless) & ~(1 << SIGKILL - 1)
    return bool((pending | shared) & ~survived)
