"""The file system of a FUSE server: what is asked, what is remembered, and what becomes of it when it
fails."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
import time
from typing import Any

import pytest

from diorama.fuse.attributes import SetAttrIn
from diorama.fuse.flags import FAttr, Init
from diorama.fuse.notices import NotifyInvalEntry, NotifyInvalInode
from diorama.fuse.wire import InHeader, OutHeader
from diorama.interfaces.filesystem import Attributes, Changes
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.view.credentials import Credentials
from modules.fuse_server import FOREVER, Server

REGULAR = Attributes(stat.S_IFREG | 0o644)
DIRECTORY = Attributes(stat.S_IFDIR | 0o755)
ANY = r"."


def content(filesystem: FuseFileSystem, inode: int) -> bytes:
    fd = os.memfd_create("content")
    try:
        filesystem.copy_content(inode, fd)
        return os.pread(fd, 1 << 24, 0)
    finally:
        os.close(fd)


def save(
    filesystem: FuseFileSystem, inode: int, data: bytes, *, at: int = 0, size: int | None = None
) -> None:
    fd = os.memfd_create("content")
    try:
        os.pwrite(fd, data, at)
        if size is not None:
            os.ftruncate(fd, size)
        filesystem.save_content(inode, fd)
    finally:
        os.close(fd)


def fails(code: int, call: Any, *arguments: Any) -> None:
    with pytest.raises(OSError, match=ANY) as caught:
        call(*arguments)
    assert caught.value.errno == code


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.001)


def test_names_attributes_and_content_are_those_of_the_server(
    server: Server, mounted: FuseFileSystem
) -> None:
    server.add(b"file", b"content\n", stat.S_IFREG | 0o640)
    directory = server.add(b"directory", mode=stat.S_IFDIR | 0o700)
    server.add(b"inside", b"x" * 500_000, parent=directory)
    server.add(b"link", b"directory/inside", stat.S_IFLNK | 0o777)
    listed = {entry.name: entry.kind for entry in mounted.entries(1)}
    assert listed == {b"file": stat.S_IFREG, b"directory": stat.S_IFDIR, b"link": stat.S_IFLNK}
    file = mounted.lookup(1, b"file")
    assert (mounted.attributes(file).mode, mounted.attributes(file).size) == (stat.S_IFREG | 0o640, 8)
    assert content(mounted, file) == b"content\n"
    inside = mounted.lookup(mounted.lookup(1, b"directory"), b"inside")
    assert content(mounted, inside) == b"x" * 500_000
    assert mounted.readlink(mounted.lookup(1, b"link")) == b"directory/inside"
    fails(errno.ENOENT, mounted.lookup, 1, b"missing")
    found = mounted.statistics()
    assert (found.block_size, found.blocks, found.free, found.files, found.name_max) == (512, 100, 40, 9, 99)


def test_what_is_made_and_written_reaches_the_server(server: Server, mounted: FuseFileSystem) -> None:
    directory = mounted.make(1, b"directory", DIRECTORY)
    file = mounted.make(directory, b"file", REGULAR)
    save(mounted, file, b"first version", size=13)
    save(mounted, file, b"second", size=6)
    link = mounted.make(1, b"link", Attributes(stat.S_IFLNK | 0o777), b"directory")
    mounted.link(file, 1, b"other")
    names = server.nodes[1].children
    node = server.nodes[names[b"other"]]
    assert node.content == b"second"
    assert mounted.attributes(file).size == 6
    assert mounted.readlink(link) == b"directory"
    mounted.set_attributes(file, Changes(mode=0o600, modified=12 * 10**9))
    assert (node.mode, node.mtime) == (stat.S_IFREG | 0o600, 12)
    mounted.rename(directory, b"file", 1, b"moved")
    assert mounted.lookup(1, b"moved") == file
    fails(errno.ENOENT, mounted.lookup, directory, b"file")
    mounted.remove(1, b"moved")
    mounted.remove(1, b"directory")
    assert sorted(names) == [b"link", b"other"]


def test_holes_are_not_written(server: Server, mounted: FuseFileSystem) -> None:
    file = mounted.make(1, b"sparse", REGULAR)
    save(mounted, file, b"end", at=1 << 20, size=2 << 20)
    assert server.nodes[2].content == bytes(1 << 20) + b"end" + bytes((1 << 20) - 3)
    assert server.log.count("WRITE") == 1


def test_extended_attributes(server: Server, mounted: FuseFileSystem) -> None:
    file = mounted.make(1, b"file", REGULAR)
    assert mounted.get_xattr(file, b"user.a") == b"value of user.a"
    assert mounted.list_xattrs(file) == [b"user.a", b"user.b"]
    fails(errno.EOPNOTSUPP, mounted.set_xattr, file, b"user.a", b"x")
    fails(errno.EOPNOTSUPP, mounted.set_xattr, file, b"user.a", b"x")
    assert server.log.count("SETXATTR") == 1, "what a server has said not to know is asked once"


def test_what_holds_is_not_asked_again(server: Server, mounted: FuseFileSystem) -> None:
    server.valid = FOREVER
    server.add(b"file")
    for _ in range(3):
        mounted.attributes(mounted.lookup(1, b"file"))
    assert server.log.count("LOOKUP") == 1
    assert server.log.count("GETATTR") == 0
    mounted.make(1, b"new", REGULAR)
    mounted.attributes(mounted.lookup(1, b"new"))
    assert server.log.count("LOOKUP") == 1


def test_what_does_not_hold_is_asked_again(server: Server, mounted: FuseFileSystem) -> None:
    number = server.add(b"file")
    file = mounted.lookup(1, b"file")
    server.nodes[number].content = b"more"
    assert mounted.attributes(file).size == 4
    del server.nodes[1].children[b"file"]
    fails(errno.ENOENT, mounted.lookup, 1, b"file")


def test_a_listing_with_attributes_saves_asking_for_them(server: Server, mounted: FuseFileSystem) -> None:
    server.valid = FOREVER
    for number in range(1000):
        server.add(b"file%d" % number)
    entries = mounted.entries(1)
    assert len(entries) == 1000
    for entry in entries:
        assert mounted.lookup(1, entry.name) == entry.inode
        mounted.attributes(entry.inode)
    assert not {"LOOKUP", "GETATTR"} & set(server.log)


def test_a_server_without_readdirplus_lists_too(server: Server, mounted: FuseFileSystem) -> None:
    server.override["READDIRPLUS"] = lambda header, body: _raise(errno.ENOSYS)
    server.add(b"file")
    fails(errno.ENOSYS, mounted.entries, 1)
    assert [entry.name for entry in mounted.entries(1)] == [b"file"]


def _raise(code: int) -> bytes:
    raise OSError(code, os.strerror(code))


def test_notifications_drop_what_was_remembered(server: Server, mounted: FuseFileSystem) -> None:
    server.valid = FOREVER
    number = server.add(b"file")
    file = mounted.lookup(1, b"file")
    server.nodes[number].content = b"more"
    assert mounted.attributes(file).size == 0
    server.notify(2, NotifyInvalInode(ino=number, off=-1).encode())
    wait_until(lambda: mounted.attributes(file).size == 4)
    del server.nodes[1].children[b"file"]
    assert mounted.lookup(1, b"file") == file
    server.notify(3, NotifyInvalEntry(parent=1, namelen=4).encode() + b"file\0")
    wait_until(lambda: _is_gone(mounted, b"file"))


def _is_gone(mounted: FuseFileSystem, name: bytes) -> bool:
    try:
        mounted.lookup(1, name)
    except FileNotFoundError:
        return True
    return False


def test_references_are_given_back_exactly(server: Server, mounted: FuseFileSystem) -> None:
    number = server.add(b"file")
    for _ in range(4):
        file = mounted.lookup(1, b"file")
    mounted.entries(1)
    mounted.remove(1, b"file")
    mounted.forget(file)
    wait_until(lambda: server.forgotten)
    assert server.forgotten == [(number, server.nodes[number].lookups)]
    fails(errno.ESTALE, mounted.attributes, file)


def test_what_is_open_is_closed_before_it_is_forgotten(server: Server, mounted: FuseFileSystem) -> None:
    inode = mounted.lookup(1, server_name(server))
    opened = mounted.open_file(inode, os.O_RDONLY)
    mounted.forget(inode)
    assert mounted.attributes(inode).kind == stat.S_IFREG, "it is there as long as it is open"
    opened.close()
    wait_until(lambda: server.forgotten)
    assert [name for name in server.log if name in ("RELEASE", "FORGET")] == ["RELEASE", "FORGET"]
    fails(errno.ESTALE, mounted.attributes, inode)


def test_a_name_of_what_is_forgotten_is_asked_for_again(server: Server, mounted: FuseFileSystem) -> None:
    server.valid = FOREVER
    inode = mounted.lookup(1, server_name(server))
    mounted.forget(inode)
    again = mounted.lookup(1, b"file")
    assert mounted.attributes(again).kind == stat.S_IFREG


def test_a_handle_is_released_after_the_last_request_by_it(server: Server, mounted: FuseFileSystem) -> None:
    inode = mounted.lookup(1, server_name(server, bytes(100_000)))
    opened = mounted.open_file(inode, os.O_RDONLY)

    def read(header: InHeader, body: bytes) -> bytes:
        opened.close()
        return server.read(header, body)

    server.override["READ"] = read
    assert content(mounted, inode) == bytes(100_000)
    wait_until(lambda: "RELEASE" in server.log)
    assert [name for name in server.log if name in ("READ", "RELEASE")] == ["READ", "READ", "RELEASE"]
    fails(errno.EBADF, opened.flush)


def test_what_is_truncated_as_it_is_opened_is_so_by_no_handle(
    ends: tuple[socket.socket, socket.socket], server: Server
) -> None:
    """Where OPEN does not do it: the handle may be for reading only.  It is released if that is refused."""
    asked: list[int] = []

    def init(header: InHeader, body: bytes) -> bytes:
        flags = int.from_bytes(body[12:16], "little") & ~Init.ATOMIC_O_TRUNC
        return server.init(header, body[:12] + flags.to_bytes(4, "little") + body[16:])

    def set_attributes(header: InHeader, body: bytes) -> bytes:
        asked.append(SetAttrIn.decode(body).valid)
        if len(asked) > 1:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return server.setattr(header, body)

    server.override |= {"INIT": init, "SETATTR": set_attributes}
    node = server.nodes[server.add(b"file", b"content")]
    filesystem = FuseFileSystem(ends[0], "test")
    with contextlib.closing(filesystem):
        inode = filesystem.lookup(1, b"file")
        filesystem.open_file(inode, os.O_RDONLY | os.O_TRUNC).close()
        assert (asked, node.content) == ([FAttr.SIZE], b"")
        fails(errno.EPERM, filesystem.open_file, inode, os.O_RDONLY | os.O_TRUNC)
        wait_until(lambda: server.log.count("RELEASE") == server.log.count("OPEN") == 2)


@pytest.mark.parametrize("caches", [True, False])
def test_who_agrees_to_cached_writing_is_asked_by_the_handles_that_there_are(
    ends: tuple[socket.socket, socket.socket], caches: bool
) -> None:
    """Else who only writes has none to read what is there, and who appends none to write where it belongs."""
    server = Server(ends[1])
    server.caches_writes = caches
    server.start()
    mounted = FuseFileSystem(ends[0], "test")
    inode = mounted.lookup(1, server_name(server))
    opened = mounted.open_file(inode, os.O_WRONLY | os.O_APPEND)
    assert not opened.reads
    assert content(mounted, inode) == b"content"
    save(mounted, inode, b"CONTENT")
    assert [name for name in server.log if name == "OPEN"] == ["OPEN"] * (1 if caches else 3)
    assert server.nodes[inode_of(server)].content == b"CONTENT"
    opened.close()
    mounted.close()


def inode_of(server: Server) -> int:
    """The node of that file."""
    return server.nodes[1].children[b"file"]


def server_name(server: Server, data: bytes = b"content") -> bytes:
    """The name of a file that it has now."""
    server.add(b"file", data)
    return b"file"


def test_what_the_server_is_not_done_with_is_not_forgotten(server: Server, mounted: FuseFileSystem) -> None:
    releasing: list[int] = []
    server.override["RELEASE"] = lambda header, body: releasing.append(header.unique)
    server.add(b"file", b"content")
    file = mounted.lookup(1, b"file")
    assert content(mounted, file) == b"content"
    mounted.forget(file)
    wait_until(lambda: releasing)
    mounted.attributes(1)
    assert not server.forgotten
    server.socket.send(OutHeader(OutHeader.width(), 0, releasing[0]).encode())
    wait_until(lambda: server.forgotten)


def test_a_number_that_a_server_uses_again_is_another_inode(server: Server, mounted: FuseFileSystem) -> None:
    server.add(b"old")
    old = mounted.lookup(1, b"old")
    mounted.remove(1, b"old")
    mounted.forget(old)
    del server.nodes[2]
    assert server.add(b"new") == 2
    assert mounted.lookup(1, b"new") != old


def test_a_server_that_dies_fails_all_who_wait_and_all_who_ask_later(
    server: Server, mounted: FuseFileSystem
) -> None:
    mounted.attributes(1)
    server.override["GETATTR"] = lambda header, body: None
    errors: list[int | None] = []

    def ask() -> None:
        try:
            mounted.attributes(1)
        except OSError as error:
            errors.append(error.errno)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.log.count("GETATTR") == 6)  # all of them wait
    server.socket.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)
    assert errors == [errno.ECONNABORTED] * 5
    fails(errno.ENOTCONN, mounted.lookup, 1, b"file")


@pytest.mark.parametrize(
    "garbage",
    [b"x", bytes(16), OutHeader(16, 0, 4242).encode(), OutHeader(17, -5, 2).encode() + b"y", bytes(100_000)],
)
def test_a_server_that_lies_loses_its_connection(
    server: Server, mounted: FuseFileSystem, garbage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    mounted.attributes(1)

    def lie(header: Any, body: bytes) -> None:
        server.socket.send(garbage)

    server.override["GETATTR"] = lie
    fails(errno.ECONNABORTED, mounted.attributes, 1)
    fails(errno.ENOTCONN, mounted.attributes, 1)


def test_what_may_not_be_written_any_more_is_saved(server: Server, mounted: FuseFileSystem) -> None:
    from diorama.fuse.handles import OpenOut

    def open_as_the_mode_says(header: Any, body: bytes) -> bytes:
        if body[0] & os.O_WRONLY and not server.nodes[header.nodeid].mode & 0o200:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return OpenOut(fh=8).encode()

    server.override["OPEN"] = open_as_the_mode_says
    file = mounted.make(1, b"file", Attributes(stat.S_IFREG | 0o444))
    save(mounted, file, b"content")
    assert (server.nodes[2].content, server.nodes[2].mode) == (b"content", stat.S_IFREG | 0o444)


class Interrupted:
    """Somebody who asks and has a signal."""

    pid = 1
    credentials = Credentials(0, 0)

    def is_interrupted(self) -> bool:
        return True

    def is_killed(self) -> bool:
        return False

    def step_aside(self) -> None:
        return


def test_a_server_that_reads_nothing_keeps_nobody_who_has_a_signal(
    server: Server, mounted: FuseFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def stall(header: Any, body: bytes) -> None:
        release.wait(20)

    server.override["GETATTR"] = stall
    waiting = threading.Thread(target=_try, args=(mounted.attributes, 1))
    waiting.start()
    wait_until(lambda: "GETATTR" in server.log)
    room = 60_000
    _fill(mounted._channel._socket, room)
    monkeypatch.setattr("diorama.modules.filesystems.fuse.channel.asker", Interrupted)
    fails(errno.EINTR, mounted.set_xattr, 1, b"user.a", bytes(room))
    mounted.close()
    release.set()
    waiting.join(10)
    assert not waiting.is_alive()


def _try(call: Any, *arguments: Any) -> None:
    with contextlib.suppress(OSError):
        call(*arguments)


def _fill(sock: socket.socket, size: int) -> None:
    """Leave no room for a message of this size, with what has no answer."""
    message = InHeader(InHeader.width() + size, 2, 2).encode() + bytes(size)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(message, socket.MSG_DONTWAIT)


def test_errors_of_the_server_are_those_of_the_program(server: Server, mounted: FuseFileSystem) -> None:
    file = mounted.make(1, b"file", REGULAR)
    for code in (errno.EIO, errno.EACCES, errno.ENOSPC, 511):
        server.override["WRITE"] = lambda header, body, code=code: _raise(code)
        fails(code, save, mounted, file, b"data")


def test_a_short_write_is_continued_and_a_silly_one_is_an_error(
    server: Server, mounted: FuseFileSystem
) -> None:
    from diorama.fuse.handles import WriteIn, WriteOut

    def short(header: Any, body: bytes) -> bytes:
        wanted = WriteIn.decode(body)
        take = min(wanted.size, 3)
        server.write(header, body[: WriteIn.width() + take])
        return WriteOut(size=take).encode()

    file = mounted.make(1, b"file", REGULAR)
    server.override["WRITE"] = short
    save(mounted, file, b"0123456789")
    assert server.nodes[2].content == b"0123456789"
    server.override["WRITE"] = lambda header, body: WriteOut(size=0).encode()
    fails(errno.EIO, save, mounted, file, b"data")


def test_closing_ends_the_server(server: Server, mounted: FuseFileSystem) -> None:
    mounted.attributes(1)
    mounted.close()
    server.thread.join(10)
    assert not server.thread.is_alive()
