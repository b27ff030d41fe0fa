"""Places: where running views of this user are to be found.

Each has a socket in a directory that nobody else may enter, `views` in `$XDG_RUNTIME_DIR/diorama`, in
`/run/user/UID/diorama` or in `/tmp/diorama-UID`, by the number of its supervisor.  A name is a symbolic link
to that.  Sockets and names are made and removed under a lock on the directory, so two views never have one
name.  Whoever has been killed leaves his behind: nobody listens there, and the next view removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

from diorama.errors import UsageError

__all__ = ["Place", "check_name", "connect", "directories", "find", "is_heard", "name_of", "places"]

_NAME: Final = re.compile(r"(?!\d+$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_WAITING: Final = 64


def check_name(name: str) -> str:
    """The name, if views can be called so; `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"cannot call a view {name!r}: up to 64 letters, digits and ._- are a name, with a letter in it"
        )
    return name


def directories() -> list[Path]:
    """Where views may be found: those of them that are this user's alone."""
    return [path for path in dict.fromkeys((*_candidates(), *_of_numbers())) if _is_private(path)]


def make_directory() -> Path:
    """The directory for another view; `UsageError` if there is none that is this user's alone."""
    tried = ""
    for path in _candidates():
        try:
            for part in (path.parent, path):
                with contextlib.suppress(FileExistsError):
                    part.mkdir(mode=0o700)
            if _is_private(path):
                return path
            tried = f"{path.parent} must be a directory of yours that nobody else can enter"
        except OSError as error:
            tried = f"cannot make {path}: {(error.strerror or '').lower()}"
    raise UsageError(f"running views cannot be found: {tried}")


def _candidates() -> list[Path]:
    user = os.geteuid()
    told = os.environ.get("XDG_RUNTIME_DIR")
    homes = [Path(told) / "diorama"] if told and _is_own(told) else []
    if os.path.isdir(f"/run/user/{user}"):
        homes.append(Path(f"/run/user/{user}/diorama"))
    homes.append(Path(f"/tmp/diorama-{user}"))
    return [home / "views" for home in dict.fromkeys(homes)]


def _of_numbers() -> list[Path]:
    """Those of all numbers: in a view a user may have another one than outside of it."""
    homes: list[Path] = []
    with contextlib.suppress(OSError):
        homes += [Path("/tmp", name) for name in os.listdir("/tmp") if name.startswith("diorama-")]
    with contextlib.suppress(OSError):
        homes += [Path("/run/user", name, "diorama") for name in os.listdir("/run/user")]
    return [home / "views" for home in sorted(homes)]


def _is_own(path: str) -> bool:
    """Whether a directory is this user's; that of another may be in the environment still, after `su`."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _is_private(path: Path) -> bool:
    """Whether nobody else can have put anything there: it, and what it is in, are this user's alone."""
    try:
        found = [part.lstat() for part in (path.parent, path)]
    except OSError:
        return False
    return all(
        stat.S_ISDIR(one.st_mode) and one.st_uid == os.geteuid() and not one.st_mode & 0o077 for one in found
    )


def connect(path: Path) -> socket.socket | None:
    """A connection to the view there; None if nobody listens any more.

    `BlockingIOError` if somebody does who has let so many wait that no other one can.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(0)
    try:
        link.connect(os.fspath(path))
    except BlockingIOError:
        link.close()
        raise
    except OSError:
        link.close()
        return None
    link.settimeout(None)
    return link


def is_heard(path: Path) -> bool:
    """Whether a view listens there, even if it may not answer."""
    try:
        link = connect(path)
    except BlockingIOError:
        return True
    if link is not None:
        link.close()
    return link is not None


def places() -> list[Path]:
    """The sockets of all views, also of some that have ended."""
    found = [path for home in directories() for path in home.iterdir() if path.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name))


def find(view: str) -> Path:
    """The socket of a view, by its name or its number; `UsageError`."""
    if not (view.isdigit() or _NAME.fullmatch(view)):
        raise UsageError(f"cannot find a view {view!r}: give a name, or a number as `diorama ls` shows it")
    found = [home / view for home in directories() if os.path.lexists(home / view)]
    if not found:
        raise UsageError(f"no view {view} is running; `diorama ls` shows those that are")
    return next(filter(is_heard, found), found[0]) if len(found) > 1 else found[0]


def name_of(path: Path) -> str | None:
    """What the view at a socket is called, without asking it."""
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            if other.is_symlink() and os.readlink(other) == path.name:
                return other.name
    return None


class Place:
    """The socket of one view, and its name."""

    def __init__(self, name: str | None) -> None:
        self._directory = make_directory()
        self.name: str | None = None
        self._path = self._directory / str(os.getpid())
        with self._locked():
            with contextlib.suppress(OSError):
                self._tidy()
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.listener.bind(os.fspath(self._path))
                self.listener.listen(_WAITING)
                if name is not None:
                    self._claim(name)
            except OSError as error:
                self.listener.close()
                reason = (error.strerror or str(error)).lower()
                raise UsageError(f"cannot use {self._path}: {reason}") from None
            except UsageError:
                self._path.unlink()
                self.listener.close()
                raise

    def rename(self, name: str) -> None:
        """Have another name; `UsageError` if it cannot be had."""
        with self._locked():
            before = self.name
            self._claim(name)
            if before is not None and before != name:
                (self._directory / before).unlink(missing_ok=True)

    def close(self) -> None:
        """Be found no longer."""
        with contextlib.suppress(OSError), self._locked():
            if self.name is not None:
                (self._directory / self.name).unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _claim(self, name: str) -> None:
        path = self._directory / check_name(name)
        if name == self.name:
            return
        for other in directories():
            if os.path.lexists(other / name):
                self._clear(other / name)
        try:
            if any(os.path.lexists(other / name) for other in directories()):
                raise FileExistsError
            path.symlink_to(self._path.name)
        except FileExistsError:
            raise UsageError(f"cannot call a view {name}: another one that runs is called so") from None
        self.name = name

    def _tidy(self) -> None:
        """Remove what others have left behind, who were killed."""
        self._clear(self._path)
        for path in self._directory.iterdir():
            if path.is_symlink() or not os.path.exists(f"/proc/{path.name}"):
                self._clear(path)

    def _clear(self, path: Path) -> None:
        """Remove what somebody has left behind, if nobody listens there."""
        if not is_heard(path):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None, None, None]:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
