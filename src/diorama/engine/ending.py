"""Ending: ends the calls in which threads wait for what is gone (`native/ending.c`).

A thread that waits in a call is seen by nobody, so it is looked for where the kernel shows it (proc(5)): who
has a descriptor of the object, and in which call it waits.  This costs nothing as long as nothing ends.

All that wait for the same are held before one of them goes on, so that what they wait for can be changed
while none of them looks.  A guardian waits for that, for a moment (`_PATIENCE`): one that serves several
threads can hold only one of them so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Final, NamedTuple

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine import _native

__all__ = ["Identity", "Waiting", "ending", "guards", "hold", "holders", "waiting"]

Identity = tuple[int, int]
"""The device and the inode number of an object."""

_READING: Final = ("read", "readv", "preadv", "preadv2", "splice", "recvfrom", "recvmsg")
_POLLING: Final = ("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2")
_PATIENCE: Final = 0.2


def _numbers(*names: str) -> frozenset[int]:
    tables = [NUMBERS[abi.title] for abi in Abi.native()]
    return frozenset(table[name] for table in tables for name in names if name in table)


class Waiting(NamedTuple):
    """A thread in a call: `fd` is None if it waits for several descriptors at once."""

    pid: int
    tid: int
    number: int
    fd: int | None


def holders(identity: Identity) -> dict[int, set[int]]:
    """By process, the descriptors of a socket, of all others than ourselves.

    By their links, which the kernel makes up: to ask for the status of what anybody has open could mean to
    wait for a file system that does not answer.
    """
    link = f"socket:[{identity[1]}]"
    found: dict[int, set[int]] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                descriptors = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd") if _leads_to(pid, fd, link)}
                if descriptors:
                    found[pid] = descriptors
    return found


def _leads_to(pid: int, fd: str, link: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}") == link
    except OSError:
        return False


def waiting(held: dict[int, set[int]]) -> Iterator[Waiting]:
    """The threads that read one of these descriptors, and wait, or poll any."""
    reading, polling = _numbers(*_READING), _numbers(*_POLLING)
    for pid, fds in held.items():
        for tid in _threads(pid):
            number, first = _call_of(pid, tid)
            if number in reading and first in fds:
                yield Waiting(pid, tid, number, first)
            elif number in polling:
                yield Waiting(pid, tid, number, None)


def _threads(pid: int) -> Iterable[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return ()


def _call_of(pid: int, tid: int) -> tuple[int, int]:
    """The number of the call in which a thread waits, and its first argument; -1 if in none."""
    try:
        with open(f"/proc/{pid}/task/{tid}/syscall", encoding="ascii") as file:
            words = file.read().split()
    except OSError:
        return -1, -1
    if len(words) < 2 or words[0] == "-1":
        return -1, -1
    return int(words[0]), int(words[1], 16)


@contextlib.contextmanager
def ending(meant: Iterable[Waiting]) -> Generator[int, None, None]:
    """Hold threads before their calls, which are made anew: so many.  They get ENODEV when that is over."""
    guarded = [one for one in meant if _is_guarded(one.tid)]
    free = [one for one in meant if one not in guarded]
    lib = _native.lib
    stopped = [one for one in free if not lib.dio_call_hold(one.tid, one.number, one.fd)]
    round = _Round()
    try:
        with round.of({one.tid for one in guarded}):
            for one in guarded:
                lib.dio_call_hold_guarded(one.pid, one.tid, one.number, one.fd)
            round.await_all()
            yield len(stopped) + len(round.there)
    finally:
        for one in stopped:
            lib.dio_call_end(one.tid, -errno.ENODEV)


def hold(tid: int) -> int:
    """What the call gives before which a guardian holds a thread; known when all are held that are meant."""
    round = _rounds.get(tid)
    if round is not None:
        round.arrive(tid)
    return -errno.ENODEV


class _Round:
    """Threads that are to be held by their guardians, and those that are."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self._meant: set[int] = set()
        self._changed = threading.Condition()
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def of(self, meant: set[int]) -> Generator[None, None, None]:
        """Have guardians know of it meanwhile."""
        self._meant = meant
        _rounds.update(dict.fromkeys(meant, self))
        try:
            yield
        finally:
            for tid in meant:
                _rounds.pop(tid, None)
            self._is_over.set()

    def await_all(self) -> None:
        """Wait for all, or for a while: some may do something else."""
        with self._changed:
            self._changed.wait_for(lambda: self.there == self._meant, _PATIENCE)

    def arrive(self, tid: int) -> None:
        """One of them is held, on its guardian, until it is over."""
        with self._changed:
            self.there.add(tid)
            self._changed.notify_all()
        self._is_over.wait()


guards: Final = set[int]()
"""The threads that are guardians for good, and so take the signal that holds a thread for themselves."""

_rounds: Final[dict[int, _Round]] = {}
"""By thread."""


def _is_guarded(tid: int) -> bool:
    """Whether a guardian traces it, and not somebody else, or a worker for one call."""
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            tracer = next(int(line.split()[1]) for line in status if line.startswith(b"TracerPid:"))
    except (OSError, StopIteration):
        return False
    return tracer in guards
