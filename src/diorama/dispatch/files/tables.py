"""Tables: /proc/PID/mountinfo, mounts and mountstats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.abi.mountinfo import MountLine
from diorama.dispatch.files.generated import Subject, makes
from diorama.view.table import Row

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["rows_of"]


def rows_of(files: Files, task: Task, tid: int) -> list[Row]:
    """The mounts that a task sees; `tid` is a thread in its mount namespace."""
    with open(f"/proc/{tid}/mountinfo", "rb") as file:
        lines = [MountLine.parse(line) for line in file]
    return files.table.rows(task.tree, task.root, lines)


@makes(rb"mountinfo")
def make_mountinfo(files: Files, subject: Subject) -> bytes:
    """All that there is to tell."""
    return b"".join(row.line.info() for row in rows_of(files, subject.task, subject.tid))


@makes(rb"mounts")
def make_mounts(files: Files, subject: Subject) -> bytes:
    """As fstab(5) has it."""
    return b"".join(row.line.mount() for row in rows_of(files, subject.task, subject.tid))


@makes(rb"mountstats")
def make_mountstats(files: Files, subject: Subject) -> bytes:
    """What file systems tell of themselves is the host's: it follows the line of a mount of the host."""
    told = _told(subject.real())
    rows = rows_of(files, subject.task, subject.tid)
    return b"".join(row.line.stats(told.get((row.line.source, row.line.type), b"")) for row in rows)


def _told(text: bytes) -> dict[tuple[bytes, bytes], bytes]:
    """What stands after the type, by source and type."""
    found: dict[tuple[bytes, bytes], bytes] = {}
    for block in text.split(b"\ndevice ")[1:] if text else ():
        first, _, more = block.partition(b"\n")
        words = first.split(b" ", 6)
        if len(words) > 5 and (more or len(words) > 6):
            rest = b" " + words[6] if len(words) > 6 else b""
            found[words[0], words[5]] = rest + (b"\n" + more if more else b"")
    return found
