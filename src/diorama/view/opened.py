"""Opened: through which mount real objects are open, where the kernel cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diorama.view.mounts import Mount
    from diorama.view.task import ObjectId, Task

__all__ = ["Opened"]


class Opened:
    """Which real objects tasks have open that were opened through a mount: their own tables.

    A descriptor may come from another task, over a socket, and nobody sees it arrive.  So what was opened
    through a mount and is sent is noted for all (`passed`): it holds for who has no note of his own.  Who had
    it open already, or opens it by another way later, gets one (None: plainly).

    Where only the name of an object depends on it, it is remembered for all tasks together: `reach`.
    """

    def __init__(self) -> None:
        self.passed: dict[ObjectId, Mount] = {}
        self._reached: dict[ObjectId, Mount] = {}

    def reach(self, identity: ObjectId, mount: Mount) -> None:
        """Somebody reached it through a mount."""
        self._reached[identity] = mount

    def reached(self, identity: ObjectId) -> Mount | None:
        """The mount that it was reached through last, if that is known."""
        return self._reached.get(identity)

    def find(self, task: Task, identity: ObjectId) -> Mount | None:
        """The mount; None for what was opened plainly."""
        if identity in task.opened:
            return task.opened[identity]
        return self.passed.get(identity)

    def add(self, task: Task, identity: ObjectId, mount: Mount) -> None:
        """It was opened through a mount."""
        task.opened[identity] = mount

    def drop(self, task: Task, identity: ObjectId) -> None:
        """It was opened plainly since."""
        if identity in self.passed:
            task.opened[identity] = None
        else:
            task.opened.pop(identity, None)

    def send(self, identity: ObjectId, mount: Mount) -> None:
        """It is sent to another task, one that nobody knows."""
        self.passed[identity] = mount

    def has_own(self, task: Task) -> bool:
        """Whether there is one in its own table, which a child inherits."""
        return bool(task.opened)

    def any(self, task: Task) -> bool:
        """Whether there is one that may concern it."""
        return bool(self.passed) or self.has_own(task)
