"""Files of FUSE mounts that are opened for reading for the first time, without the interpreter.

What is done with them then is in `test_fuse_again`, whose files are opened so.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from behaviour.opening import REPEATED, Program
from behaviour.served import Handles, Served
from diorama.abi.fcntl import F_GET_SEALS
from diorama.dispatch.files.keeping import Keeping
from diorama.engine.told import Told
from diorama.fuse.flags import NOTIFY_INVAL_INODE
from diorama.fuse.handles import ReadIn
from diorama.fuse.notices import NotifyInvalInode
from modules.fuse_server import FOREVER, Server

READ_NAMED = "fd = os.open({0!r}, os.O_RDONLY); print(os.read(fd, 100)); os.close(fd)"
PAGE = 4096
MANY = 300
"""More than are kept that Python does not know of."""


@pytest.fixture
def first(served: Served) -> Served:
    """A server, and a view whose programs are given descriptors; with guardians they open ours."""
    return served


@pytest.fixture
def handles(first: Served) -> Handles:
    return Handles(first.server)


@pytest.fixture
def program(first: Served, handles: Handles) -> Iterator[Program]:
    found = Program(first)
    yield found
    found.end()


def looks(program: Program, line: str) -> list[object]:
    """What can be seen of an open file, in the view and outside of it."""
    said = program.do(
        f"here = os.getcwd(); {line}; name = os.readlink('/proc/self/fd/%d' % fd);"
        " print(fd, name[len(here):]); found = os.fstat(fd);"
        " print(found.st_dev, found.st_mode, found.st_size, found.st_mtime_ns)"
    )
    number, name = said[0].split()
    link = f"/proc/{program.popen.pid}/fd/{number}"
    status = os.stat(link)
    with Path(link).open("rb") as opened:
        seals = fcntl.fcntl(opened, F_GET_SEALS)
    shown = os.readlink(link), status.st_mode, status.st_uid, status.st_gid, status.st_size
    return [name, said[1], seals, *shown, status.st_mtime_ns, status.st_atime_ns]


def opened(
    program: Program, server: Server, content: bytes, mode: int, above: int, *, by_python: bool
) -> list[object]:
    """How a file looks that is new each time, until it is opened so: Python goes on with what takes long."""
    for number in range(REPEATED):
        name = f"file{len(server.nodes)}.{number}"
        server.add(name.encode(), content, mode=stat.S_IFREG | mode, parent=above)
        before = program.opened
        line = f"os.chdir('mnt'); fd = os.open('./above//{name}', os.O_RDONLY); os.chdir(here)"
        seen = looks(program, line)
        if (program.opened > before) is by_python:
            return [one.replace(name, "file") if isinstance(one, str) else one for one in seen]
    raise AssertionError("it is always opened by the other")


@pytest.mark.parametrize("mode", [0o644, 0o4755, 0o2744, 0o2755], ids=oct)
def test_it_looks_as_what_python_opens(first: Served, handles: Handles, program: Program, mode: int) -> None:
    told = first.filesystem.told
    assert isinstance(told, Told)
    above = first.server.add(b"above", mode=stat.S_IFDIR | 0o755)
    first.server.valid = FOREVER
    found: list[list[object]] = []
    for content in (b"content", b""):
        for most in (1 << 12, 0):
            told.opens(most)
            found.append(opened(program, first.server, content, mode, above, by_python=not most))
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[0][0] == "/mnt/above/file"


def test_as_many_as_there_are(first: Served, handles: Handles, program: Program) -> None:
    for number in range(MANY):
        first.server.add(b"file%d" % number, b"content of %d" % number)
    program.do("held = os.open('mnt/file0', os.O_RDONLY)")
    for number in range(1, MANY):
        assert program.do(READ_NAMED.format(f"mnt/file{number}")) == [repr(b"content of %d" % number)]
    assert program.do("print(os.read(held, 100)); os.close(held)") == ["b'content of 0'"]
    assert program.opened < MANY
    first.wait(lambda: sorted(handles.released) == list(range(1, len(handles.flags) + 1)))


def test_what_nobody_can_name_any_more_is_released(
    first: Served, handles: Handles, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is forgotten by what path its directory was found."""
    monkeypatch.setattr(Keeping, "_content", lambda *_: None)
    program.do("held = []")
    for number in range(REPEATED):
        first.server.add(b"file%d" % number, b"content")
        program.do(f"held.append(os.open('mnt/file{number}', os.O_RDONLY))")
    program.do("told(os.open, 'mnt/none', os.O_RDWR)")
    assert program.opened < REPEATED
    first.wait(lambda: len(handles.released) >= REPEATED - program.opened)
    assert program.do("print({os.pread(fd, 100, 0) for fd in held})") == ["{b'content'}"]
    program.do("[os.close(fd) for fd in held]")
    first.wait(lambda: sorted(handles.released) == list(range(1, len(handles.flags) + 1)))


