"""Client: asking a running view."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from diorama.control.messages import Messages
from diorama.control.places import connect, directories, find, places
from diorama.errors import UsageError

__all__ = ["ask", "descriptions", "own_view", "speak"]

_PATIENCE: Final = 30.0


def speak(path: Path) -> Messages:
    """A connection to the view at a socket; `UsageError` if it has ended."""
    link = connect(path)
    if link is None:
        raise UsageError(f"no view {path.name} is running any more")
    return Messages(link)


def ask(path: Path, message: dict[str, Any]) -> dict[str, Any]:
    """The answer of the view at a socket; `UsageError` if it has none, or says why not."""
    messages = speak(path)
    messages.link.settimeout(_PATIENCE)
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
    """What all running views tell of themselves; who does not answer, his number only."""
    found: list[dict[str, Any]] = []
    for path in places():
        link = connect(path)
        if link is None:
            continue
        link.close()
        try:
            found.append(ask(path, {"do": "describe"}))
        except UsageError:
            found.append({"pid": int(path.name), "name": None, "engine": None, "programs": [], "mounts": []})
    return found


def own_view() -> Path:
    """The socket of the view that this process is in, the innermost one; `UsageError` outside."""
    homes, pid = directories(), os.getppid()
    while pid > 1:
        for home in homes:
            if os.path.lexists(home / str(pid)):
                return home / str(pid)
        pid = _parent_of(pid)
    raise UsageError("this is not inside a view, or its socket cannot be seen from here")


def outer_view(view: str) -> Path:
    """The socket of the view of this name or number."""
    return find(view)


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
