"""What servers can say, and want, since version 7.40 of the protocol."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from diorama.fuse.flags import NOTIFY_INC_EPOCH, NOTIFY_PRUNE, NOTIFY_RESEND, Init
from diorama.fuse.handles import CopyFileRangeIn, CopyFileRangeOut, WriteOut
from diorama.fuse.notices import NotifyPrune
from diorama.fuse.wire import InHeader
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from modules.fuse_server import FOREVER, Server

ANY = r"."


class Newest(Server):
    """One of version 7.45; `ours` is the other end."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        super().__init__(theirs, FOREVER, minor=45)
        self.ours = ours


@pytest.fixture
def server() -> Iterator[Newest]:
    """One that is not started."""
    ours, theirs = make_pair()
    with ours, theirs:
        yield Newest(ours, theirs)


@pytest.fixture
def mounted(server: Newest) -> Iterator[FuseFileSystem]:
    filesystem = mount(server)
    yield filesystem
    filesystem.close()


def mount(server: Newest) -> FuseFileSystem:
    server.start()
    return FuseFileSystem(server.ours, "test")


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.001)


def prune(server: Newest, *nodes: int) -> None:
    server.notify(NOTIFY_PRUNE, NotifyPrune(len(nodes)).encode() + struct.pack(f"={len(nodes)}Q", *nodes))


def test_a_new_epoch_has_all_names_asked_for_again(server: Newest, mounted: FuseFileSystem) -> None:
    for name in (b"one", b"other"):
        server.add(name)
        mounted.lookup(1, name)
        mounted.lookup(1, name)
    assert server.log.count("LOOKUP") == 2
    server.notify(NOTIFY_INC_EPOCH, b"")
    mounted.lookup(1, b"one")
    mounted.lookup(1, b"other")
    assert server.log.count("LOOKUP") == 4, "who asks has heard it before"


def test_what_is_pruned_is_forgotten_unless_somebody_has_it(server: Newest, mounted: FuseFileSystem) -> None:
    nodes = [server.add(b"file"), server.add(b"open"), server.add(b"directory", mode=stat.S_IFDIR | 0o755)]
    file, held, _ = (mounted.lookup(1, name) for name in (b"file", b"open", b"directory"))
    opened = mounted.open_file(held, os.O_RDONLY)
    prune(server, *nodes[::-1], 1, 99)
    wait_until(lambda: server.forgotten)
    assert server.forgotten == [(nodes[0], 1)], "it came last"
    assert mounted.attributes(held).kind == stat.S_IFREG
    with pytest.raises(OSError, match="Stale") as caught:
        mounted.attributes(file)
    assert caught.value.errno == errno.ESTALE
    assert mounted.lookup(1, b"file") != file
    assert server.log.count("LOOKUP") == 4
    opened.close()
    prune(server, nodes[1])
    wait_until(lambda: (nodes[1], 1) in server.forgotten)


def test_who_wants_all_requests_again_goes_on(server: Newest, mounted: FuseFileSystem) -> None:
    server.add(b"file")
    server.notify(NOTIFY_RESEND, b"")
    assert mounted.attributes(mounted.lookup(1, b"file")).kind == stat.S_IFREG


def test_a_server_that_does_not_answer_in_its_time_is_given_up(
    server: Newest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diorama.fuse.connection._LEAST_TIMEOUT", 1)
    server.features, server.timeout = Init.REQUEST_TIMEOUT, 1
    server.override["GETATTR"] = lambda header, body: None
    mounted = mount(server)
    for code in (errno.ECONNABORTED, errno.ENOTCONN):
        with pytest.raises(OSError, match=ANY) as caught:
            mounted.attributes(1)
        assert caught.value.errno == code
    assert "no answer in 1 seconds" in capfd.readouterr().err
    mounted.close()


@pytest.mark.parametrize(
    ("caches", "depth", "lends"), [(False, 1, True), (False, 2, True), (False, 3, False), (True, 1, False)]
)
def test_what_a_server_lends_is_used_as_by_the_kernel(
    server: Newest, caches: bool, depth: int, lends: bool
) -> None:
    """Not with FUSE_WRITEBACK_CACHE, nor below more file systems than the kernel has on one another."""
    server.caches_writes = caches
    server.features, server.stack_depth = Init.PASSTHROUGH, depth
    mounted = mount(server)
    mounted.attributes(1)
    assert bool(mounted.lent.agreed) is lends
    mounted.close()


@pytest.mark.parametrize("knows", [True, False], ids=["newest", "older"])
def test_a_long_range_is_copied_as_far_as_an_answer_can_tell(
    server: Newest, mounted: FuseFileSystem, knows: bool
) -> None:
    wanted: list[int] = []

    def copy(header: InHeader, body: bytes) -> bytes:
        wanted.append(CopyFileRangeIn.decode(body).len)
        return CopyFileRangeOut(wanted[-1]).encode() if knows else WriteOut(wanted[-1]).encode()

    server.override["COPY_FILE_RANGE_64" if knows else "COPY_FILE_RANGE"] = copy
    server.add(b"file")
    inode = mounted.lookup(1, b"file")
    opened = mounted.open_file(inode, os.O_RDWR)
    for _ in range(2):
        assert opened.copy(0, opened, 1 << 40, 5 << 30) == wanted[-1]
    assert wanted == [5 << 30 if knows else 0xFFFFF000] * 2
    assert server.log.count("COPY_FILE_RANGE_64") == (2 if knows else 1), "that it is not known is told once"
    opened.close()
