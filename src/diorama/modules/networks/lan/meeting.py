"""Meeting: how the members of a LAN find its keeper, or start it, by name.

In a directory that only the user may enter, a LAN has a socket and a lock. Who joins takes the lock,
connects, and starts the keeper if nobody accepts: with a socket that listens already, so that nobody has to
wait until it runs. A keeper that ends takes the lock too, looks whether somebody has connected meanwhile, and
removes the socket before it lets go. So whoever connects under the lock is served; what one that was killed
has left behind refuses connections, and is replaced.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from diorama.errors import UsageError

__all__ = ["check_name", "connect", "directory", "forget", "lock", "locked", "names", "path_of", "told"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BACKLOG: Final = 128
_TOLD: Final = 2000


def check_name(name: str, what: str = "LAN") -> str:
    """A name for a LAN or a host; `UsageError`."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no name of a {what}: letters, digits, `.`, `_` and `-`, at most 63")
    return name


def directory() -> Path:
    """Where the LANs of this user are: made if need be; `UsageError` if it is not ours alone."""
    above = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(above, "diorama") if above and os.access(above, os.W_OK) else Path(_fallback())
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
    except OSError as error:
        raise UsageError(f"cannot have a LAN: {place}: {os.strerror(error.errno or 0)}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UsageError(f"cannot have a LAN: {place} is not a directory of this user alone (mode 0700)")
    return place


def _fallback() -> str:
    return f"/tmp/diorama-{os.geteuid()}"


def path_of(name: str, end: str) -> Path:
    """A file of a LAN: its `sock`, its `lock`, its `log`."""
    return directory() / f"lan-{name}.{end}"


def names() -> list[str]:
    """The LANs that have a socket, which may be what a keeper that was killed has left."""
    found = (path.name for path in directory().glob("lan-*.sock"))
    return sorted(name.removeprefix("lan-").removesuffix(".sock") for name in found)


@contextmanager
def locked(name: str) -> Generator[None, None, None]:
    """Nobody else meets, or ends."""
    at = lock(name)
    try:
        yield
    finally:
        os.close(at)


def lock(name: str, how: int = fcntl.LOCK_EX) -> int:
    """The lock, taken: closing it gives it back; BlockingIOError with LOCK_NB.

    Who holds it may remove its file: another one is taken then.
    """
    path = path_of(name, "lock")
    while True:
        at = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(at, how)
            if os.path.samestat(os.fstat(at), path.stat()):
                return at
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(at)
            raise
        os.close(at)


@contextmanager
def _address(name: str) -> Generator[str, None, None]:
    """The address of a LAN's socket, short enough whatever the directory is called."""
    at = os.open(directory(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{at}/{path_of(name, 'sock').name}"
    finally:
        os.close(at)


def connect(name: str, *, start: bool) -> socket.socket | None:
    """A connection to the keeper of a LAN, which is started if there is none; None if it is not to be."""
    with locked(name):
        found = _connected(name)
        if found is not None:
            return found
        if not start:
            forget(name)
            return None
        path_of(name, "sock").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            with _address(name) as address:
                listener.bind(address)
            listener.listen(_BACKLOG)
            _start(name, listener)
        return _connected(name)


def _connected(name: str) -> socket.socket | None:
    at = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _address(name) as address:
            at.connect(address)
    except (ConnectionRefusedError, FileNotFoundError):
        at.close()
        return None
    except BaseException:
        at.close()
        raise
    return at


def forget(name: str) -> None:
    """Remove the files of a LAN that has no keeper any more; under its lock."""
    for end in ("sock", "log", "lock"):
        path_of(name, end).unlink(missing_ok=True)


def told(name: str) -> str:
    """The last line of what a keeper has told."""
    try:
        text = path_of(name, "log").read_text(errors="replace")[-_TOLD:].strip()
    except OSError:
        return ""
    return text.splitlines()[-1] if text else ""


_CODE: Final = """\
import os, sys
if os.fork(): os._exit(0)
sys.path[:] = sys.argv[2:]
from diorama.modules.networks.lan.keeper import main
main(sys.argv[1])
"""


def _start(name: str, listener: socket.socket) -> None:
    """Start the keeper, as a process that is nobody's child, with nothing of ours but the socket, as 3."""
    import threading

    failed: list[OSError] = []
    thread = threading.Thread(target=_spawn, args=(name, listener.fileno(), failed))
    thread.start()
    thread.join()
    if failed:
        raise UsageError(f"cannot start the keeper of lan:{name}: {failed[0].strerror}")


def _spawn(name: str, listener: int, failed: list[OSError]) -> None:
    """On a thread of its own: the process that only starts the keeper is waited for by nobody else."""
    import signal

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    actions: Sequence[tuple[int, ...] | tuple[int, int, str, int, int]] = (
        # The listener goes first to where nothing is opened, or it could be one of 0, 1 and 2 itself.
        (os.POSIX_SPAWN_DUP2, listener, 3),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(path_of(name, "log")), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    command = [sys.executable, "-P", "-c", _CODE, name, *sys.path]
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals(),
        )
        os.waitpid(pid, 0)
    except OSError as error:
        failed.append(error)