def test_who_has_it_open_sees_what_is_written(first: Served, handles: Handles, program: Program) -> None:
    first.server.add(b"file", b"content")
    line = "fd = os.open('mnt/file', os.O_RDONLY); w = os.open('mnt/file', os.O_RDWR); os.write(w, b'CON');"
    assert program.do(line + " print(os.read(fd, 100))") == ["b'CONtent'"]
    again = "other = os.open('mnt/file', os.O_RDONLY); print(os.read(other, 100))"
    assert program.do(again) == ["b'CONtent'"]
    program.do("[os.close(one) for one in (fd, w, other)]")
    assert first.content(b"file") == b"CONtent"


def test_who_has_it_open_sees_what_the_server_tells(
    first: Served, handles: Handles, program: Program
) -> None:
    number = first.server.add(b"file", b"content")
    first.server.valid = FOREVER
    program.do("fd = os.open('mnt/file', os.O_RDONLY)")
    first.server.nodes[number].content = b"CONTENT"
    first.server.notify(NOTIFY_INVAL_INODE, NotifyInvalInode(number, 0, 0).encode())
    first.wait(lambda: program.do("print(os.pread(fd, 100, 0))") == ["b'CONTENT'"])


def test_what_is_larger_than_told_is_for_python(first: Served, handles: Handles, program: Program) -> None:
    number = first.server.add(b"file", b"content")
    really = first.server.read
    first.server.override["READ"] = lambda header, body: really(header, body) and b"content and more"
    assert program.do(READ_NAMED.format("mnt/file")) == ["b'content and more'"]
    assert program.opened == 1
    assert number in first.server.nodes


def test_it_is_asked_for_no_more_than_there_should_be(
    first: Served, handles: Handles, program: Program
) -> None:
    """Of a server that has always more; a new file each time, until it is opened so."""
    pages: list[int] = []

    def read(_header: object, body: bytes) -> bytes:
        wanted = ReadIn.decode(body)
        if wanted.size > PAGE:  # it is Python that asks
            return b""
        pages.append(wanted.offset)
        return bytes(wanted.size if len(pages) < MANY else 0)

    first.server.override["READ"] = read
    for number in range(REPEATED):
        first.server.add(b"file%d" % number, b"content")
        program.do(f"os.close(os.open('mnt/file{number}', os.O_RDONLY))")
        if pages:
            break
    assert pages == [0]


def test_a_large_one_is_read_whole(first: Served, handles: Handles, program: Program) -> None:
    content = os.urandom(300_000)
    first.server.add(b"file", content)
    program.do("fd = os.open('mnt/file', os.O_RDONLY); import hashlib")
    from hashlib import sha256

    line = "print(hashlib.sha256(os.read(fd, 1 << 20)).hexdigest())"
    assert program.do(line) == [sha256(content).hexdigest()]


def test_it_is_named_by_the_directory_that_it_was_found_from(
    first: Served, handles: Handles, program: Program
) -> None:
    above = first.server.add(b"above", mode=stat.S_IFDIR | 0o755)
    first.server.add(b"file", b"content", parent=above)
    program.do("os.chdir('mnt/above'); fd = os.open('file', os.O_RDONLY); os.rename('file', 'other')")
    said = program.do("print(os.readlink('/proc/self/fd/%d' % fd)[-16:]); print(os.read(fd, 100))")
    assert said == ["/mnt/above/other", "b'content'"]
