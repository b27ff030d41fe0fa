"""Auxiliary: what the kernel tells a program that begins (getauxval(3)), changed before it does.

The vector lies on the stack, above the arguments and the environment, and the stack pointer that a program
begins with is told by /proc.  `Auxiliary.changers` is all that a subject of the view fills; each is asked at
each exec, of every task and under both engines, when the program it had is gone.  With notifications an exec
is seen by a promotion, which costs, so nobody should be in the list without need.

The vector that `/proc/PID/auxv` shows is a copy of the kernel's and stays as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from diorama.abi.elf import AT_IGNORE
from diorama.errors import warn_once

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.view.task import Task

__all__ = ["Auxiliary", "Change", "Vector"]

Change = Mapping[int, int | tuple[int, int] | None]
"""New values of entries by their kind (AT_UID, ...); None takes one away, a pair is another in its place.

What is not there is not added.
"""

_MOST_KIND: Final = 0xFFFF
_START_OF_STACK: Final = 28
"""Of the fields of `/proc/PID/stat`, counted from 1 (proc(5))."""
_CHUNK: Final = 4096
_CLOSED: Final = "a program that may not be read keeps what the kernel tells it in its auxiliary vector"


class Vector(NamedTuple):
    """The entries of an auxiliary vector, in order, and the format of a word."""

    entries: list[tuple[int, int]]
    word: str

    @classmethod
    def parse(cls, data: bytes) -> Vector | None:
        """Read one; those of 32-bit programs have words of four bytes.  None if it is none."""
        for word in "QI":
            size = 2 * struct.calcsize(word)
            entries = list(struct.iter_unpack(f"<2{word}", data[: len(data) // size * size]))
            ends = [at for at, (kind, _) in enumerate(entries) if not kind]
            if ends and max(kind for kind, _ in entries) <= _MOST_KIND:
                return cls(entries[: ends[0]], word)
        return None

    def find(self, wanted: int) -> int | None:
        """The value of an entry."""
        return dict(self.entries).get(wanted)


class Auxiliary:
    """The changes of one view."""

    def __init__(self) -> None:
        self.changers: list[Callable[[Task, Tracee], Change]] = []

    def __bool__(self) -> bool:
        return bool(self.changers)

    def tell(self, task: Task, tracee: Tracee, first: Change) -> None:
        """A program is about to begin: let it find what is said of this exec, and what all of them want.

        A program that has closed its memory to us keeps what it was given, with one warning.
        """
        changes = dict(first)
        for changer in self.changers:
            changes.update(changer(task, tracee))
        if not changes:
            return
        try:
            _change(tracee, changes)
        except OSError:
            warn_once("execve", _CLOSED)


def _change(tracee: Tracee, changes: Change) -> None:
    with open(f"/proc/{tracee.tid}/auxv", "rb") as file:
        vector = Vector.parse(file.read())
    if vector is None:
        return
    at = [place for place, (kind, _) in enumerate(vector.entries) if kind in changes]
    if not at:
        return
    start, size = _find(tracee, vector.word), 2 * struct.calcsize(vector.word)
    for place in at:
        kind, value = vector.entries[place]
        wanted = changes[kind]
        new = (kind, wanted) if isinstance(wanted, int) else wanted
        pair = (AT_IGNORE, value) if new is None else new
        tracee.memory.write(start + place * size, struct.pack(f"<2{vector.word}", *pair))


def _find(tracee: Tracee, word: str) -> int:
    """Where the vector begins: behind the count of arguments, these, a zero, the environment, a zero."""
    with open(f"/proc/{tracee.tid}/stat", "rb") as stat:
        top = int(stat.read().rpartition(b")")[2].split()[_START_OF_STACK - 3])
    size = struct.calcsize(word)
    count = int.from_bytes(tracee.memory.read(top, size), "little")
    at = top + (count + 2) * size
    while True:
        data = tracee.memory.read(at, _CHUNK)
        words = [value for (value,) in struct.iter_unpack(f"<{word}", data[: len(data) // size * size])]
        if 0 in words:
            return at + (words.index(0) + 1) * size
        at += len(words) * size
