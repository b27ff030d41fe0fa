"""Debugging: a line for each call of some subjects, switched on and off while programs run.

A call is told of when Python has decided it.  So while a subject is on, for a view or for a process,
nothing of that is decided in C; and a call that the filter of the view lets pass is not seen at all.  While
nothing is on, a decision costs one look at an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from diorama.catalogue.formatter import call_text, result_text
from diorama.catalogue.model import Request
from diorama.engine.held import Descriptor
from diorama.errors import UsageError, errno_of

if TYPE_CHECKING:
    from diorama.dispatch.mediator import Mediator
    from diorama.dispatch.router import Router

__all__ = ["TAGS", "Debugging", "changed_tags", "debugging_of"]

TAGS: Final[dict[str, str]] = {
    "files": "files paths dirs xattr",
    "io": "io rings polling",
    "mounts": "mounts",
    "net": "sockets",
    "processes": "processes",
    "memory": "memory",
    "signals": "signals",
    "ipc": "ipc",
    "identity": "identity",
    "clock": "time",
    "names": "system scheduling",
}
"""What can be switched on, and the subjects of the catalogue that it is about."""

_TAG_OF: Final = {subject: tag for tag, subjects in TAGS.items() for subject in subjects.split()}

Decided = int | Descriptor | Request
Decide = Callable[[], Decided]


def changed_tags(change: str, before: frozenset[str]) -> frozenset[str]:
    """The tags after a change such as `+files,-net` or `-all`; `UsageError`."""
    after = set(before)
    sign = "+"
    for word in change.split(","):
        match = re.fullmatch(r"([+-]?)([a-z]+)", word)
        if match is None or not (match[2] in TAGS or match[2] == "all"):
            raise UsageError(f"cannot switch {word!r}: write +TAG or -TAG, of {', '.join(TAGS)} and all")
        sign = match[1] or sign
        named = set(TAGS) if match[2] == "all" else {match[2]}
        after = after | named if sign == "+" else after - named
    return frozenset(after)


class Debugging:
    """What is switched on in one view, which is its router's watcher.  Any thread."""

    def __init__(self, router: Router, files: Mediator | None, write: Callable[[str], None]) -> None:
        self._router = router
        self._mediator = files
        self._write = write
        self._tags: frozenset[str] = frozenset()

    def change(self, change: str, pid: int | None) -> frozenset[str]:
        """Switch tags of the whole view, or of a process and what it makes; those that are on then."""
        mediator = self._mediator
        if pid is not None:
            if mediator is None:
                raise UsageError("processes cannot be told apart in a view with nothing but handlers")
            files = mediator.files
            task = files.tasks.foretell(pid, pid)
            task.tags = changed_tags(change, task.tags)
            files.on_change(task)
            self._router.watcher = self
            return task.tags
        if change:
            self._tags = changed_tags(change, self._tags)
            self._router.watcher = self
            if mediator is not None:
                mediator.ask_all(bool(self._tags))
        return self._tags

    def __call__(self, tracee: Any, request: Request, decide: Decide) -> Decided:
        """Have a call decided, and tell of it."""
        tag = _TAG_OF.get(request.SUBJECT, "")
        mediator = self._mediator
        if tag not in self._tags and (mediator is None or tag not in mediator.files.task(tracee).tags):
            return decide()
        text = f"{tag}: {tracee.tid} {call_text(request)}"
        try:
            outcome = decide()
        except OSError as error:
            self._write(f"{text} = {result_text(request, -errno_of(error))}")
            raise
        self._write(f"{text} {_outcome_text(request, outcome)}")
        return outcome


def debugging_of(router: Router, files: Mediator | None, write: Callable[[str], None]) -> Debugging:
    """That of a view, made when it is first asked for."""
    return router.watcher if isinstance(router.watcher, Debugging) else Debugging(router, files, write)


def _outcome_text(request: Request, outcome: Decided) -> str:
    if outcome is request:
        return "is the kernel's"
    if isinstance(outcome, int):
        return f"= {result_text(request, outcome)}"
    if isinstance(outcome, Descriptor):
        return "is given a descriptor"
    return f"becomes {call_text(outcome)}"
