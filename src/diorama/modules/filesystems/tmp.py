"""Tmp: a private memory tree, as a tmpfs of one's own.

It is a fresh directory on a tmpfs of the host, so all that a file system can do is the kernel's work.  A
tmpfs is taken where there is one that may be written, is large enough and lets programs be executed; else it
is a temporary directory.  It goes with the last mount of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from diorama.errors import UsageError
from diorama.modules.filesystems.owners import RememberedOwners
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_tmp"]

_ENOUGH: Final = 256 << 20
_MODE: Final = 0o1777


def open_tmp(rest: str, options: Options) -> Mount:
    """A mount of an empty directory; `mode=` are its permissions in octal, 1777 by default.

    With `remember` it remembers owners (`diorama.modules.filesystems.owners`).
    """
    if rest:
        raise UsageError(f"cannot mount tmp:{rest}: write tmp: alone, it is always a new one")
    if options.take("size") is not None:
        raise UsageError("cannot mount tmp: with a size: what it holds cannot be limited")
    mode = _mode(options.take("mode"))
    remembers = options.is_set("remember")
    options.finish("tmp:")
    tree = _Private(remembers=remembers)
    os.chmod(tree.path, mode)
    return Mount(
        host=os.fsencode(tree.path),
        read_only=options.read_only,
        source="tmp",
        type="tmpfs",
        options=options.shown,
        backing=tree,
        owners=tree.owners,
    )


def _mode(text: str | None) -> int:
    if text is None:
        return _MODE
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError(f"cannot mount tmp: with mode={text}: permissions are an octal number")
    return mode


class _Private:
    """A directory that others can go to, but not find."""

    def __init__(self, *, remembers: bool) -> None:
        self._top = tempfile.mkdtemp(prefix="tmpfs-", dir=next(_places()))
        os.chmod(self._top, 0o711)
        self.path = tempfile.mkdtemp(prefix="", dir=self._top)
        self.owners = RememberedOwners(os.fsencode(self.path)) if remembers else None

    def close(self) -> None:
        """Remove it, and whatever programs have left in it."""
        if self.owners is not None:
            self.owners.close()
        _remove(self._top, set())


def _remove(path: str, tried: set[str]) -> None:
    """Remove a tree in which directories may be closed to us; what is not ours to remove stays."""

    def again(_function: object, failed: str, _info: object) -> None:
        if failed in tried:
            return
        tried.add(failed)
        with suppress(OSError):
            os.chmod(os.path.dirname(failed), 0o700)
            if not os.path.isdir(failed) or os.path.islink(failed):
                os.unlink(failed)
                return
            os.chmod(failed, 0o700)
            _remove(failed, tried)

    shutil.rmtree(path, onerror=again)


def _places() -> Iterator[str]:
    """Where it may be, the best first."""
    # Programs that we start as root may become other users, who must get there.
    private = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    memory = _memory_devices()
    for path in (private, "/dev/shm"):
        if path is not None and _is_good(path, memory):
            yield path
    yield tempfile.gettempdir()


def _is_good(path: str, memory: set[int]) -> bool:
    try:
        about = os.statvfs(path)
        is_memory = os.stat(path).st_dev in memory
    except OSError:
        return False
    may = os.access(path, os.R_OK | os.W_OK | os.X_OK) and not about.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    return is_memory and may and about.f_bavail * about.f_frsize >= _ENOUGH


def _memory_devices() -> set[int]:
    """The devices of tmpfs mounts (proc(5), mountinfo)."""
    found: set[int] = set()
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            before, _, after = line.partition(b" - ")
            if after.startswith(b"tmpfs "):
                major, minor = before.split()[2].split(b":")
                found.add(os.makedev(int(major), int(minor)))
    return found
