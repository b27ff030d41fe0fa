"""Descent: finds and ends the processes of a view when its first process, which would do that, is gone.

With notifications nobody knows all processes of a view. What can be found are the children of those that are
known, and orphans: they come to the nearest reaper above, which the command makes itself (`adopt_orphans`).
What belongs to a view has more seccomp filters than we, so a process that was given the id of a dead one, or
one that a handler has started, is not mistaken for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["adopt_orphans", "descends", "end_all", "filters_of", "members", "relatives"]

_PR_SET_CHILD_SUBREAPER: Final = 36
_ROUNDS: Final = 200
_PAUSE: Final = 0.01


def adopt_orphans() -> None:
    """Become the parent of all that descends from this process and loses its own."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all(known: Iterable[int]) -> None:
    """Kill these processes, and what descends from them or has come to us, as far as it is in a view."""
    ours = filters_of(os.getpid()) or 0
    roots = {*known}
    for _ in range(_ROUNDS):
        orphans = {pid for pid in _children(os.getpid()) if (filters_of(pid) or -1) > ours}
        found = _family({pid for pid in roots if _is_within(pid, ours)} | orphans)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        roots |= found
        time.sleep(_PAUSE)


def filters_of(pid: int) -> int | None:
    """How many seccomp filters a process has: -1 if it has ended, None if unknown (before Linux 5.9)."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return -1
    if b"\nState:\tZ" in status:
        return -1
    _, found, rest = status.partition(b"\nSeccomp_filters:")
    return int(rest.split(None, 1)[0]) if found else None


def _is_within(pid: int, ours: int) -> bool:
    filters = filters_of(pid)
    return filters is None or filters > ours


def _family(roots: set[int]) -> set[int]:
    found, ahead = set[int](), list(roots)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += [child for child in _children(pid) if filters_of(child) != -1]
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_bytes().split())
    return found


def members() -> set[int]:
    """All processes of our views that can be found: our descendants that have more filters than we."""
    ours = filters_of(os.getpid()) or 0
    return {pid for pid in _family(set(_children(os.getpid()))) if _is_within(pid, ours)}


def relatives(pids: Iterable[int]) -> set[int]:
    """All processes of the views that these are in, as far as we have started them."""
    tops: set[int] = set()
    for pid in pids:
        line = [pid, *_ancestors(pid)]
        if os.getpid() in line[1:]:
            tops.add(line[line.index(os.getpid(), 1) - 1])
    return _family(tops)


def descends(pid: int) -> bool:
    """Whether a process is in a view of ours: it descends from us, and has more filters than we."""
    ours = filters_of(os.getpid()) or 0
    return _is_within(pid, ours) and os.getpid() in _ancestors(pid)


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return
        pid = int(fields[1])
        yield pid
