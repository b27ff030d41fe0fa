"""Execution: execve(2) of what is found in the view.

The kernel is given the host path of a program, or a stand-in for it (`diorama.dispatch.files.programs`).  A
script is taken apart here as the kernel would, because its interpreter must be found in the view and `$0`
must be the view's path; so is what a format of the view has an interpreter for (`diorama.view.formats`),
which is looked for first, as binfmt_misc is.  What the kernel would check of a file that it does not get to
see (a script, the original of a copy) is checked here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from diorama.abi.elf import Interpreter, find_interpreter, is_native
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_EXECVE_CHECK, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.catalogue.processes import ExecveAt
from diorama.dispatch.files.acting import may_access
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.directories import enter_view
from diorama.dispatch.files.fixing import FixedOnHost
from diorama.dispatch.files.hostformats import host_format
from diorama.dispatch.files.memfd import try_lease
from diorama.dispatch.files.owned import check_executable
from diorama.dispatch.files.programs import path_for
from diorama.dispatch.files.scripts import AS_GIVEN, HEAD, Arguments, script_line, with_arguments
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported
from diorama.view.formats import Fixed
from diorama.view.mounts import Place
from diorama.view.task import Calling, Task

_MAX_DEPTH: Final = 6
_KNOWN: Final = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_EXECVE_CHECK
_LINK: Final = re.compile(rb"/proc/(\d+)(?:/task/(\d+))?/fd/(\d+)")
_UNREADABLE: Final = "a file that may not be read, of a format with flag O or C"
_CLOSED: Final = "a program that may not be read, and whose interpreter may be another in the view"


@answers(ExecveAt)
def execute(files: Files, call: ExecveAt) -> Outcome:
    """Run a program of the view."""
    task = files.task(call.tracee)
    _await(files, task, None, None)
    if task.is_starting:
        task.is_starting = False
        files.changed(task)
        enter_view(files, call, task)
    asked = None if call.flags & ~_KNOWN else _asked(files, call, task)
    if asked is None:
        files.on_execute(task, None)
        return _unchanged(files, call, task)
    with ExitStack() as opened:
        search = _Search(files, call, task, opened)
        program = search.run(asked)
        files.on_execute(task, search.binary)
        if program is not None:
            return _start(files, call, task, asked, program)
    return _unchanged(files, call, task)


def _unchanged(files: Files, call: ExecveAt, task: Task) -> Outcome:
    """The kernel's own way, seen to its end if there is something to forget then."""
    is_watched = task.executable is not None or files.auxiliary
    return call.run() if is_watched and not files.tells_execs else None


def _await(files: Files, task: Task, place: Place | None, calling: Calling | None) -> None:
    """What the task will be remembered to run, and what that is to be told, if this succeeds."""
    if place is not None and place.filesystem is None:
        with suppress(OSError):
            files.note_reached(files.host.stat(place.host_path), place)
    if task.pending is not place or task.calling != calling:
        task.pending, task.calling = place, calling
        files.changed(task)


