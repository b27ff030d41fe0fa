"""Execution: execve(2) of what is found in the view.

An ELF file runs from its host path or from its memfd.  A script is taken apart here as fs/binfmt_script.c
does it, because its interpreter must be found in the view and `$0` must be the view's path.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.processes import ExecveAt
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.directories import enter_view
from diorama.dispatch.files.state import Files, fail
from diorama.view.mounts import Place
from diorama.view.task import Task

_HEAD: Final = 256
_MAX_DEPTH: Final = 5
_BLANK: Final = b" \t"


@dataclass(frozen=True, slots=True)
class _Program:
    """What the kernel is to run: a path, what that is in the view, and what goes before the arguments."""

    path: bytes
    place: Place | None
    before: tuple[bytes, ...] = ()


@answers(ExecveAt)
def execute(files: Files, call: ExecveAt) -> Outcome:
    """Run a program of the view."""
    task = files.task(call.tracee)
    _await(files, task, None)
    if task.is_starting:
        task.is_starting = False
        files.changed(task)
        enter_view(files, call, task)
    place = files.find(call, call.PATHS[0]) if call.path else None
    if place is None:
        return _unchanged(files, call, task)
    named = call.path if call.dirfd == AT_FDCWD or call.path.startswith(b"/") else place.view_path
    program = _program(files, task, place, named)
    if program is None:
        return _unchanged(files, call, task)
    _await(files, task, _remembered(files, program.place))
    changes: dict[str, object] = {"dirfd": AT_FDCWD, "path": program.path}
    if program.before:
        changes["argv"] = _arguments(call, program.before)
    return call.replace(**changes)


def _unchanged(files: Files, call: ExecveAt, task: Task) -> Outcome:
    """The kernel's own way, seen to its end if there is something to forget then."""
    return None if task.executable is None or files.tells_execs else call.run()


def _await(files: Files, task: Task, place: Place | None) -> None:
    """What the task will be remembered to run, if this succeeds."""
    if task.pending is not place:
        task.pending = place
        files.changed(task)


def _remembered(files: Files, place: Place | None) -> Place | None:
    if place is None or place.filesystem is not None:
        return None
    if place.mount.is_bottom or place.mount is files.tree.base:
        return None
    return place


def _program(files: Files, task: Task, place: Place, named: bytes) -> _Program | None:
    """Follow `#!` lines to a binary; None if the kernel finds the same by itself."""
    before: tuple[bytes, ...] = ()
    touched = place.touched
    for _ in range(_MAX_DEPTH):
        path, head = _open(files, task, place)
        line = _script_line(head)
        if line is None:
            return _Program(path, place, before) if touched else None
        interpreter, *option = line
        before = (interpreter, *option, named, *before[1:])
        found = files.walk(task, AT_FDCWD, interpreter)
        if found is None:
            return _Program(interpreter, None, before) if touched else None
        place, named = found, interpreter
        touched = touched or place.touched
    raise fail(errno.ELOOP)


def _open(files: Files, task: Task, place: Place) -> tuple[bytes, bytes]:
    """A path for the kernel, and the first bytes as far as we may read them."""
    if place.missing and place.touched:
        raise fail(errno.ENOENT)
    if place.filesystem is None:
        return place.host_path, _head(place.host_path)
    attributes = place.filesystem.attributes(place.inode)
    if attributes.kind != stat.S_IFREG or not files.permits(task, attributes, os.X_OK):
        raise fail(errno.EACCES)
    content = files.content(task, place, attributes)
    path = files.standins.program(content, os.path.basename(place.view_path))
    return path, os.pread(content.fd, _HEAD, 0)


def _head(path: bytes) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        return os.pread(fd, _HEAD, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _script_line(head: bytes) -> list[bytes] | None:
    """The interpreter and its one optional argument; None if this is no script."""
    if not head.startswith(b"#!"):
        return None
    line, newline, _ = head[2:].partition(b"\n")
    line = line.partition(b"\0")[0].strip(_BLANK)
    name, blank, option = line.replace(b"\t", b" ").partition(b" ")
    if not name or (not newline and len(head) == _HEAD and not blank):
        raise fail(errno.ENOEXEC)
    option = line[len(name) :].strip(_BLANK)
    return [name, option] if option else [name]


def _arguments(call: ExecveAt, before: tuple[bytes, ...]) -> int:
    """The address of a vector that begins with `before` in the place of the first argument."""
    memory, word = call.tracee.memory, call.tracee.abi.word
    count = len(call.argv.read()) if call.argv else 0
    old = memory.read(call.argv.address + word, (count - 1) * word) if count > 1 else b""
    new = [memory.place(text + b"\0").to_bytes(word, "little") for text in before]
    address: int = memory.place(b"".join(new) + old + bytes(word))
    return address
