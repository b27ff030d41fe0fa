"""Servers that lie: whatever they send, who asks gets an error or what was said, nobody waits for ever."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diorama.fuse.naming import RenameIn
from diorama.fuse.operations import NOTICES
from diorama.fuse.wire import Attr, DirEnt, InHeader, OutHeader
from diorama.interfaces.filesystem import Attributes, Changes
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from modules.fuse_server import FOREVER, Node, Server

HEAD = OutHeader.width()
SMALL = 1 << 16
KINDS = (
    "length", "unique", "garbage", "error", "short", "long", "other", "huge", "twice", "notice", "silence",
)  # fmt: skip


class Liar(Server):
    """A server some of whose answers, but for the first, are not what they should be."""

    def lie(self, kind: str, seed: int) -> Liar:
        # What it has told may come back.
        self.nodes = defaultdict(lambda: Node(stat.S_IFDIR | 0o755), self.nodes)
        self.kind = kind
        self.rng = random.Random(seed)
        return self

    def answer(self, unique: int, body: bytes = b"", error: int = 0) -> None:
        if self.log[-1] == "INIT" or self.rng.random() < 0.7:
            super().answer(unique, body, error)
            return
        length, code = HEAD + len(body), -error
        with contextlib.suppress(OSError):
            for message in getattr(self, self.kind)(unique, body, length, code):
                self.socket.send(message)

    def rename(self, header: InHeader, body: bytes) -> bytes:
        self.child(header, body[RenameIn.width() :].partition(b"\0")[0])
        return super().rename(header, body)

    def message(self, unique: int, body: bytes, length: int, code: int) -> bytes:
        return OutHeader(length, code, unique).encode() + body

    def length(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        lie = self.rng.choice((0, 1, HEAD - 1, length - 1, length + 1, length * 2, 1 << 31, (1 << 32) - 1))
        return [self.message(unique, body, lie, code), bytes(100_000)]  # more may have been waited for

    def unique(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        return [self.message(self.rng.choice((1, 3, unique + 2, unique + 1, 1 << 63)), body, length, code)]

    def garbage(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        return [self.rng.randbytes(self.rng.choice((1, 15, 16, 17, 40, 5000)))]

    def error(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        lie = self.rng.choice((1, 5, -512, -513, -4095, -5, -(1 << 31), (1 << 31) - 1))
        return [self.message(unique, self.rng.choice((b"", body)), length, lie)]

    def short(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        body = body[: self.rng.randrange(len(body))] if body else body
        return [self.message(unique, body, HEAD + len(body), code)]

    def long(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        body += self.rng.randbytes(self.rng.choice((1, 8, 200, 60_000)))
        return [self.message(unique, body, HEAD + len(body), code)]

    def other(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        """Anything of the right size: types, numbers of nodes, times, sizes up to a limit."""
        if self.log[-1] == "OPEN":
            return [self.message(unique, body, length, code)]  # content of unknown size has no end
        return [self.message(unique, self.rng.randbytes(len(body)), length, code)]

    def huge(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        """One number in it is another."""
        if len(body) < 8 or self.log[-1] in ("OPEN", "CREATE"):
            return [self.message(unique, body, length, code)]
        at = self.rng.randrange(0, len(body) - 7, 4)
        lie = self.rng.choice((0, 1, SMALL, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
        body = body[:at] + lie.to_bytes(8, "little") + body[at + 8 :]
        return [self.message(unique, body, length, code)]

    def twice(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        return [self.message(unique, body, length, code)] * 2

    def notice(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        what = self.rng.choice((*NOTICES, 0, 99, -1))
        record = NOTICES[what].record if what in NOTICES else InHeader
        size = 0 if record is None else record.width()
        told = self.rng.randbytes(size + self.rng.choice((0, 0, 1, 9)))
        return [self.message(0, told, HEAD + len(told), what), self.message(unique, body, length, code)]

    def silence(self, unique: int, body: bytes, length: int, code: int) -> list[bytes]:
        self.socket.shutdown(2)
        return []


def use(filesystem: FuseFileSystem) -> None:
    """Everything once, whatever the answers."""
    found = [filesystem.root]

    def make(kind: int, name: bytes) -> None:
        found.append(filesystem.make(found[-1], name, Attributes(kind | 0o755), b"target"))

    def read(inode: int) -> None:
        if filesystem.attributes(inode).size <= SMALL:
            with contextlib.closing(open(os.memfd_create("content"), "rb+", 0)) as file:
                filesystem.copy_content(inode, file.fileno())
                file.truncate(7)
                filesystem.save_content(inode, file.fileno())

    steps: list[Callable[[], object]] = [
        lambda: found.append(filesystem.lookup(1, b"file")),
        lambda: filesystem.attributes(found[-1]),
        lambda: read(found[-1]),
        lambda: filesystem.entries(1),
        filesystem.statistics,
        lambda: make(stat.S_IFDIR, b"dir"),
        lambda: filesystem.entries(found[-1]),
        lambda: make(stat.S_IFREG, b"new"),
        lambda: make(stat.S_IFLNK, b"link"),
        lambda: filesystem.readlink(found[-1]),
        lambda: filesystem.rename(1, b"file", 1, b"moved"),
        lambda: filesystem.link(found[-1], 1, b"other"),
        lambda: filesystem.set_attributes(found[-1], Changes(mode=0o600, size=3, modified=5)),
        lambda: filesystem.get_xattr(found[-1], b"user.a"),
        lambda: filesystem.list_xattrs(found[-1]),
        lambda: filesystem.remove(1, b"moved"),
        lambda: [filesystem.forget(inode) for inode in found[1:]],
        filesystem.sync,
    ]
    for step in steps:
        with contextlib.suppress(OSError):
            step()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 1 << 30), st.sampled_from((0, FOREVER)))
@example("other", 4, 0)
def test_a_liar_harms_only_itself(kind: str, seed: int, valid: int) -> None:
    ours, theirs = make_pair()
    with ours, theirs:
        server = Liar(theirs, valid).lie(kind, seed)
        server.add(b"file", bytes(10_000))
        server.start()
        filesystem = FuseFileSystem(ours, "liar")
        try:
            for _ in range(3):
                use(filesystem)
        finally:
            filesystem.close()
        server.thread.join(20)
        assert not server.thread.is_alive()


def listing(*entries: DirEnt) -> bytes:
    return b"".join([one.encode() + b"x" + bytes(7) for one in entries])


@pytest.mark.parametrize("offset", [0, 7])
def test_a_listing_without_an_end_is_an_error(offset: int) -> None:
    ours, theirs = make_pair()
    with ours, theirs:
        server = Server(theirs).start()
        server.override["READDIRPLUS"] = lambda header, body: _unknown()
        server.override["READDIR"] = lambda header, body: listing(DirEnt(5, offset, 1, 8))
        filesystem = FuseFileSystem(ours, "liar")
        for _ in range(2):
            with pytest.raises(OSError, match=r"Function not implemented|Input/output error"):
                filesystem.entries(1)
        filesystem.close()


def _unknown() -> bytes:
    raise OSError(38, os.strerror(38))


def test_a_name_that_is_none_is_an_error_of_the_listing() -> None:
    ours, theirs = make_pair()
    with ours, theirs:
        server = Server(theirs).start()
        filesystem = FuseFileSystem(ours, "liar")
        server.override["READDIRPLUS"] = lambda header, body: _unknown()
        server.override["READDIR"] = lambda header, body: DirEnt(5, 1, 3, 8).encode() + b"a/b" + bytes(5)
        with contextlib.suppress(OSError):
            filesystem.entries(1)
        with pytest.raises(OSError, match="Input/output error"):
            filesystem.entries(1)
        assert filesystem.attributes(1).kind == stat.S_IFDIR
        filesystem.close()




@pytest.mark.parametrize("lie", [{"size": 1 << 63}, {"size": (1 << 64) - 1}, {"mode": 0}, {"mode": 0o177777}])
@pytest.mark.parametrize("valid", [0, 60])
def test_a_file_that_cannot_be_is_an_error_of_that_file(lie: dict[str, int], valid: int) -> None:
    """As for the kernel, whose LOOKUP and GETATTR are EIO then; others and its name are there."""
    sock, theirs = make_pair()
    with theirs:
        server = Server(theirs, valid=valid)
        number = server.add(b"file", b"content")
        server.add(b"other", b"content")
        told = server.attr

        def attr(one: int) -> Attr:
            fields = {"ino": one, "size": 7, "mode": stat.S_IFREG | 0o644, "nlink": 1}
            return Attr(**fields | lie) if one == number else told(one)

        server.attr = attr  # type: ignore[method-assign]
        server.start()
        filesystem = FuseFileSystem(sock, "test")
        try:
            for _ in range(2):
                with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                    filesystem.attributes(filesystem.lookup(filesystem.root, b"file"))
                assert [one.name for one in filesystem.entries(filesystem.root)] == [b"file", b"other"]
            assert filesystem.attributes(filesystem.lookup(filesystem.root, b"other")).size == 7
        finally:
            filesystem.close()
