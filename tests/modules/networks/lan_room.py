"""A place of its own for the LANs of one test, and what it starts there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from diorama.modules.networks.lan import meeting
from diorama.modules.networks.lan.member import Member

LIMIT = 60.0


def until(holds: Callable[[], Any], what: str = "it") -> Any:
    """Wait until something holds: what it is then."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {LIMIT} s for {what}")


def has_ended(pid: int) -> bool:
    """Whether all threads of a process are gone, or wait for its parent: its descriptors are closed then.

    One that is killed has no command line any more while its sockets still accept.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return True


class Room:
    """LANs below a directory of their own; all that join leave at the end, and nothing may be left."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.stack = ExitStack()

    def join(self, lan: str = "office", **options: Any) -> Member:
        member = Member.join(lan, **options)
        self.stack.callback(member.leave)
        return member

    def files(self) -> list[str]:
        found = self.place / "diorama"
        return sorted(path.name for path in found.iterdir()) if found.exists() else []

    def keepers(self) -> list[int]:
        """The keepers of this room, by the sockets they were started with."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._keeps(pid)]

    def _keeps(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        is_keeper = any(b"lan.keeper" in word for word in words)
        return is_keeper and f"XDG_RUNTIME_DIR={self.place}".encode() in environment


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    room = Room(tmp_path)
    with room.stack:
        yield room
    until(lambda: not room.keepers(), "the keepers to end")
    assert room.files() == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lan:")]


__all__ = ["LIMIT", "Room", "has_ended", "meeting", "room", "until"]
