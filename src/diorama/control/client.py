"""Client: asking a running view."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diorama.control.messages import Messages, peer_of
from diorama.control.places import connect, directories, find, is_heard, name_of, places
from diorama.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ask", "descriptions", "outer_view", "own_view", "own_views", "speak"]

_PATIENCE: Final = 30.0
_ANSWERS_SOON: Final = 5.0
"""For what needs no more than a look, in seconds."""


class _Stopped(UsageError):
    """A view whose supervisor is stopped."""


def speak(path: Path) -> Messages:
    """A connection to the view at a socket; `UsageError` if it has ended, or is stopped."""
    try:
        link = connect(path)
    except BlockingIOError:
        raise UsageError(f"the view {path.name} does not answer") from None
    if link is None:
        raise UsageError(f"no view {path.name} is running any more")
    if _status_of(peer_of(link)[0])[:1] == [b"T"]:
        link.close()
        raise _Stopped(f"the view {path.name} is stopped, and cannot answer until it goes on")
    return Messages(link)


def ask(path: Path, message: dict[str, Any], patience: float = _PATIENCE) -> dict[str, Any]:
    """The answer of the view at a socket; `UsageError` if it has none, or says why not."""
    messages = speak(path)
    messages.link.settimeout(patience)
    try:
        messages.send(message)
        answer = messages.read()
    except OSError:
        answer = None
    finally:
        messages.close()
    if answer is None:
        raise UsageError(f"the view {path.name} does not answer")
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return answer


def descriptions() -> list[dict[str, Any]]:
    """What all running views tell of themselves; of who does not answer, what is known, and the `trouble`."""
    found: dict[Path, dict[str, Any]] = {}
    asked = places()

    def look(path: Path) -> None:
        try:
            found[path] = ask(path, {"do": "describe"}, _ANSWERS_SOON)
        except _Stopped:
            found[path] = _unanswered(path, "stopped")
        except UsageError:
            if is_heard(path):
                found[path] = _unanswered(path, "does not answer")

    threads = [threading.Thread(target=look, args=(path,)) for path in asked]
    for thread in threads:  # all at once, so that several who do not answer take no longer than one
        thread.start()
    for thread in threads:
        thread.join()
    return [found[path] for path in asked if path in found]


def _unanswered(path: Path, trouble: str) -> dict[str, Any]:
    known: dict[str, Any] = {"pid": int(path.name), "name": name_of(path), "engine": None}
    return {**known, "programs": [], "mounts": [], "trouble": trouble}


def own_view() -> Path:
    """The socket of the view that this process is in, the innermost one; `UsageError` outside."""
    for path in own_views():
        return path
    raise UsageError("this is not inside a view, or its socket cannot be seen from here")


def own_views() -> Iterator[Path]:
    """The sockets of all views that this process is in, the innermost first."""
    homes, pid = directories(), os.getppid()
    while pid > 1:
        for home in homes:
            if os.path.lexists(home / str(pid)) and is_heard(home / str(pid)):
                yield home / str(pid)
                break
        pid = int((_status_of(pid)[1:2] or [b"0"])[0])


def outer_view(view: str) -> Path:
    """The socket of the view of this name or number."""
    return find(view)


def _status_of(pid: int) -> list[bytes]:
    """The state of a process, its parent, and what follows (proc_pid_stat(5)); nothing if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []
