"""Operations: mounts a class that was written for fusepy or mfusepy, as it is.

Such a class has the operations of libfuse's high-level interface as methods, in terms of paths that begin
with a slash and of handles that its `open` gave.  It is told of no mount point and needs neither libfuse
nor /dev/fuse.  Files are read and written through handles opened for it: `open`, `read` or `write`,
`flush`, `release`, as from a program that copies them.  A class without a `write` of its own is a read-only
file system.

What packages pass to `FUSE(...)` besides are options here: `nothreads` (all on one thread) and `raw_fi`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any, Final

from diorama.interfaces.filesystem import Attributes, Changes, Statistics
from diorama.interfaces.paths import PathFileSystem, chunks_of
from diorama.modules.filesystems.calling import Calling, FileInfo, OneThread, Unknown, is_base

__all__ = ["OperationsFileSystem", "is_operations"]

_CHUNK: Final = 128 << 10
_NSEC: Final = 10**9
_SECTOR: Final = 512


def is_operations(found: object) -> bool:
    """Whether an object has such operations: what it was derived from tells, else its methods."""
    if any(is_base(base) for base in type(found).__mro__):
        return True
    return all(callable(getattr(found, name, None)) for name in ("getattr", "readdir"))


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class OperationsFileSystem(PathFileSystem):
    """The file system of an object with operations."""

    def __init__(self, operations: Any, *, raw_fi: bool = False, thread: OneThread | None = None) -> None:
        super().__init__()
        self.title = type(operations).__name__.lower()
        self._call = Calling(operations, thread)
        self._raw = raw_fi
        self.writable = self._call.has("write")
        self.lazy_above = _CHUNK if self._call.has("read") else None
        self._listing = "readdir" if self._call.has("readdir") else "readdir_with_offset"
        self._in_nanoseconds = bool(getattr(operations, "use_ns", False))
        with suppress(Unknown):
            self._call("init", "/")

    # -- looking at it ------------------------------------------------------------------------

    def stat(self, path: str) -> Attributes:
        """The status that `getattr` tells."""
        return self._attributes(self._call("getattr", _slash(path), None))

    def names(self, path: str) -> Iterable[str]:
        """The names that `readdir` tells."""
        return [name for name, _ in self._read_directory(path)]

    def scan(self, path: str) -> Iterable[tuple[str, int]]:
        """The names with their types, which some classes tell at once."""
        for name, mode in self._read_directory(path):
            inside = f"{path}/{name}" if path else name
            yield name, stat.S_IFMT(mode) or self.stat(inside).kind

    def target(self, path: str) -> str:
        """What a symbolic link leads to."""
        found: str = self._call("readlink", _slash(path))
        return found

    def load(self, path: str) -> bytes:
        """The content of a file."""
        return self.load_part(path, 0, self.stat(path).size)

    def load_part(self, path: str, offset: int, size: int) -> bytes:
        """A piece of it, asked for in pieces as the kernel would."""
        with self._opened(path, os.O_RDONLY) as handle:
            return b"".join(self._pieces(path, handle, offset, size))

    def download(self, path: str, fd: int) -> None:
        """Write the content of a file to `fd`; of what its class tells no size, until there is no more."""
        with self._opened(path, os.O_RDONLY) as handle, open(fd, "wb", closefd=False) as file:
            file.writelines(self._pieces(path, handle, 0, 1 << 62))

    def statistics(self) -> Statistics:
        """What `statfs` tells."""
        try:
            found = self._call("statfs", "/")
        except Unknown:
            return Statistics()
        return Statistics(
            block_size=found.get("f_frsize") or found.get("f_bsize") or 4096,
            blocks=found.get("f_blocks", 0),
            free=found.get("f_bavail", 0),
            files=found.get("f_files", 0),
            free_files=found.get("f_ffree", 0),
            name_max=found.get("f_namemax") or 255,
        )

    def get_xattr(self, inode: int, name: bytes) -> bytes:
        """The value of an extended attribute."""
        with _unsupported(errno.EOPNOTSUPP):
            return bytes(self._call("getxattr", _slash(self._path(inode)), os.fsdecode(name)))

    def list_xattrs(self, inode: int) -> list[bytes]:
        """The names of the extended attributes."""
        try:
            return [os.fsencode(name) for name in self._call("listxattr", _slash(self._path(inode)))]
        except Unknown:
            return []

    # -- changing it --------------------------------------------------------------------------

    def save(self, path: str, content: bytes) -> None:
        """Make a file, or replace its content."""
        with self._written(path) as handle:
            self._write(path, handle, [content])

    def upload(self, path: str, fd: int) -> None:
        """As `save`, from an open file."""
        with self._written(path) as handle:
            self._write(path, handle, chunks_of(fd))

    def delete(self, path: str) -> None:
        """Remove a file or a directory."""
        is_directory = self.stat(path).kind == stat.S_IFDIR
        with _unsupported(errno.EPERM):
            self._call("rmdir" if is_directory else "unlink", _slash(path))

    def make_directory(self, path: str) -> None:
        """Make a directory."""
        with _unsupported(errno.EPERM):
            self._call("mkdir", _slash(path), 0o755)

    def make_symlink(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        with _unsupported(errno.EPERM):
            self._call("symlink", _slash(path), target)

    def move(self, path: str, to: str) -> None:
        """Give a file or directory another path."""
        with _unsupported(errno.EXDEV):
            self._call("rename", _slash(path), _slash(to))

    def change(self, path: str, changes: Changes) -> None:
        """Change permissions, owner and times."""
        now = self.stat(path)
        if changes.mode is not None:
            with _unsupported(errno.EPERM):
                self._call("chmod", _slash(path), changes.mode | now.kind)
        if changes.uid is not None or changes.gid is not None:
            ids = [-1 if one is None else one for one in (changes.uid, changes.gid)]
            with _unsupported(errno.EPERM):
                self._call("chown", _slash(path), *ids)
        if changes.accessed is not None or changes.modified is not None:
            self._set_times(path, changes, now)

    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        with _unsupported(errno.EOPNOTSUPP):
            self._call("setxattr", _slash(self._path(inode)), os.fsdecode(name), value, 0)

    def remove_xattr(self, inode: int, name: bytes) -> None:
        """Remove an extended attribute."""
        with _unsupported(errno.EOPNOTSUPP):
            self._call("removexattr", _slash(self._path(inode)), os.fsdecode(name))

    def close(self) -> None:
        """The object is told that it is over."""
        with suppress(Unknown):
            self._call("destroy", "/")
        self._call.end()

    # -- details ------------------------------------------------------------------------------

    def _read_directory(self, path: str) -> Generator[tuple[str, int], None, None]:
        """Names, and modes or 0, in either of the two forms that `readdir` may have."""
        handle = 0
        with suppress(Unknown):
            handle = self._call("opendir", _slash(path))
        try:
            # One of mfusepy's goes on where it was asked to, which is the beginning.
            where = (0, handle) if self._listing == "readdir_with_offset" else (handle,)
            for one in self._call(self._listing, _slash(path), *where):
                name = one if isinstance(one, str) else one[0]
                if name not in (".", ".."):
                    yield name, 0 if isinstance(one, str) else _mode(one[1])
        finally:
            with suppress(Unknown):
                self._call("releasedir", _slash(path), handle)

    def _attributes(self, told: dict[str, Any]) -> Attributes:
        mode, size = told["st_mode"], told.get("st_size", 0)
        return Attributes(
            mode,
            size,
            links=told.get("st_nlink") or (2 if stat.S_ISDIR(mode) else 1),
            modified=self._time(told.get("st_mtime", 0)),
            device=told.get("st_rdev", 0),
            uid=told.get("st_uid", 0),
            gid=told.get("st_gid", 0),
            accessed=self._time(told["st_atime"]) if "st_atime" in told else None,
            changed=self._time(told["st_ctime"]) if "st_ctime" in told else None,
            allocated=told["st_blocks"] * _SECTOR if "st_blocks" in told else None,
        )

    def _set_times(self, path: str, changes: Changes, now: Attributes) -> None:
        accessed = now.modified if now.accessed is None else now.accessed
        times: tuple[float, float] = (
            accessed if changes.accessed is None else changes.accessed,
            now.modified if changes.modified is None else changes.modified,
        )
        if self._call.has_from_base("utimens"):
            return  # both packages take them, and do nothing
        if not self._in_nanoseconds:
            times = (times[0] / _NSEC, times[1] / _NSEC)
        with _unsupported(errno.EPERM):
            self._call("utimens", _slash(path), times)

    def _time(self, told: float) -> int:
        return int(told) if self._in_nanoseconds else round(told * _NSEC)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Generator[Any, None, None]:
        with self._released(path, self._open(path, flags)) as handle:
            yield handle

    def _open(self, path: str, flags: int) -> Any:
        info = FileInfo(flags)
        try:
            handle = self._call("open", _slash(path), info if self._raw else flags)
        except Unknown:
            handle = 0
        return info if self._raw else handle

    @contextmanager
    def _written(self, path: str) -> Generator[Any, None, None]:
        """A handle to write by, of a file that is made or made empty."""
        try:
            self.stat(path)
        except FileNotFoundError:
            with self._released(path, self._create(path)) as handle:
                yield handle
            return
        with self._opened(path, os.O_WRONLY) as handle:
            with _unsupported(errno.EPERM):
                self._call("truncate", _slash(path), 0, handle)
            yield handle

    def _create(self, path: str) -> Any:
        info = FileInfo(os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            # The kernel gives the type too, and some classes keep it.
            handle = self._call("create", _slash(path), stat.S_IFREG | 0o644, *([info] if self._raw else []))
            return info if self._raw else handle
        except Unknown:
            with _unsupported(errno.EPERM):
                self._call("mknod", _slash(path), stat.S_IFREG | 0o644, 0)
            return self._open(path, os.O_WRONLY)

    @contextmanager
    def _released(self, path: str, handle: Any) -> Generator[Any, None, None]:
        try:
            yield handle
            with suppress(Unknown):
                self._call("flush", _slash(path), handle)
        finally:
            with suppress(Unknown, OSError):
                self._call("release", _slash(path), handle)

    def _pieces(self, path: str, handle: Any, offset: int, size: int) -> Generator[bytes, None, None]:
        end = offset + size
        while offset < end:
            piece: bytes = self._call("read", _slash(path), min(_CHUNK, end - offset), offset, handle)
            if not piece:
                return
            yield piece
            offset += len(piece)

    def _write(self, path: str, handle: Any, content: Iterable[bytes]) -> None:
        offset = 0
        for chunk in content:
            view = memoryview(chunk)
            while view:
                count: int = self._call("write", _slash(path), bytes(view[:_CHUNK]), offset, handle)
                if not 0 < count <= len(view):
                    raise _error(errno.EIO)
                view, offset = view[count:], offset + count


def _mode(told: Any) -> int:
    """The mode of an entry of a directory: told as a number, as a dictionary, or not at all."""
    mode: int = told if isinstance(told, int) else told["st_mode"] if told else 0
    return mode


def _slash(path: str) -> str:
    return "/" + path


@contextmanager
def _unsupported(code: int) -> Generator[None, None, None]:
    """What an object has no operation for is this error."""
    try:
        yield
    except Unknown:
        raise _error(code) from None
