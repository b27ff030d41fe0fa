"""What is read of files whose server always has more."""

from __future__ import annotations

import errno
import os

import pytest

from diorama.fuse.flags import FOpen
from diorama.fuse.handles import OpenOut, ReadIn
from diorama.modules.filesystems.fuse import opened
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from modules.fuse_server import Server
from modules.test_fuse import content, fails

SIZE = 100_000


@pytest.fixture
def inode(server: Server, mounted: FuseFileSystem) -> int:
    server.add(b"file", bytes(SIZE))
    server.override["READ"] = lambda _header, body: b"x" * ReadIn.decode(body).size
    return mounted.lookup(1, b"file")


def test_there_is_no_more_than_is_told(mounted: FuseFileSystem, inode: int) -> None:
    assert content(mounted, inode) == b"x" * SIZE


def test_what_has_grown_meanwhile_is_read(server: Server, mounted: FuseFileSystem, inode: int) -> None:
    def grow(_header: object, body: bytes) -> bytes:
        server.nodes[inode].content = bytes(3 * SIZE)
        return b"x" * ReadIn.decode(body).size

    server.override["READ"] = grow
    mounted.attributes(inode)
    assert content(mounted, inode) == b"x" * (3 * SIZE)


def test_what_the_server_alone_knows_is_not_read_without_end(
    server: Server, mounted: FuseFileSystem, inode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "_MOST_UNKNOWN", 10 * SIZE)
    server.override["OPEN"] = lambda _header, _body: OpenOut(fh=1, open_flags=int(FOpen.DIRECT_IO)).encode()
    held = mounted.open_file(inode, os.O_RDONLY)
    fails(errno.EFBIG, content, mounted, inode)
    held.close()


def test_no_more_is_read_than_there_is_memory_for(
    server: Server, mounted: FuseFileSystem, inode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "_MOST_MEMORY", SIZE)
    server.nodes[inode].content = bytes(10 * SIZE)
    fails(errno.EFBIG, content, mounted, inode)
