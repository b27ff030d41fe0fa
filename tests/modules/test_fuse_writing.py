"""A file that is written to a FUSE server in many parts: all of it, in order, whatever comes in between."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from diorama.fuse.handles import WriteIn
from diorama.fuse.notices import NotifyInvalInode
from diorama.fuse.wire import InitOut
from diorama.interfaces.filesystem import Attributes
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.view.credentials import Credentials
from modules.fuse_server import FOREVER, Server

PART = 4096
PARTS = 700
CONTENT = b"".join(b"%06d" % number for number in range(PARTS * PART // 6 + 1))[: PARTS * PART - 100]
INVAL_INODE = 2


class Parts(Server):
    """Takes 4 KiB at a time, and notes where; `meanwhile` happens before it answers to a part."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, valid=FOREVER)
        self.offsets: list[int] = []
        self.taken = bytearray(len(CONTENT))
        self.meanwhile: dict[int, Any] = {}

    def init(self, header: Any, body: bytes) -> bytes:
        return InitOut(major=7, minor=self.minor, max_write=PART, time_gran=1).encode()

    def write(self, header: Any, body: bytes) -> bytes:
        wanted = WriteIn.decode(body)
        self.offsets.append(wanted.offset)
        self.meanwhile.get(len(self.offsets), lambda: None)()
        self.taken[wanted.offset : wanted.offset + wanted.size] = body[WriteIn.width() :]
        return wanted.size.to_bytes(8, "little")


@pytest.fixture
def server() -> Iterator[Parts]:
    ours, theirs = make_pair()
    with ours, theirs:
        server = Parts(theirs)
        server.ours = ours  # type: ignore[attr-defined]
        server.start()
        yield server


@pytest.fixture
def mounted(server: Parts) -> Iterator[FuseFileSystem]:
    filesystem = FuseFileSystem(server.ours, "test")  # type: ignore[attr-defined]
    yield filesystem
    filesystem.close()


@pytest.fixture
def file(mounted: FuseFileSystem) -> int:
    return mounted.make(1, b"file", Attributes(stat.S_IFREG | 0o644))


def save(filesystem: FuseFileSystem, inode: int) -> None:
    fd = os.memfd_create("content")
    try:
        os.write(fd, CONTENT)
        filesystem.save_content(inode, fd)
    finally:
        os.close(fd)


def fails(*codes: int) -> Any:
    return pytest.raises(OSError, match="|".join(os.strerror(code) for code in codes))


def fail() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_all_of_it_arrives_in_order(server: Parts, mounted: FuseFileSystem, file: int) -> None:
    save(mounted, file)
    assert server.offsets == list(range(0, len(CONTENT), PART))
    assert server.taken == CONTENT


def test_an_error_in_the_middle_is_told_and_ends_it(
    server: Parts, mounted: FuseFileSystem, file: int
) -> None:
    server.meanwhile[300] = fail
    with fails(errno.ENOSPC):
        save(mounted, file)
    assert len(server.offsets) == 300
    server.offsets.clear()
    server.meanwhile.clear()
    save(mounted, file)
    assert server.taken == CONTENT


def test_what_the_server_tells_in_the_middle_is_heeded(
    server: Parts, mounted: FuseFileSystem, file: int
) -> None:
    other = mounted.make(1, b"other", Attributes(stat.S_IFREG | 0o644))
    mounted.attributes(other)
    asked: list[bool] = []
    notice = NotifyInvalInode(3, -1, 0).encode()
    server.meanwhile[200] = lambda: server.notify(INVAL_INODE, notice)
    server.meanwhile[500] = lambda: asked.append(mounted._known.attributes(other, None) is None)
    save(mounted, file)
    assert asked == [True]
    assert server.taken == CONTENT


def test_who_asks_meanwhile_is_answered(server: Parts, mounted: FuseFileSystem, file: int) -> None:
    began, answered = threading.Event(), threading.Event()

    def ask() -> None:
        began.wait(60)
        mounted.statistics()
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    # The server is one thread: it goes on with what was sent meanwhile, between two parts.
    server.meanwhile[100] = began.set
    server.meanwhile[101] = lambda: None if "STATFS" in server.log else _wait_for(asking, mounted)
    save(mounted, file)
    assert answered.wait(60)
    asking.join(60)
    assert server.taken == CONTENT


def _wait_for(asking: threading.Thread, mounted: FuseFileSystem) -> None:
    """Until the other request is sent."""
    while asking.is_alive() and len(mounted._channel.connection.pending()) == 0:
        threading.Event().wait(0.001)


def test_a_server_that_goes_away_in_the_middle(server: Parts, mounted: FuseFileSystem, file: int) -> None:
    server.meanwhile[250] = lambda: server.socket.shutdown(socket.SHUT_RDWR)
    with fails(errno.ECONNABORTED, errno.ENOTCONN):
        save(mounted, file)
    with fails(errno.ENOTCONN):
        mounted.statistics()


class Killed:
    """Somebody who asks and is gone."""

    pid = 1
    credentials = Credentials(0, 0)

    def is_interrupted(self) -> bool:
        return True

    def is_killed(self) -> bool:
        return True

    def step_aside(self) -> None:
        return


def test_who_is_killed_in_the_middle_waits_no_longer(
    server: Parts, mounted: FuseFileSystem, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    server.meanwhile[400] = lambda: release.wait(60)
    with monkeypatch.context() as patch:
        patch.setattr("diorama.modules.filesystems.fuse.channel.asker", Killed)
        patch.setattr("diorama.modules.filesystems.fuse.writing.asker", Killed)
        with fails(errno.EINTR):
            save(mounted, file)
    assert len(server.offsets) == 400
    release.set()
    mounted.statistics()  # what was not waited for harms nobody
    server.offsets.clear()
    server.meanwhile.clear()
    save(mounted, file)
    assert server.taken == CONTENT
