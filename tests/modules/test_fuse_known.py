"""What a FUSE server has told holds as long as it said, and for the call in which it was told."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator

import pytest

from behaviour.served import refuse
from diorama.fuse.flags import FOpen
from diorama.fuse.handles import OpenIn, OpenOut
from diorama.fuse.wire import Attr, EntryOut, InHeader
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.view.asking import asked, asks
from diorama.view.host import RealHost
from diorama.view.identity import Identity
from diorama.view.inodes import Inodes
from diorama.view.mounts import MountTree
from diorama.view.task import Task, Tasks
from modules.fuse_server import FOREVER, Server

HOST = RealHost()


@pytest.fixture
def tasks() -> Tasks:
    return Tasks(MountTree(), HOST, Inodes())


@pytest.fixture
def task(tasks: Tasks) -> Task:
    return tasks.first(os.getpid())


@pytest.fixture
def mounted(mounted: FuseFileSystem) -> Iterator[FuseFileSystem]:
    """Nobody asks any more in the end."""
    yield mounted
    asked()


def test_what_is_told_in_a_call_holds_for_that_call_and_no_longer(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    server.add(b"file", b"content")
    asks(tasks, task)
    file = mounted.lookup(1, b"file")
    assert [mounted.attributes(file).size, mounted.lookup(1, b"file")] == [7, file]
    assert mounted.attributes(file).size == 7
    assert server.log == ["INIT", "LOOKUP", "GETATTR"]
    server.nodes[2].content = b"longer content"
    asks(tasks, task)
    assert mounted.lookup(1, b"file") == file
    assert mounted.attributes(file).size == 14
    assert server.log == ["INIT", "LOOKUP", "GETATTR", "LOOKUP", "GETATTR"]
    asked()
    mounted.attributes(file)
    mounted.attributes(file)
    assert server.log[5:] == ["GETATTR", "GETATTR"]


def test_what_was_told_natively_holds_for_the_rest_of_a_call_that_has_seen_it(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    server.valid = FOREVER
    server.add(b"file", b"content")
    file, told = mounted.lookup(1, b"file"), mounted.told
    mounted._known._nodes.clear()  # as if it had been asked for natively
    asks(tasks, task)
    seen = mounted.attributes(file)
    told.node(file, 0)
    assert mounted.attributes(file) is seen
    assert server.log == ["INIT", "LOOKUP"]
    asks(tasks, task)
    assert mounted.attributes(file) == seen
    assert server.log == ["INIT", "LOOKUP", "GETATTR"]
    mounted._known.changed(file)
    mounted.attributes(file)
    assert server.log == ["INIT", "LOOKUP", "GETATTR", "GETATTR"]


def test_of_what_comes_with_a_name_and_does_not_hold_only_the_type_counts(
    ends: tuple[socket.socket, socket.socket], tasks: Tasks, task: Task
) -> None:
    """As with memfs_ll of libfuse, which tells sizes with GETATTR only."""

    def nearly_empty(header: InHeader, body: bytes) -> bytes:
        number = server.child(header, body[:-1])
        return EntryOut(nodeid=number).encode() + Attr(ino=number, mode=server.nodes[number].mode).encode()

    server = Server(ends[1])
    server.add(b"file", b"content")
    server.override["LOOKUP"] = nearly_empty
    server.start()
    mounted = FuseFileSystem(ends[0], "test", checked=False)
    try:
        asks(tasks, task)
        file = mounted.lookup(1, b"file")
        assert mounted.walked(file).kind == stat.S_IFREG
        assert server.log == ["INIT", "LOOKUP"]
        assert mounted.attributes(file).size == 7
        assert server.log == ["INIT", "LOOKUP", "GETATTR"]
    finally:
        mounted.close()
        asked()


def test_what_was_changed_in_a_call_is_asked_for_again_in_that_call(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    server.add(b"file")
    asks(tasks, task)
    file = mounted.lookup(1, b"file")
    mounted.rename(1, b"file", 1, b"moved")
    assert mounted.lookup(1, b"moved") == file
    with pytest.raises(FileNotFoundError):
        mounted.lookup(1, b"file")
    assert server.log == ["INIT", "LOOKUP", "RENAME", "LOOKUP", "LOOKUP"]


def test_the_inode_number_that_programs_see_is_the_servers(server: Server, mounted: FuseFileSystem) -> None:
    server.valid = FOREVER
    for name in (b"a", b"b"):
        server.add(name)
    numbers = {entry.name: entry.inode for entry in mounted.entries(1)}
    assert numbers == {b"a": 2, b"b": 3}
    for name in (b"b", b"a"):  # in the order in which they are looked up, inodes of the view are counted
        assert mounted.attributes(mounted.lookup(1, name)).number == numbers[name]


def test_that_there_is_no_such_name_is_asked_once_a_call(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    asks(tasks, task)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            mounted.lookup(1, b"file")
        server.add(b"file", b"content")
    assert server.log == ["INIT", "LOOKUP"]
    asks(tasks, task)
    file = mounted.lookup(1, b"file")
    assert server.log == ["INIT", "LOOKUP", "LOOKUP"]
    mounted.remove(1, b"file")
    with pytest.raises(FileNotFoundError):
        mounted.lookup(1, b"file")
    made, opened = mounted.create(1, b"file", mounted.attributes(1), os.O_WRONLY)
    assert mounted.lookup(1, b"file") == made != file
    opened.close()


def test_a_name_that_went_while_it_was_asked_for_is_asked_for_again(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    def changes(header: InHeader, body: bytes) -> bytes:
        mounted._known.changed(1)
        return server.lookup(header, body)

    asks(tasks, task)
    server.override["LOOKUP"] = changes
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            mounted.lookup(1, b"file")
    assert server.log.count("LOOKUP") == 2


def test_who_is_in_a_call_asks_natively_as_who_he_is(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    asked_by: list[tuple[int, int, int]] = []

    def note(header: InHeader, body: bytes) -> bytes:
        asked_by.append((header.uid, header.gid, header.pid))
        return server.lookup(header, body)

    server.add(b"file", b"content")
    server.override["LOOKUP"] = note
    mounted.statistics()
    before = mounted._channel.connection.asked
    asks(tasks, task)
    file = mounted.lookup(1, b"file")
    assert mounted.attributes(file).size == 7
    assert mounted._channel.connection.asked == before, "it was asked for by Python"
    assert server.log == ["INIT", "STATFS", "LOOKUP", "GETATTR"]
    task.identity = Identity.of(7, 8)
    asks(tasks, task)
    assert mounted.lookup(1, b"file") == file
    assert mounted._channel.connection.asked > before
    pid = os.getpid()
    assert asked_by == [(os.geteuid(), os.getegid(), pid), (7, 8, pid)]


@pytest.mark.parametrize("name", ["LOOKUP", "GETATTR", "OPEN"])
def test_who_has_asked_natively_in_vain_waits_for_the_same_answer(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task, name: str
) -> None:
    release, answer = threading.Event(), getattr(server, name.lower())

    def slow(header: InHeader, body: bytes) -> bytes:
        release.wait(60)
        return bytes(answer(header, body))

    server.add(b"file", b"content")
    mounted.statistics()
    server.override[name] = slow
    asks(tasks, task)
    timer = threading.Timer(0.3, release.set)  # longer than is waited for natively
    timer.start()
    file = mounted.lookup(1, b"file")
    assert mounted.attributes(file).size == 7
    assert mounted.open_file(file, os.O_RDWR).handle == 8
    assert server.log.count(name) == 1
    timer.join()


def test_a_file_is_opened_natively_with_the_same_flags(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    flags: list[int] = []

    def note(header: InHeader, body: bytes) -> bytes:
        flags.append(OpenIn.decode(body).flags)
        return OpenOut(fh=77, open_flags=FOpen.KEEP_CACHE).encode()

    server.override["OPEN"] = note
    server.add(b"file", b"content")
    file = mounted.lookup(1, b"file")
    for is_native in (False, True):
        asks(tasks, task) if is_native else asked()
        mounted.attributes(file)
        before = mounted._channel.connection.asked
        opened = mounted.open_file(file, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        assert (mounted._channel.connection.asked == before) is is_native
        assert (opened.handle, opened.keeps) == (77, True)
        opened.close()
    assert flags == [os.O_RDWR | os.O_APPEND] * 2


def test_what_the_server_says_to_an_open_is_remembered_if_it_opens_nothing(
    server: Server, mounted: FuseFileSystem, tasks: Tasks, task: Task
) -> None:
    server.add(b"file", b"content")
    asks(tasks, task)
    file = mounted.lookup(1, b"file")
    for code in (errno.EBUSY, errno.ENOSYS):
        server.override["OPEN"] = refuse(code)
        with pytest.raises(OSError, match="busy") if code == errno.EBUSY else contextlib.nullcontext():
            assert not mounted.open_file(file, os.O_RDONLY).has_handle
    mounted.open_file(file, os.O_RDONLY)
    assert server.log.count("OPEN") == 2