# -- what is asked for ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be executed, and `called`, the string that the new program is told it was called by.

    `comm` is the name of the process, empty for that of the file that runs.  `hidden`: `called` names a
    descriptor that the new program will not have.
    """

    place: Place
    called: bytes
    comm: bytes
    hidden: bool = False


def _asked(files: Files, call: ExecveAt, task: Task) -> _Asked | None:
    """None for what the kernel is to refuse, or finds by itself."""
    if not call.path:
        if not call.flags & AT_EMPTY_PATH or call.dirfd == AT_FDCWD:
            return None
        place = _opened(files, task, call.dirfd)
        called = b"/dev/fd/%d" % call.dirfd
    else:
        place = _behind(files, files.find(call, call.PATHS[0]))
        called = call.path
        if call.dirfd != AT_FDCWD and not call.path.startswith(b"/"):
            called = b"/dev/fd/%d/%s" % (call.dirfd, call.path)
    if place is None:
        return None
    if call.flags & AT_SYMLINK_NOFOLLOW and place.touched and _is_link(files, place):
        raise fail(errno.ELOOP)
    hidden = called is not call.path and _closes_on_exec(files, task, call.dirfd)
    return _Asked(place, called, os.path.basename(call.path), hidden)


def _behind(files: Files, place: Place | None) -> Place | None:
    """What is open at a descriptor, where a path leads to its link in /proc."""
    link = None if place is None or not place.mount.is_bottom else _LINK.fullmatch(place.path)
    owner = None if link is None else files.tasks.find(int(link[2] or link[1]))
    if place is None or link is None or owner is None:
        return place
    found = _opened(files, owner, int(link[3]))
    return place if found is None else found._replace(touched=found.touched or place.touched)


def _opened(files: Files, task: Task, fd: int) -> Place | None:
    """The program that is open at a descriptor."""
    try:
        place = files.tasks.descriptor(task, fd)
        if place.filesystem is not None:
            return place._replace(touched=True)
        link = b"/proc/%d/fd/%d" % (task.tid, fd)
        status = files.host.stat(link)
        try:
            same = files.host.stat(place.host_path)
        except OSError:
            same = None
    except OSError:
        return None
    if same is None or (same.st_dev, same.st_ino) != (status.st_dev, status.st_ino):
        return Place(task.tree.root, link)
    # The kernel has it open: nothing need be found, but perhaps remembered.
    return place._replace(touched=not _is_known(task, place))


def _is_known(task: Task, place: Place) -> bool:
    """Whether the path on the host says where it is in the view."""
    return place.mount.is_bottom or place.mount is task.tree.base


def _is_link(files: Files, place: Place) -> bool:
    if place.missing:
        return False
    if place.filesystem is not None:
        return place.filesystem.attributes(place.inode).kind == stat.S_IFLNK
    return stat.S_ISLNK(files.host.lstat(place.host_path).st_mode)


def _closes_on_exec(files: Files, task: Task, fd: int) -> bool:
    try:
        return bool(files.tasks.flags(task, fd) & os.O_CLOEXEC)
    except OSError:
        return False


# -- what the kernel is to run --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Program:
    """A path for the kernel, its own name and its place, and what goes before the arguments.

    `place` is None where the file itself tells what it is.  `way` is what has led to it.
    """

    path: bytes
    name: bytes
    place: Place | None
    way: _Way


@dataclass(frozen=True, slots=True)
class _Way:
    """What the steps from a file to its program have made: the arguments, and what the program is to know.

    `opened` is a descriptor of ours for what the program is to have open, `owner` the file whose set-user-ID
    bits and capabilities count, if that is not the program's own.
    """

    arguments: Arguments = AS_GIVEN
    keeps_first: bool = False
    opened: int | None = None
    owner: Place | None = None

    def by(self, step: _Step, file: _File, called: bytes) -> _Way:
        """One more step, from a file; errors as Linux has them."""
        if step.opens and self.opened is not None:
            raise fail(errno.ENOEXEC)
        if step.opens and file.fd is None:
            raise Unsupported("execve", _UNREADABLE, errno.EACCES)
        words = step.interpreter, *step.option, called
        arguments = self.arguments.behind(*words, keeps_first=step.keeps_first)
        opened = file.fd if step.opens else self.opened
        owner = file.place if step.lends_rights else self.owner
        return _Way(arguments, self.keeps_first or step.keeps_first, opened, owner)


@dataclass(frozen=True, slots=True)
class _File:
    """A file on the way: a path by which the kernel finds it, and ours to read it, None if we may not."""

    place: Place
    path: bytes
    fd: int | None
    head: bytes = b""
    is_regular: bool = True


@dataclass(frozen=True, slots=True)
class _Step:
    """From a file to what runs it, and what that is given: an argument, the first one too, the file open."""

    interpreter: bytes
    option: tuple[bytes, ...] = ()
    keeps_first: bool = False
    opens: bool = False
    lends_rights: bool = False
    fixed: Fixed | None = None


class _Search:
    """Follows formats and `#!` lines to a `binary`; what we open is closed with `opened`."""

    def __init__(self, files: Files, call: ExecveAt, task: Task, opened: ExitStack) -> None:
        self._files = files
        self._call = call
        self._task = task
        self._opened = opened
        self._leases = files.programs.begin(task)
        self._touched = False
        self.binary: Place | None = None

    def run(self, asked: _Asked) -> _Program | None:
        """None if the kernel finds the same by itself."""
        file, called, way = self._open(asked.place), asked.called, _Way()
        for _ in range(_MAX_DEPTH):
            self._touched |= file.place.touched
            step = None if self._call.flags & AT_EXECVE_CHECK else self._step(file, called)
            if step is None:
                return self._binary(file, way)
            self._check(file)
            if asked.hidden:
                raise fail(errno.ENOENT)
            way, called = way.by(step, file, called), step.interpreter
            if step.fixed is not None:
                file = self._fixed(step.fixed)
                continue
            found = self._files.walk(self._task, AT_FDCWD, called)
            if found is None:
                return _Program(called, b"", None, way) if self._touched else None
            file = self._open(found)
        raise fail(errno.ELOOP)

    def _step(self, file: _File, called: bytes) -> _Step | None:
        """None for what the kernel runs by itself."""
        entry = self._files.format_of(self._task, file.place, called, file.head) if file.is_regular else None
        if entry is not None:
            self._touched = True
            known = entry.format
            return _Step(
                known.interpreter, (), known.keeps_first, known.opens, known.lends_rights, entry.fixed
            )
        line = script_line(file.head)
        if line is not None:
            return _Step(line[0], tuple(line[1:]))
        return self._host_step(file, called) if self._touched and file.is_regular else None

    def _host_step(self, file: _File, called: bytes) -> _Step | None:
        """By what the kernel runs a file that it does not find by a path of the view."""
        if is_native(file.head):
            return None
        known = host_format(called, file.head)
        if known is None:
            return None
        fixed = FixedOnHost(known.interpreter) if known.is_fixed else None
        if fixed is not None:
            self._opened.callback(fixed.close)
        return _Step(known.interpreter, (), known.keeps_first, known.opens, known.lends_rights, fixed)

    def _fixed(self, fixed: Fixed) -> _File:
        path = fixed.path()
        return _File(fixed.place or Place(self._task.tree.root, path), path, fixed.fd, _head(fixed.fd))

    def _binary(self, file: _File, way: _Way) -> _Program | None:
        if file.fd is None:
            self._refuse_unknown(file)
        self.binary = way.owner or file.place
        name = os.path.basename(file.place.view_path)
        old = None if file.fd is None else find_interpreter(file.fd)
        new = None if old is None else self._loader(old)
        is_confined = self._files.is_confined
        if old is not None and new is None and is_confined and file.place.filesystem is not None:
            new = old.path  # a copy where the program may go
        if old is not None and new is not None and file.fd is not None:
            self._check(file)
            alone = is_confined or not self._files.has_our_rights(self._call.tracee)
            copy = self._files.programs.copy(file.fd, file.place, old, new, for_others=alone)
            self._leases.callback(self._files.programs.release, copy)
            return _Program(copy.path, name, None, way)
        if not self._touched:
            return None
        place = file.place
        known = place.filesystem is not None or _is_known(self._task, place)
        return _Program(file.path, name, None if known else place, way)

    def _refuse_unknown(self, file: _File) -> None:
        """Of a program that we may not read the interpreter is not known."""
        if self._touched and not file.place.missing and not self._task.root.mount.is_bottom:
            raise Unsupported("execve", _CLOSED, errno.EACCES)

    def _loader(self, old: Interpreter) -> bytes | None:
        """The host path of the interpreter, if the kernel would not come to that file by itself."""
        place = self._files.walk(self._task, AT_FDCWD, old.path)
        if place is None or not place.touched:
            return None
        file = self._open(place)
        if file.fd is None or not self._may_execute(file):
            raise fail(errno.EACCES)
        if old.path.startswith(b"/"):
            try:
                if os.path.samestat(os.stat(old.path), os.fstat(file.fd)):
                    return None
            except OSError:
                pass
        return file.path

    # -- files ------------------------------------------------------------------------------------

    def _open(self, place: Place) -> _File:
        if place.missing and place.touched:
            raise fail(errno.ENOENT)
        if place.mount.no_exec:
            raise fail(errno.EACCES)
        check_executable(self._files, self._task, place)
        if place.filesystem is not None:
            return self._open_virtual(place)
        path = place.host_path
        try:
            # Opening what is not a regular file may do something.
            is_regular = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:
            is_regular = False
        if not is_regular:
            return _File(place, path, None, is_regular=False)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return _File(place, path, None)
        self._opened.callback(os.close, fd)
        return _File(place, path, fd, _head(fd))

    def _open_virtual(self, place: Place) -> _File:
        assert place.filesystem is not None
        attributes = place.filesystem.attributes(place.inode)
        if attributes.kind != stat.S_IFREG or not self._files.permits(self._task, attributes, os.X_OK):
            raise fail(errno.EACCES)
        content = self._files.synthetic.contents.pin(place, attributes, whole=True)
        self._leases.callback(self._files.synthetic.contents.unpin, content)
        return _File(place, content.path, content.fd, _head(content.fd))

    def _check(self, file: _File) -> None:
        """What the kernel checks of what it executes: permission, and that nobody has it open for writing."""
        if not self._may_execute(file):
            raise fail(errno.EACCES)
        if file.fd is not None and _is_busy(file.fd):
            raise fail(errno.ETXTBSY)

    def _may_execute(self, file: _File) -> bool:
        if file.place.filesystem is not None:
            return True
        return may_access(self._files, self._call.tracee, file.path, os.X_OK)


def _head(fd: int) -> bytes:
    try:
        return os.pread(fd, HEAD, 0)
    except OSError:
        return b""


def _is_busy(fd: int) -> bool:
    """Whether somebody has a file open for writing, as far as we may ask: of our own files."""
    return try_lease(fd, fcntl.F_RDLCK) == errno.EAGAIN


# -- running it -----------------------------------------------------------------------------------


def _start(files: Files, call: ExecveAt, task: Task, asked: _Asked, program: _Program) -> Outcome:
    way, comm = program.way, asked.comm or program.name
    if way.arguments is not AS_GIVEN and b"." in comm and host_format(comm, b"") is not None:
        comm = program.name  # else the kernel would run the program as what it was called
    path = path_for(files.standins, program.path, asked.called, comm)
    fd = None if way.opened is None else _give(call, way.opened)
    calling = None
    if path != asked.called or way.keeps_first or fd is not None:
        calling = Calling(path, asked.called, way.keeps_first, fd)
    _await(files, task, program.place, calling)
    flags = call.flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)
    changed = call.replace(dirfd=AT_FDCWD, path=path, flags=flags)
    try:
        made = changed if way.arguments is AS_GIVEN else with_arguments(changed, way.arguments)
        return made if fd is None or isinstance(made, int) else int(made.run())
    except OSError:
        if fd is not None:
            call.tracee.syscall.close(fd)
        raise


def _give(call: ExecveAt, fd: int) -> int:
    """The number under which the new program has a file open, of which `fd` is ours."""
    again = os.open(b"/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(call.tracee.give(again, cloexec=False))
    finally:
        os.close(again)
