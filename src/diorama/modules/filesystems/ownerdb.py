"""Ownerdb: what is remembered of files that can have no extended attributes, in SQLite.

By inode number and time of birth (statx(2)).  Several views may use it at once: what others have written is
noticed, since the database counts its changes.  A transaction happens or not, whoever is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.numbers import NUMBERS
from diorama.abi.stat import STATX_BTIME, StatX
from diorama.engine.ourcall import make_call

if TYPE_CHECKING:
    import sqlite3

__all__ = ["OwnerTable"]

_STATX: Final = NUMBERS[Abi.native()[0].title]["statx"]
_STATX_SIZE: Final = 256
_WAIT: Final = 60.0
_OWNER: Final = b""
"""The name that a note of the owner has: none that an attribute can have."""
_MAKE: Final = """
    CREATE TABLE IF NOT EXISTS notes (
        inode INTEGER, born INTEGER, name BLOB, value BLOB, PRIMARY KEY (inode, born, name)
    ) WITHOUT ROWID
"""

_File = tuple[int, int]


class OwnerTable:
    """The database at a path, made when something is to be remembered.  Any thread; errors are `OSError`."""

    def __init__(self, path: bytes) -> None:
        self.path: Final = path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._version = -1
        self._notes: dict[_File, dict[bytes, bytes]] = {}

    def prepare(self) -> None:
        """Make it, if it is not there."""
        with self._lock:
            self._open(makes=True)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def owner(self, path: bytes, status: os.stat_result) -> bytes | None:
        """The note of the owner of a file."""
        return self._of(path, status).get(_OWNER)

    def set_owner(self, path: bytes, status: os.stat_result, note: bytes | None) -> None:
        """Write one, or remove it."""
        if note is not None or self.owner(path, status) is not None:
            self._set(path, status, _OWNER, note)

    def attributes(self, path: bytes, status: os.stat_result) -> dict[bytes, bytes]:
        """The attributes of a file."""
        return {name: value for name, value in self._of(path, status).items() if name != _OWNER}

    def set_attribute(self, path: bytes, status: os.stat_result, name: bytes, value: bytes | None) -> None:
        """Set one; ENODATA for removing what is not there."""
        if value is None and name not in self._of(path, status):
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        self._set(path, status, name, value)

    # -- the database -------------------------------------------------------------------------

    def _of(self, path: bytes, status: os.stat_result) -> dict[bytes, bytes]:
        with self._lock:
            if not self._open(makes=False):
                return {}
            self._read()
            if not self._notes:
                return {}
        return self._notes.get((status.st_ino, _born(path, status)), {})

    def _set(self, path: bytes, status: os.stat_result, name: bytes, value: bytes | None) -> None:
        import sqlite3

        file = status.st_ino, _born(path, status)
        with self._lock:
            self._open(makes=True)
            assert self._database is not None
            self._read()
            try:
                with self._database:
                    # What another file of this number had is of no use.
                    self._database.execute("DELETE FROM notes WHERE inode = ? AND born <> ?", file)
                    key = (*file, name)
                    if value is None:
                        self._database.execute(
                            "DELETE FROM notes WHERE inode = ? AND born = ? AND name = ?", key
                        )
                    else:
                        self._database.execute("REPLACE INTO notes VALUES (?, ?, ?, ?)", (*key, value))
            except sqlite3.Error as error:
                raise _failure(error) from None
            notes = dict(self._notes.get(file, {}))
            if value is None:
                notes.pop(name, None)
            else:
                notes[name] = value
            self._notes[file] = notes

    def _open(self, *, makes: bool) -> bool:
        if self._database is not None:
            return True
        if not makes and not os.path.exists(self.path):
            return False
        import sqlite3

        try:
            database = sqlite3.connect(os.fsdecode(self.path), timeout=_WAIT, check_same_thread=False)
            with contextlib.suppress(sqlite3.Error):
                # As for files: not lasting until somebody syncs.
                database.execute("PRAGMA synchronous = OFF")
                database.execute("PRAGMA journal_mode = TRUNCATE")
            database.execute(_MAKE)
            database.commit()
        except sqlite3.Error as error:
            raise _failure(error) from None
        self._database = database
        return True

    def _read(self) -> None:
        """Know what is in it, also what others have written."""
        import sqlite3

        assert self._database is not None
        try:
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return
            found: dict[_File, dict[bytes, bytes]] = {}
            for inode, born, name, value in self._database.execute("SELECT * FROM notes"):
                found.setdefault((inode, born), {})[name] = value
        except sqlite3.Error as error:
            raise _failure(error) from None
        self._notes, self._version = found, version


def _failure(error: Exception) -> OSError:
    code = errno.EACCES if "unable to open" in str(error) else errno.EIO
    return OSError(code, f"{os.strerror(code)} ({error})")


def _born(path: bytes, status: os.stat_result) -> int:
    """When a file was made, in nanoseconds; 0 where the file system does not tell."""
    text, room = ctypes.create_string_buffer(path), ctypes.create_string_buffer(_STATX_SIZE)
    is_link = path.startswith(b"/proc/")
    flags = 0 if is_link else AT_SYMLINK_NOFOLLOW
    make_call(_STATX, AT_FDCWD, ctypes.addressof(text), flags, STATX_BTIME, ctypes.addressof(room))
    found = StatX.unpack(Abi.native()[0], room.raw)
    if found.stx_ino != status.st_ino or not found.stx_mask & STATX_BTIME:
        return 0
    return found.stx_btime * 10**9 + found.stx_btime_nsec
