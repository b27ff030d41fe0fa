"""Fsspec: any file system that fsspec knows: `github:`, `https:`, `s3:`, `sftp:`, `ftp:`, `smb:`.

It can be written where the backend can.  Object stores have no directories, no rename, no times and no
permissions of their own: a directory that is empty is remembered here, renaming one copies and removes, and
changing what can't be kept is EPERM.

What is above `lazy` bytes is not fetched when it is opened, but in pieces as it is read.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import IO, Any, Final

from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Changes, Statistics
from diorama.interfaces.paths import PathFileSystem, chunks_of
from diorama.modules.backends import Backend, Info
from diorama.modules.opening import usage_errors
from diorama.modules.options import Options, without_secrets

__all__ = ["FsspecFileSystem", "is_known", "open_fsspec"]

_LAZY: Final = 4 << 20
_ROOM: Final = 1 << 36
_TIMES: Final = ("mtime", "modified", "last_modified", "LastModified", "created")
_ABOVE: Final = frozenset({"asyncwrapper", "blockcache", "cached", "dir", "filecache", "simplecache"})
"""What shows the files of another protocol."""
_MISTAKES: Final = (AttributeError, LookupError, TypeError)
"""Errors of a program, whose texts say nothing by themselves."""


def is_known(scheme: str) -> bool:
    """Whether fsspec has a protocol of that name, installed or not."""
    fsspec: Any = import_module("fsspec")
    return scheme in fsspec.available_protocols() or scheme in fsspec.registry


def open_fsspec(scheme: str, rest: str, options: Options | None = None) -> FsspecFileSystem:
    """The file system that `scheme://rest` names; `UsageError` if it cannot be reached.

    Options with a value that are not ours are the backend's: `username=x`.
    """
    options = options or Options()
    what = without_secrets(f"{scheme}:{rest}")
    lazy = _bytes(options.take("lazy"), what)
    keep = options.take("keep")
    storage = {name: _value(text) for name, text in options.rest()}
    if _lacks_protocol(scheme, rest, storage):
        how = f"{scheme}::PROTOCOL://PATH"
        raise UsageError(f"cannot mount {what}: {scheme} shows what another protocol has: write {how}")
    core: Any = import_module("fsspec.core")
    try:
        with usage_errors(what):
            _quieten(scheme)
            filesystem, path = core.url_to_fs(_url(scheme, rest), **storage, skip_instance_cache=True)
            if scheme == "dir" and rest.startswith(":"):
                path = ""  # what fsspec gives is the directory once more
            mounted = FsspecFileSystem(
                filesystem, path, scheme, lazy=lazy, keep=None if keep is None else float(keep),
                writable=not options.read_only,
            )  # fmt: skip
            mounted.probe()
            mounted.attributes(mounted.root)
            return mounted
    except UsageError:
        raise
    except _MISTAKES as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(f"cannot mount {what}: {scheme} of fsspec cannot be made so: {why}") from error
    except Exception as error:
        raise UsageError(f"cannot mount {what}: {' '.join(str(error).split())}") from error


def _lacks_protocol(scheme: str, rest: str, storage: dict[str, Any]) -> bool:
    """Whether it is not said of what protocol the files are to be that it shows."""
    is_said = "::" in f":{rest}" or (scheme != "dir" and "target_protocol" in storage)
    return scheme in _ABOVE and not is_said


def _quieten(scheme: str) -> None:
    """What a backend logs is not for the terminal, unless somebody has asked for it; errors are told here."""
    with suppress(ImportError, ValueError):
        kind: Any = import_module("fsspec").get_filesystem_class(scheme)
        logging.getLogger(kind.__module__.partition(".")[0]).addHandler(logging.NullHandler())


def _url(scheme: str, rest: str) -> str:
    if rest.startswith(":"):
        return f"{scheme}:{rest}"  # chained: simplecache::s3://bucket
    rest = rest.removeprefix("//")
    if scheme in ("file", "local"):
        rest = os.path.abspath(rest)
    return f"{scheme}://{rest}"


def _bytes(text: str | None, what: str) -> int | None:
    if text is None:
        return _LAZY
    if text == "off":
        return None
    if not text.isdecimal():
        raise UsageError(f"cannot mount {what}: lazy={text} is neither a number of bytes nor off")
    return int(text)


def _value(text: str) -> Any:
    """The value of a storage option: what JSON makes of it (a number, true), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class FsspecFileSystem(PathFileSystem):
    """A directory or file of an fsspec file system.

    Locks: `_spooling` while a file that can't be had in pieces is fetched.
    """

    def __init__(
        self,
        filesystem: Any,
        path: str = "",
        title: str = "fsspec",
        *,
        lazy: int | None = _LAZY,
        keep: float | None = None,
        writable: bool = True,
    ) -> None:
        super().__init__()
        self.title = title
        self.lazy_above = lazy
        self._backend = Backend(filesystem, path, keep=keep)
        self.writable = writable and self._backend.can_write
        self._spooling = threading.Lock()
        self._spooled: tuple[str, IO[bytes]] | None = None

    # -- looking ------------------------------------------------------------------------------

    def probe(self) -> None:
        """Ask for the root; whatever the backend raises."""
        self._backend.probe()

    def stat(self, path: str) -> Attributes:
        """Status, as far as the protocol tells."""
        info = self._backend.info(path)
        if info.get("size") is None and info.get("type") == "file":
            # Not all servers tell; the size must be that of the content.
            info = {**info, "size": os.fstat(self._spool(path).fileno()).st_size}
        return _attributes(info)

    def names(self, path: str) -> Iterable[str]:
        """The names in a directory."""
        return self._backend.listing(path)

    def scan(self, path: str) -> Iterable[tuple[str, int]]:
        """The names with their types, which the listing tells."""
        return [(name, _kind(info)) for name, info in self._backend.listing(path).items()]

    def target(self, path: str) -> str:
        """The target of a link, where the protocol has links."""
        if self._backend.is_local:
            return os.readlink(self._backend.full(path))
        target = self._backend.info(path).get("destination")
        return super().target(path) if target is None else os.fsdecode(target)

    def download(self, path: str, fd: int) -> None:
        """Fetch a file."""
        with open(fd, "wb", closefd=False) as file:
            file.writelines(self._backend.chunks(path))

    def load_part(self, path: str, offset: int, size: int) -> bytes:
        """Fetch a piece of a file."""
        if self._backend.info(path).get("partial", True):
            return self._backend.piece(path, offset, size)
        return os.pread(self._spool(path).fileno(), size, offset)

    def statistics(self) -> Statistics:
        """Of local ones; nobody knows how much room there is elsewhere, so nobody is kept from trying."""
        if self._backend.is_local:
            found = os.statvfs(self._backend.full(""))
            return Statistics(found.f_frsize, found.f_blocks, found.f_bavail, found.f_files, found.f_namemax)
        room = _ROOM if self.writable else 0
        return Statistics(blocks=room, free=room)

    # -- changing -----------------------------------------------------------------------------

    def save(self, path: str, content: bytes) -> None:
        """Make or replace a file."""
        self._backend.write(path, (content,))

    def upload(self, path: str, fd: int) -> None:
        """Make or replace a file."""
        self._backend.write(path, chunks_of(fd))

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory."""
        self._backend.remove(path, directory=self.stat(path).kind == stat.S_IFDIR)

    def make_directory(self, path: str) -> None:
        """Make a directory."""
        self._backend.make_directory(path)

    def make_symlink(self, path: str, target: str) -> None:
        """Make a link, which only local file systems have."""
        if not self._backend.is_local:
            super().make_symlink(path, target)
        os.symlink(target, self._backend.full(path))

    def move(self, path: str, to: str) -> None:
        """Rename."""
        self._backend.move(path, to)

    def change(self, path: str, changes: Changes) -> None:
        """Local files keep everything, others nothing."""
        if not self._backend.is_local:
            super().change(path, changes)
        full = self._backend.full(path)
        if changes.uid is not None or changes.gid is not None:
            owner = (-1 if one is None else one for one in (changes.uid, changes.gid))
            os.chown(full, *owner, follow_symlinks=False)
        if changes.mode is not None:
            os.chmod(full, changes.mode)
        if changes.accessed is not None or changes.modified is not None:
            now = os.lstat(full)
            accessed = now.st_atime_ns if changes.accessed is None else changes.accessed
            modified = now.st_mtime_ns if changes.modified is None else changes.modified
            os.utime(full, ns=(accessed, modified), follow_symlinks=False)

    def close(self) -> None:
        """Drop what was fetched."""
        if self._spooled is not None:
            self._spooled[1].close()

    # -- files that can't be had in pieces ----------------------------------------------------

    def _spool(self, path: str) -> IO[bytes]:
        """A copy of a file on disk; that of the last one is kept."""
        with self._spooling:
            if self._spooled is None or self._spooled[0] != path:
                file = tempfile.TemporaryFile(prefix="diorama-")  # noqa: SIM115 (kept for the next piece)
                try:
                    self.download(path, file.fileno())
                except BaseException:
                    file.close()
                    raise
                self._spooled = path, file
            return self._spooled[1]


def _kind(info: Info) -> int:
    if info.get("islink"):
        return stat.S_IFLNK
    mode = info.get("mode")
    if isinstance(mode, int) and stat.S_IFMT(mode):
        return stat.S_IFMT(mode)
    return stat.S_IFDIR if info.get("type") == "directory" else stat.S_IFREG


def _attributes(info: Info) -> Attributes:
    kind = _kind(info)
    default = {stat.S_IFLNK: 0o777, stat.S_IFDIR: 0o755}.get(kind, 0o644)
    permissions = stat.S_IMODE(info["mode"]) if isinstance(info.get("mode"), int) else default
    links = info.get("nlink") or (2 if kind == stat.S_IFDIR else 1)
    size = int(info.get("size") or 0)
    owner = {name: info[name] for name in ("uid", "gid") if isinstance(info.get(name), int)}
    return Attributes(kind | permissions, size, links=links, modified=_modified(info), **owner)


def _modified(info: Info) -> int:
    """Nanoseconds since the epoch, of whatever a protocol has for a time."""
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, datetime):
            return int(value.timestamp() * 10**9)
        if isinstance(value, int) and value > 10**15:
            return value
        if isinstance(value, int | float):
            return int(value * 10**9)
    return 0
