"""What a FUSE server knows of what was closed, when a name of it is removed."""

from __future__ import annotations

import os
import threading

from diorama.fuse.wire import InHeader
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from modules.fuse_server import Server


def test_what_was_closed_is_so_to_the_server_before_a_name_goes(
    server: Server, mounted: FuseFileSystem
) -> None:
    """One of several threads may do the later of two requests first, and take a file to be open still."""
    released = threading.Event()

    def release(header: InHeader, body: bytes) -> None:
        def answer() -> None:
            released.set()
            server.answer(header.unique)

        threading.Timer(0.2, answer).start()

    server.override["RELEASE"] = release
    server.add(b"file", b"content")
    inode = mounted.lookup(1, b"file")
    mounted.open_file(inode, os.O_RDONLY).close()
    assert not released.is_set()
    mounted.await_closed(inode)
    assert released.is_set()
    mounted.await_closed(inode)
    mounted.remove(1, b"file")


def test_nobody_waits_long_for_a_server_to_take_note(server: Server, mounted: FuseFileSystem) -> None:
    server.override["RELEASE"] = lambda header, body: None
    server.add(b"file", b"content")
    inode = mounted.lookup(1, b"file")
    mounted.open_file(inode, os.O_RDONLY).close()
    mounted.await_closed(inode)
    mounted.remove(1, b"file")
    assert "UNLINK" in server.log
