"""Backends: a file system of fsspec, by paths, with errors as Linux has them.

What fsspec's file systems have in common is little: no flag says which of them can write, an error may be
any exception, `rm` and `mv` take `*` in a name for a pattern, a directory of an object store exists while
there is something in it.  All that is dealt with here, and nowhere else.

Status is remembered for a moment where asking means a network: what a listing told need not be asked again
for each name, and a program that looks at a file looks at all directories above it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from diorama.errors import warn_once

__all__ = ["Backend", "Info", "numbered_errors"]

Info = dict[str, Any]

_CHUNK: Final = 1 << 20
_MAX_INFOS: Final = 10_000
_MAX_LISTINGS: Final = 1_000
_LOCAL: Final = frozenset({"file", "local", "memory", "dir", "data"})
_READ_ONLY: Final = frozenset(
    "data gist git github http https jlab jupyter libarchive reference tar zip".split()  # noqa: SIM905
)
_HTTP: Final = frozenset({"http", "https"})
_REPLACES: Final = frozenset({"file", "local", "sftp", "ssh"})
_ERRNOS: Final = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    PermissionError: errno.EACCES,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    TimeoutError: errno.ETIMEDOUT,
    NotImplementedError: errno.EOPNOTSUPP,
}
_STATUSES: Final = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 410: errno.ENOENT}


@contextmanager
def numbered_errors(what: str) -> Generator[None, None, None]:
    """Give an errno to whatever a backend raises; what it is not clear from is told to the user."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise _numbered(error, what) from error
    except Exception as error:
        raise _numbered(error, what) from error


def _numbered(error: Exception, what: str) -> OSError:
    code = next((code for kind, code in _ERRNOS.items() if isinstance(error, kind)), None)
    if code is None:
        answer: Any = getattr(error, "response", None)
        status = getattr(error, "status", None) or getattr(answer, "status_code", None)
        code = _STATUSES.get(status) if isinstance(status, int) else None
    if code is None:
        code = errno.EIO
        warn_once(what, " ".join(f"{type(error).__name__}: {error}".split())[:300])
    return OSError(code, os.strerror(code), str(error))


