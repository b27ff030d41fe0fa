"""Fixtures of the tests of modules: a FUSE server on a thread of the test, and the file system of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from modules.fuse_server import Server


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = make_pair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def server(ends: tuple[socket.socket, socket.socket]) -> Server:
    return Server(ends[1]).start()


@pytest.fixture
def mounted(ends: tuple[socket.socket, socket.socket], server: Server) -> Iterator[FuseFileSystem]:
    filesystem = FuseFileSystem(ends[0], "test")
    yield filesystem
    filesystem.close()
