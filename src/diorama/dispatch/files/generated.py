"""Generated: files of /proc whose content is that of the view, made when they are opened.

What a program gets is a sealed memfd, of its own for each open, as the kernel's files tell what is true when
they are read first.  Tables of mounts are not sealed, since they may be made anew.  Makers are registered by
the name of the file in the directory of a process; they are asked for processes of the view only, and after
the real file could be opened: whoever may not read that does not get this either.  Files of the system, such
as `/proc/meminfo`, are registered in a view by their path (`Files.system`), before its programs run.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.abi import fcntl as flags_of
from diorama.abi.fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE
from diorama.view.host import Host, Status
from diorama.view.task import Task

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files

__all__ = [
    "TABLES",
    "Maker",
    "Remembered",
    "Subject",
    "SystemFile",
    "is_reading",
    "makes",
    "open_memory",
    "renew_memory",
    "subject_of",
]

_PROCESS: Final = re.compile(rb"/proc/(\d+)(?:/task/(\d+))?/(.+)")
_DESCRIPTOR: Final = re.compile(rb"fd/\d+")
_SEALS: Final = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_REMEMBERED: Final = 4096
TABLES: Final = (b"mountinfo", b"mounts", b"mountstats")
"""What is made anew while somebody has it open."""
_KEPT: Final = os.O_NONBLOCK | os.O_APPEND | os.O_SYNC | os.O_DSYNC


@dataclass(frozen=True, slots=True)
class Subject:
    """A file to be made: its path on the host, its name in the directory of a process, and that process.

    `task` is where that stands in the view, `tid` the thread whose directory it is, `reader` who opens it.
    """

    path: bytes
    name: bytes
    tid: int
    task: Task
    reader: Task
    maker: Maker
    inner: Callable[[], bytes] | None = None

    def real(self) -> bytes:
        """The content of the real file; or what another maker has made of it, who was registered before."""
        if self.inner is not None:
            return self.inner()
        with open(self.path, "rb") as file:
            return file.read()


Maker = Callable[["Files", Subject], bytes]


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A file of the system: what makes its content, and a descriptor of ours for a task that writes it."""

    read: Maker
    write: Callable[[Task], int] | None = None
Concern = Callable[[Task, bytes], bool]


def _always(task: Task, name: bytes) -> bool:
    return True


_MAKERS: list[tuple[re.Pattern[bytes], Concern, Maker]] = []


def makes(names: bytes, concerns: Concern = _always) -> Callable[[Maker], Maker]:
    """Register the maker of the files of a process whose names match, if they concern it."""
    pattern = re.compile(names)

    def register(maker: Maker) -> Maker:
        _MAKERS.append((pattern, concerns, maker))
        return maker

    return register


class Remembered:
    """Which memfds were made, the last ones of them: the paths of what they stand for.  Any thread."""

    __slots__ = ("_lock", "_paths")

    def __init__(self) -> None:
        self._paths: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, status: Status, path: bytes) -> None:
        """An object of this status stands for the file of /proc at `path`."""
        with self._lock:
            self._paths[status.st_dev, status.st_ino] = path
            if len(self._paths) > _REMEMBERED:
                self._paths.popitem(last=False)

    def find(self, status: Status) -> bytes | None:
        """The path of what an object stands for; None if it was not made here."""
        return self._paths.get((status.st_dev, status.st_ino)) if self._paths else None

    @property
    def is_empty(self) -> bool:
        """Whether none was made."""
        return not self._paths

    def behind(self, host: Host, link: bytes) -> bytes | None:
        """As `find`, for what a link of /proc leads to."""
        if not self._paths:
            return None
        try:
            return self.find(host.stat(link))
        except OSError:
            return None


def subject_of(files: Files, reader: Task, path: bytes) -> Subject | None:
    """The file to be made for a path of the host; None if the real one is right."""
    system = files.system.get(path)
    if system is not None:
        return Subject(path, path, reader.tid, reader, reader, system.read)
    match = _PROCESS.fullmatch(path)
    if match is not None and _DESCRIPTOR.fullmatch(match[3]):
        path = _behind(files, path)
        match = _PROCESS.fullmatch(path)
    if match is None:
        return None
    name = match[3]
    found = [(concerns, maker) for pattern, concerns, maker in _MAKERS if pattern.fullmatch(name)]
    if not found:
        return None
    pid, tid = int(match[1]), int(match[2] or match[1])
    task = files.owner(pid, tid)
    if task is None:
        return None
    subject = None
    for concerns, maker in found:
        if concerns(task, name):
            inner = None if subject is None else partial(subject.maker, files, subject)
            subject = Subject(path, name, tid, task, reader, maker, inner)
    return subject


def _behind(files: Files, link: bytes) -> bytes:
    """What a descriptor leads to, which may be a file of /proc that was opened by O_PATH."""
    try:
        return files.host.readlink(link)
    except OSError:
        return b""


def open_memory(files: Files, subject: Subject, flags: int) -> int:
    """A descriptor of ours with the content; `OSError` if the real file is not opened with these flags."""
    os.close(os.open(subject.path, flags & os.O_ACCMODE | os.O_CLOEXEC | os.O_NOCTTY))
    memory = os.memfd_create(
        os.fsdecode(os.path.basename(subject.name))[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    )
    try:
        _write_all(memory, subject.maker(files, subject))
        os.fchmod(memory, stat.S_IMODE(os.stat(subject.path).st_mode))
        if subject.name not in TABLES:
            fcntl.fcntl(memory, F_ADD_SEALS, _SEALS)
        status = os.fstat(memory)
        files.generated.add(status, subject.path)
        if files.inodes.on_add is not None:
            files.inodes.on_add(status, None)
        wanted = flags & (os.O_ACCMODE | _KEPT) | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{memory}", wanted)
    finally:
        os.close(memory)


def renew_memory(files: Files, subject: Subject, fd: int) -> None:
    """Let what was made, and is open as this, have the content of now; `OSError`."""
    data, link, mode = subject.maker(files, subject), f"/proc/self/fd/{fd}", os.fstat(fd).st_mode
    os.chmod(link, 0o600)  # the real one may not be written
    try:
        writable = os.open(link, os.O_WRONLY | os.O_CLOEXEC)
    finally:
        os.chmod(link, stat.S_IMODE(mode))
    try:
        _write_all(writable, data)
        os.ftruncate(writable, len(data))
    finally:
        os.close(writable)


def _write_all(fd: int, data: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(data)


def is_reading(flags: int) -> bool:
    """Whether a file that is opened like this can be read."""
    refused = flags_of.O_PATH | os.O_DIRECTORY
    return not flags & refused and flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR)