class Backend:
    """One fsspec file system, below one of its paths; `keep` is how many seconds status stays true.

    Locks: `_lock` guards what is remembered; fsspec is called without it.  Asynchronous backends may be
    called by several threads at once, and local ones; for others there is `_turn`: of two threads that share
    an SFTP or FTP connection one gets the other's answer.
    """

    def __init__(self, filesystem: Any, top: str, *, keep: float | None = None) -> None:
        self.fs = filesystem
        own = _protocols(filesystem)
        self.name = min(own)
        self.protocols = own | _protocols(_innermost(filesystem))
        # A cache says the same of itself as the local file system does.
        is_itself = _innermost(filesystem) is filesystem
        self.is_local = is_itself and bool(getattr(filesystem, "local_file", False))
        self.can_write = _can_write(filesystem)
        self.renames = _overrides(_innermost(filesystem), "mv")
        self.replaces = bool(self.protocols & _REPLACES)
        self._top = top.rstrip("/")
        self._keep = keep if keep is not None else 0.0 if self.protocols & _LOCAL else 1.0
        self._infos: OrderedDict[str, tuple[float, Info]] = OrderedDict()
        self._changes = 0
        self._empty: set[str] = set()
        self._lock = threading.Lock()
        alone = not (self.is_local or getattr(_innermost(filesystem), "async_impl", False))
        self._turn: Any = threading.RLock() if alone else nullcontext()
        _bound_listings(filesystem, self._keep)

    def full(self, path: str) -> str:
        """What fsspec calls a path."""
        return f"{self._top}/{path}" if path else self._top or self.fs.root_marker

    @contextmanager
    def _talk(self) -> Generator[None, None, None]:
        """Call the backend: one thread at a time, where it must be, and with errors that have a number."""
        with self._turn, numbered_errors(self.name):
            yield

    # -- looking ------------------------------------------------------------------------------

    def info(self, path: str) -> Info:
        """What is at a path, as fsspec tells it; ENOENT."""
        known, changes = self._remembered(path), self._changes
        if known is not None:
            return known
        with self._talk():
            try:
                found = self._ask(self.full(path))
            except (FileNotFoundError, NotADirectoryError):
                if path not in self._empty and not self._empty_below(path):
                    raise
                found = {"name": self.full(path), "size": 0, "type": "directory"}
        self._remember(path, found, changes)
        return found

    def listing(self, path: str) -> dict[str, Info]:
        """What is in a directory, by name."""
        empty, changes = self._empty_below(path), self._changes
        found: dict[str, Info] = {name: {"name": name, "size": 0, "type": "directory"} for name in empty}
        full = self.full(path)
        listed: list[Info] = []
        with self._talk():
            try:
                listed = self.fs.ls(full, detail=True)
            except FileNotFoundError:
                if self.info(path)["type"] != "directory":
                    raise
        for info in listed:
            given = str(info["name"])
            if self.protocols & _HTTP and not _is_below(given, full):
                continue
            name = given.rstrip("/").rpartition("/")[2]
            if name and given.strip("/") != full.strip("/"):
                found[name] = info
                if info.get("size") is not None or info.get("type") != "file":
                    self._remember(f"{path}/{name}" if path else name, info, changes)
        return found

    def probe(self) -> None:
        """Ask for the top, which may be missing where directories are; whatever the backend raises."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._remember("", self._ask(self.full("")), self._changes)

    def exists(self, path: str) -> bool:
        """Whether the backend itself has something there now."""
        self.forget(path)
        with self._talk():
            try:
                self._ask(self.full(path))
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    def _ask(self, full: str) -> Info:
        if self.is_local:
            return _local_info(full)
        found: Info = self.fs.info(full)
        return _as_directory(found) if self.protocols & _HTTP else found

    # -- reading ------------------------------------------------------------------------------

    def piece(self, path: str, offset: int, size: int) -> bytes:
        """Some bytes of a file, and no more are fetched than these, as far as the protocol knows how."""
        with self._talk():
            found: bytes = self.fs.cat_file(self.full(path), start=offset, end=offset + size)
        if len(found) > size:
            # A server that answers with everything, whatever the range.
            found = found[offset : offset + size]
        return found

    def chunks(self, path: str) -> Iterator[bytes]:
        """All bytes of a file."""
        # HTTP reads by ranges unless it is told to stream, and not all servers know them.
        how = {"block_size": 0} if self.protocols & _HTTP else {}
        with self._talk(), self.fs.open(self.full(path), "rb", **how) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    # -- writing ------------------------------------------------------------------------------

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Make or replace a file.

        Where renaming is one step, the new content has another name until it is complete; elsewhere the
        backend takes it over when it is closed.
        """
        full = self.full(path)
        with self._talk():
            if not self.replaces:
                self._send(full, chunks)
            else:
                parent, slash, name = full.rpartition("/")
                beside = f"{parent}{slash}.{name[:200]}.{os.urandom(4).hex()}"
                try:
                    self._send(beside, chunks)
                    self._take_over(full, beside)
                    self.fs.mv(beside, full)
                except BaseException:
                    with suppress(Exception):
                        self.fs.rm_file(beside)
                    raise
        self._empty.discard(path.rpartition("/")[0])
        self._changed(path)

    def _send(self, full: str, chunks: Iterable[bytes]) -> None:
        with self.fs.open(full, "wb") as file:
            for chunk in chunks:
                file.write(chunk)

    def _take_over(self, full: str, beside: str) -> None:
        """What replaces a local file is owned and permitted as that was."""
        if not self.is_local:
            return
        with suppress(FileNotFoundError):
            old = os.stat(full)
            with suppress(PermissionError):
                os.chown(beside, old.st_uid, old.st_gid)
            os.chmod(beside, stat.S_IMODE(old.st_mode))

    def make_directory(self, path: str) -> None:
        """Make a directory; one that the backend cannot keep exists here until something is in it."""
        with self._talk(), suppress(NotImplementedError):
            self.fs.mkdir(self.full(path), create_parents=False)
        if not self.exists(path):
            self._empty.add(path)
        else:
            self._empty.discard(path.rpartition("/")[0])
        self._changed(path)

    def remove(self, path: str, *, directory: bool) -> None:
        """Remove a file or an empty directory; the directory above stays."""
        was_here_only = path in self._empty
        full = self.full(path)
        with self._talk():
            if not directory:
                self._remove_file(full)
            elif not was_here_only:
                self._remove_directory(path, full)
        self._empty.discard(path)
        self._keep_parent(path)
        self._changed(path)

    def _remove_file(self, full: str) -> None:
        if self.is_local:
            os.unlink(full)
        else:
            self.fs.rm_file(full)

    def _remove_directory(self, path: str, full: str) -> None:
        try:
            self.fs.rmdir(full)
        except Exception:
            # Object stores say all kinds of things about what is no object.
            if self.exists(path):
                raise

    def move(self, path: str, to: str) -> None:
        """Rename; where the backend cannot, copy all of it and then remove the former."""
        with self._talk():
            if self.is_local:
                os.rename(self.full(path), self.full(to))
            elif self.renames and path not in self._empty:
                if not self.replaces and self.exists(to):
                    self.fs.rm_file(self.full(to))
                self.fs.mv(self.full(path), self.full(to))
            else:
                self._carry(path, to)
        self._keep_parent(path)
        self._empty.discard(to.rpartition("/")[0])
        self._changed(path)
        self._changed(to)

    def _carry(self, path: str, to: str) -> None:
        tree = list(self._walk(path))
        for one, directory in tree:
            there = to + one[len(path) :]
            if directory:
                self.make_directory(there)
            else:
                self.fs.cp_file(self.full(one), self.full(there))
                self._empty.discard(there.rpartition("/")[0])
        for one, directory in reversed(tree):
            self.forget(one)
            if not directory:
                self.fs.rm_file(self.full(one))
            elif one in self._empty:
                self._empty.discard(one)
            elif self.exists(one):
                self._remove_directory(one, self.full(one))

    def _walk(self, path: str) -> Iterator[tuple[str, bool]]:
        is_directory = self.info(path)["type"] == "directory"
        yield path, is_directory
        if is_directory:
            for name in self.listing(path):
                yield from self._walk(f"{path}/{name}")

    def _keep_parent(self, path: str) -> None:
        """A directory of an object store goes with its last file; here it stays until it is removed."""
        parent = path.rpartition("/")[0]
        if not self.is_local and not self.exists(parent):
            self._empty.add(parent)

    # -- what is remembered -------------------------------------------------------------------

    def forget(self, path: str) -> None:
        """Ask again about this path and what is above it."""
        parent = path.rpartition("/")[0]
        with self._lock:
            self._changes += 1
            self._infos.pop(path, None)
            self._infos.pop(parent, None)
        for one in (path, parent):
            with suppress(Exception), self._turn:
                self.fs.invalidate_cache(self.full(one))

    def _changed(self, path: str) -> None:
        self.forget(path)
        below = path + "/"
        with self._lock:
            for one in [one for one in self._infos if one.startswith(below)]:
                del self._infos[one]

    def _empty_below(self, path: str) -> list[str]:
        start = path + "/" if path else ""
        inside = (one[len(start) :] for one in list(self._empty) if one.startswith(start))
        return list(dict.fromkeys(one.partition("/")[0] for one in inside if one))

    def _remembered(self, path: str) -> Info | None:
        if not self._keep:
            return None
        with self._lock:
            then, info = self._infos.get(path, (0.0, None))
            return info if info is not None and time.monotonic() - then < self._keep else None

    def _remember(self, path: str, info: Info, changes: int) -> None:
        """Keep what was asked when there had been so many changes: another one may have made it untrue."""
        if not self._keep:
            return
        with self._lock:
            if changes != self._changes:
                return
            self._infos[path] = time.monotonic(), info
            self._infos.move_to_end(path)
            while len(self._infos) > _MAX_INFOS:
                self._infos.popitem(last=False)


