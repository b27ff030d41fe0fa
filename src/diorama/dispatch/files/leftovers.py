"""Leftovers: private directories that the next view removes, if who made one was killed.

Each holds a file that its supervisor has locked (flock(2)), with its process id; the kernel unlocks it when
that has ended.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from typing import Final

__all__ = ["PrivateDirectory"]

_PREFIX: Final = "diorama-"
_LOCK: Final = "supervisor"
_YOUNG: Final = 60.0
"""Seconds in which a directory that is not locked may be about to be."""


class PrivateDirectory:
    """A directory in which others can find only what they know the name of; `OSError`."""

    def __init__(self, parent: str | None) -> None:
        above = parent or tempfile.gettempdir()
        _sweep(above)
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=above)
        self._lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, b"%d\n" % os.getpid())
        # Programs of the view may run as another user; names are all there is to see.
        os.chmod(path, 0o711)
        self.path = os.fsencode(path)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep(above: str) -> None:
    """Remove those of this user whose supervisor is gone."""
    with suppress(OSError), os.scandir(above) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(OSError):
                    _look(entry)


def _look(entry: os.DirEntry[str]) -> None:
    about = entry.stat(follow_symlinks=False)
    if about.st_uid != os.geteuid() or abs(time.time() - about.st_mtime) < _YOUNG:
        return
    lock = os.open(os.path.join(entry.path, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)
