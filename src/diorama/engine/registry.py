"""Registry: the tracees of a program that are not traced, made known at their first call.

Nobody tells of their ends either, and the kernel gives a dead thread's id to another one in the end.  So a
tracee is told from a later one of the same id by the time it was made, which is looked at unless it was seen
a moment ago; and when the registry has grown, those that are gone are swept out.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.engine.tracee import CLONE_THREAD, Tracee
from diorama.errors import TraceeDied

if TYPE_CHECKING:
    from diorama.engine.guardian import Staff

__all__ = ["Registry"]

# A thread id that was seen so short ago cannot be another thread's: the kernel hands out all others before.
_FRESH: Final = 0.02
_SWEEP_AT: Final = 256
_THREAD_FLAGS: Final = CLONE_THREAD | 0x100 | 0x200 | 0x400 | 0x800  # VM, FS, FILES, SIGHAND


class Registry:
    """The tracees that have made a call, by thread id. Any thread."""

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self._lock = threading.Lock()
        self._finding = threading.RLock()
        self._known: dict[int, tuple[Tracee, int]] = {}
        self._seen: dict[int, float] = {}
        self._sweep_at = _SWEEP_AT

    def enter(self, tracee: Tracee) -> None:
        """Make a tracee known."""
        with self._lock:
            self._known[tracee.tid] = tracee, _start_of(tracee.tid)
            self._seen[tracee.tid] = time.monotonic()
            has_grown = len(self._known) > self._sweep_at
            if has_grown:
                self._sweep_at = 2 * len(self._known)
        if has_grown:
            self._sweep()

    def find(self, tid: int) -> Tracee:
        """The tracee that makes a call; made known if it is new. `TraceeDied` if it is gone meanwhile."""
        now = time.monotonic()
        known = self._known.get(tid)
        if known is not None and (now - self._seen.get(tid, 0.0) < _FRESH or known[1] == _start_of(tid)):
            self._seen[tid] = now
            return known[0]
        with self._finding:
            return self._find_out(tid, known[0] if known is not None else None)

    def leave(self, tracee: Tracee, status: int = -1) -> None:
        """Forget a tracee that has ended."""
        with self._lock:
            if self._known.get(tracee.tid, (None, 0))[0] is not tracee:
                return
            del self._known[tracee.tid]
            self._seen.pop(tracee.tid, None)
        tracee.dead = True
        self._staff.hooks.exited(tracee, status)

    def replace(self, tracee: Tracee, tid: int) -> None:
        """A tracee is about to take over this thread id: who has it has ended."""
        known, _ = self._known.get(tid, (None, 0))
        if known is not None and known is not tracee:
            self.leave(known)

    def close(self) -> None:
        """The program has ended."""
        for tracee, _ in list(self._known.values()):
            self.leave(tracee)

    def forget(self, tracee: Tracee, tid: int) -> None:
        """A tracee is known by this thread id no longer."""
        with self._lock:
            if self._known.get(tid, (None, 0))[0] is tracee:
                del self._known[tid]
                self._seen.pop(tid, None)

    def _find_out(self, tid: int, before: Tracee | None) -> Tracee:
        """One at a time: threads of a process that come at once must find one leader."""
        known, _ = self._known.get(tid, (None, 0))
        if known is not None and known is not before:
            return known  # by another worker, meanwhile
        if known is not None:
            self.leave(known)
        pid = _process_of(tid)
        if pid != tid:
            leader = self.find(pid)
            tracee = leader.child(tid, _THREAD_FLAGS)
            self._staff.hooks.cloned(leader, tracee, _THREAD_FLAGS)
            self._staff.hooks.found(tracee)
        else:
            tracee = Tracee(tid, tid, Abi.native()[0])
            self._staff.hooks.found(tracee)
        self.enter(tracee)
        return tracee

    def _sweep(self) -> None:
        for tracee, start in list(self._known.values()):
            if _start_of(tracee.tid) != start:
                self.leave(tracee)
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._known))


def _process_of(tid: int) -> int:
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            text = status.read()
    except (FileNotFoundError, ProcessLookupError):
        raise TraceeDied from None
    return int(text[text.index(b"\nTgid:") + 6 :].split(None, 1)[0])


def _start_of(tid: int) -> int:
    """When a thread was made (proc(5), starttime); 0 if it is gone or has ended.

    The first thread of a process may end before the others, and still stands for the process.
    """
    try:
        with open(f"/proc/{tid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    has_ended = fields[0] in (b"Z", b"X") and int(fields[17]) < 2
    return 0 if has_ended else int(fields[19])