def _bound_listings(filesystem: Any, keep: float) -> None:
    """Let a backend's own memory of listings end: others may write there too."""
    cache: Any = import_module("fsspec.dircache").DirCache
    asked = getattr(filesystem, "storage_options", {})
    known = getattr(filesystem, "dircache", None)
    if isinstance(known, cache) and not {"listings_expiry_time", "use_listings_cache"} & set(asked):
        filesystem.dircache = cache(listings_expiry_time=keep, max_paths=_MAX_LISTINGS)


def _protocols(filesystem: Any) -> frozenset[str]:
    names = filesystem.protocol
    return frozenset({names} if isinstance(names, str) else names)


def _innermost(filesystem: Any) -> Any:
    """What does the work behind a cache or a prefix."""
    # A cache answers for nearly everything with what the file system behind it has, even for this.
    inner: Any = object.__getattribute__(filesystem, "__dict__").get("fs")
    return _innermost(inner) if hasattr(inner, "protocol") else filesystem


def _can_write(filesystem: Any) -> bool:
    """Fsspec has no such flag; who can write can remove, and says how."""
    doing = _innermost(filesystem)
    if (_protocols(filesystem) | _protocols(doing)) & _READ_ONLY:
        return False
    return any(_overrides(doing, name) for name in ("rm", "_rm", "rm_file", "_rm_file"))


def _overrides(filesystem: Any, name: str) -> bool:
    spec, asyn = import_module("fsspec.spec"), import_module("fsspec.asyn")
    kind: type[Any] = filesystem.__class__
    mine: Any = getattr(kind, name, None)
    general: list[Any] = [getattr(one, name, None) for one in (spec.AbstractFileSystem, asyn.AsyncFileSystem)]
    return mine is not None and mine not in general


def _as_directory(info: Info) -> Info:
    """What HTTP has for a directory: a page that lists it, at an address that ends with a slash."""
    path = urlsplit(str(info.get("url", "/x"))).path
    is_page = "html" in str(info.get("mimetype")) and (not path or path.endswith("/"))
    return {**info, "type": "directory", "size": 0} if is_page else info


def _is_below(link: str, directory: str) -> bool:
    """Whether a link of such a page leads to something in the directory itself."""
    start = directory.rstrip("/") + "/"
    name = link[len(start) :].rstrip("/")
    return link.startswith(start) and name not in ("", ".", "..") and not set(name) & set("/?#")


def _local_info(full: str) -> Info:
    """Fsspec follows links here, and fails at one that leads nowhere."""
    status = os.lstat(full)
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "file"
    info: Info = {"name": full, "size": status.st_size, "type": kind, "islink": stat.S_ISLNK(status.st_mode)}
    for name in ("mode", "uid", "gid", "nlink"):
        info[name] = getattr(status, f"st_{name}")
    info["mtime"] = status.st_mtime_ns
    return info
