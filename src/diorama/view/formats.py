"""Formats: which programs run which files, as binfmt_misc has it, for a part of a view.

A set of formats belongs to what is mounted of them (`diorama.modules.filesystems.binfmt`), so a task has
those that are mounted in its namespace.  The one registered last is asked first.  Any thread.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from dataclasses import dataclass
from typing import Final, Protocol

from diorama.abi.binfmt import Format
from diorama.view.mounts import Place

__all__ = ["Entry", "Fixed", "Formats"]


class Fixed(Protocol):
    """An interpreter that was opened when its format was registered (flag F)."""

    @property
    def fd(self) -> int:
        """It, open for reading."""
        ...

    @property
    def place(self) -> Place | None:
        """Where it was found; None outside of the view."""
        ...

    def path(self) -> bytes:
        """By which the kernel finds it now."""
        ...

    def close(self) -> None:
        """Nobody will use it any more."""
        ...


@dataclass(slots=True, eq=False)
class Entry:
    """A registered format; `number` is that of its file."""

    number: int
    format: Format
    fixed: Fixed | None = None
    enabled: bool = True

    def shown(self) -> bytes:
        """What its file tells."""
        return self.format.shown(enabled=self.enabled)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Formats:
    """The formats of files at or below `prefix`, a path in the view without a slash at its end."""

    def __init__(self, prefix: bytes = b"") -> None:
        self.prefix: Final = prefix.rstrip(b"/")
        self.enabled = True
        self._lock = threading.Lock()
        self._entries: tuple[Entry, ...] = ()
        self._numbers = itertools.count(4)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, the one registered last first."""
        return self._entries

    def register(self, format: Format, fixed: Fixed | None = None) -> Entry:
        """Have one more; EEXIST if there is one by that name."""
        with self._lock:
            if any(one.format.name == format.name for one in self._entries):
                raise _error(errno.EEXIST)
            entry = Entry(next(self._numbers), format, fixed)
            self._entries = (entry, *self._entries)
            return entry

    def remove(self, entry: Entry) -> None:
        """Have one less."""
        with self._lock:
            left = tuple(one for one in self._entries if one is not entry)
            is_there, self._entries = len(left) < len(self._entries), left
        if is_there and entry.fixed is not None:
            entry.fixed.close()

    def clear(self) -> None:
        """Have none."""
        for entry in self._entries:
            self.remove(entry)

    def named(self, name: bytes) -> Entry | None:
        """The one by that name."""
        return next((one for one in self._entries if one.format.name == name), None)

    def numbered(self, number: int) -> Entry | None:
        """The one whose file this is."""
        return next((one for one in self._entries if one.number == number), None)

    def find(self, path: bytes, called: bytes, head: bytes) -> Entry | None:
        """That of a file: by its path in the view, by that which it was called by, and by how it begins."""
        if not self.enabled or not self._entries or not self._covers(path):
            return None
        return next((one for one in self._entries if one.enabled and one.format.accepts(called, head)), None)

    def _covers(self, path: bytes) -> bool:
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + b"/")
