"""Calls that are answered by what a FUSE server has told: as the view would answer, as long as that holds."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.dispatch.files.deciding import Deciding
from diorama.dispatch.files.state import Files
from diorama.engine._native import Left
from diorama.engine.decider import Decider, Verdict, VerdictKind
from diorama.fuse.notices import NotifyInvalEntry
from diorama.fuse.operations import OPERATIONS
from diorama.fuse.wire import Attr, EntryOut
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.view.mounts import Mount, Place
from diorama.view.resolve import ResolutionError
from engine.test_decider import NATIVE, NUMBER
from modules.fuse_server import FOREVER, Server

ASK, RUN, VALUE, GIVE, _ = VerdictKind
DIRECTORY = stat.S_IFDIR | 0o755


@dataclass
class Told:
    """A mount of a server in a view, and what the native library says of it."""

    server: Server
    filesystem: FuseFileSystem
    files: Files
    decider: Decider
    mount: Mount
    point: str

    def ask(self, name: str, *args: object) -> Verdict:
        kept = [ctypes.create_string_buffer(one) if isinstance(one, bytes) else one for one in args]
        raw = [
            one if isinstance(one, int) else ctypes.addressof(one)  # type: ignore[arg-type]
            for one in kept
        ]
        raw = [one & (1 << 64) - 1 for one in raw] + [0] * (6 - len(raw))
        return self.decider.decide(os.getpid(), NATIVE.audit, NUMBER[name], raw)

    def look(self, path: str, *, follow: bool = True) -> Place:
        """As Python does, which lets the server tell what it has."""
        task = self.files.tasks.first(os.getpid())
        place = self.files.resolver.resolve(task, task.root, os.fsencode(self.point + path), follow=follow)
        if not place.missing:
            self.filesystem.attributes(place.inode)
        return place

    def stat(self, path: str, flags: int = 0, dirfd: int = AT_FDCWD) -> tuple[Verdict, dict[str, int]]:
        text = os.fsencode(path if dirfd != AT_FDCWD else self.point + path)
        buffer = ctypes.create_string_buffer(256)
        verdict = self.ask("newfstatat", dirfd, text, buffer, flags)
        return verdict, fields(buffer.raw)

    def kind(self, path: str) -> VerdictKind:
        return self.stat(path)[0].kind

    def stand(self, path: str, directory: Path) -> int:
        """Let a real directory stand for a place; a descriptor of it."""
        fd = os.open(directory, os.O_RDONLY)
        self.files.inodes.add(os.fstat(fd), self.look(path))
        return fd


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.001)


def fields(raw: bytes) -> dict[str, int]:
    at = 24 if NATIVE is Abi.X86_64 else 16
    mode, links = (raw[at : at + 4], raw[16:24]) if NATIVE is Abi.X86_64 else (raw[16:20], raw[20:24])
    seconds = int.from_bytes(raw[88:96], "little", signed=True)
    return {
        "device": int.from_bytes(raw[:8], "little"),
        "number": int.from_bytes(raw[8:16], "little"),
        "mode": int.from_bytes(mode, "little"),
        "links": int.from_bytes(links, "little"),
        "size": int.from_bytes(raw[48:56], "little"),
        "modified": seconds,
    }


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    ours, theirs = make_pair()
    server = Server(theirs, valid=FOREVER).start()
    directory = server.add(b"directory", mode=DIRECTORY)
    server.add(b"inside", b"content", parent=directory)
    server.add(b"link", b"directory/inside", stat.S_IFLNK | 0o777)
    server.add(b"closed", mode=stat.S_IFDIR | 0o711 & ~0o001)
    server.add(b"in", parent=5)
    filesystem = FuseFileSystem(ours, "test")
    files = Files()
    point = tmp_path / "mnt"
    point.mkdir()
    mount = Mount(filesystem=filesystem)
    task = files.tasks.first(os.getpid())
    files.tree.attach(mount, files.resolver.resolve(task, task.root, os.fsencode(point)))
    deciding = Deciding(files)
    filesystem.statistics()  # it has begun
    filesystem.told.open(may_ask=False)  # what is known is tested here, and asking in test_asking
    yield Told(server, filesystem, files, deciding.decider, mount, str(point))
    filesystem.close()
    with socket.socket(fileno=theirs.detach()):
        pass


def test_what_was_told_is_answered(told: Told) -> None:
    assert told.kind("/directory/inside") is ASK
    told.server.nodes[3].mtime = (1 << 64) - 7  # before the epoch
    place = told.look("/directory/inside")
    asked = list(told.server.log)
    verdict, found = told.stat("/directory//./inside")
    assert verdict == Verdict(VALUE)
    assert found == {
        "device": told.mount.st_dev, "number": 3, "mode": stat.S_IFREG | 0o644, "links": 1, "size": 7,
        "modified": -7,
    }  # fmt: skip
    assert told.filesystem.attributes(place.inode).modified == -7 * 10**9
    verdict, found = told.stat("/directory/")
    assert (verdict, found["size"]) == (Verdict(VALUE), 4096)
    assert told.stat("")[1]["mode"] == DIRECTORY
    assert told.server.log == asked


def test_what_is_not_known_or_unsure_is_asked(told: Told) -> None:
    told.look("/directory/inside")
    with suppress(ResolutionError):  # it is root's
        told.look("/closed/in")
    told.look("/link", follow=False)
    for path in ("/directory/../directory", "/link", "/link/", "/directory/inside/", "/directory/inside/x",
                 "/directory/other", "/" + "x" * 300):  # fmt: skip
        assert told.kind(path) is ASK, path
    assert told.stat("/link", AT_SYMLINK_NOFOLLOW)[1]["mode"] == stat.S_IFLNK | 0o777
    # Not everybody may search it; who has no privileges may if it is his own, and this one is root's.
    assert told.kind("/closed/in") is ASK
    assert told.ask("unlinkat", AT_FDCWD, os.fsencode(told.point + "/directory/inside"), 0).kind is ASK
    path = os.fsencode(told.point + "/directory/inside")
    assert told.ask("openat", AT_FDCWD, path, os.O_RDONLY).kind is ASK


def test_what_was_told_to_be_missing_is_missing(told: Told) -> None:
    nothing = EntryOut(entry_valid=FOREVER).encode() + Attr().encode()
    told.server.override["LOOKUP"] = lambda header, body: nothing
    assert told.look("/none").missing
    assert told.stat("/none")[0] == Verdict(VALUE, -errno.ENOENT)
    assert told.stat("/none/below")[0] == Verdict(VALUE, -errno.ENOENT)
    path = os.fsencode(told.point + "/none")
    assert told.ask("openat", AT_FDCWD, path, os.O_RDONLY).value == -errno.ENOENT
    assert told.ask("faccessat", AT_FDCWD, path, os.R_OK).value == -errno.ENOENT
    assert told.ask("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CREAT, 0o644).kind is ASK


def test_what_holds_no_more_is_asked(told: Told) -> None:
    path = "/directory/inside"
    inode = told.look(path).inode
    assert told.kind(path) is VALUE
    told.filesystem.remove(told.look("/directory").inode, b"inside")
    assert told.kind(path) is ASK
    told.look("/link", follow=False)
    assert told.stat("/link", AT_SYMLINK_NOFOLLOW)[0].kind is VALUE
    told.filesystem.rename(1, b"link", 1, b"moved")
    assert told.stat("/link", AT_SYMLINK_NOFOLLOW)[0].kind is ASK
    told.filesystem.forget(inode)
    assert told.kind(path) is ASK


def test_it_holds_as_long_as_the_server_has_said(told: Told) -> None:
    told.server.valid = 0
    told.look("/directory/inside")
    assert told.kind("/directory/inside") is ASK


def test_what_the_view_knows_better_is_asked(told: Told) -> None:
    path = "/directory/inside"
    inode = told.look(path).inode
    told.filesystem.differs(inode, does=True)
    told.look(path)
    assert told.kind(path) is ASK
    told.filesystem.differs(inode, does=False)
    assert told.kind(path) is VALUE


def test_nothing_is_answered_once_the_server_has_said_more_or_is_gone(told: Told) -> None:
    told.look("/directory/inside")
    name = b"directory"
    told.server.notify(3, NotifyInvalEntry(1, len(name)).encode() + name + b"\0")
    assert told.kind("/directory/inside") is ASK  # whether it has been read or not
    asked = told.server.log.count("LOOKUP")

    def is_asked_again() -> bool:
        told.look("/directory/inside")
        return told.server.log.count("LOOKUP") > asked and told.kind("/directory/inside") is VALUE

    wait_until(is_asked_again)
    told.server.socket.shutdown(socket.SHUT_RDWR)
    assert told.kind("/directory/inside") is ASK
    told.filesystem.close()
    assert told.kind("/directory/inside") is ASK


def test_paths_begin_at_what_stands_for_a_directory(told: Told, tmp_path: Path) -> None:
    told.look("/directory/inside")
    fd = told.stand("/directory", tmp_path)
    try:
        assert told.stat("inside", dirfd=fd)[1]["size"] == 7
        assert told.stat("none", dirfd=fd)[0].kind is ASK
        verdict, found = told.stat("", AT_EMPTY_PATH, fd)
        assert (verdict, found["number"]) == (Verdict(VALUE), 2)
        buffer = ctypes.create_string_buffer(256)
        assert told.ask("fstat", fd, buffer) == Verdict(VALUE)
        assert fields(buffer.raw)["number"] == 2
        told.filesystem.differs(told.look("/directory").inode, does=True)
        assert told.ask("fstat", fd, buffer).kind is ASK
    finally:
        os.close(fd)


def test_access_is_told_where_everybody_has_it(told: Told) -> None:
    path = os.fsencode(told.point + "/directory/inside")
    told.look("/directory/inside")
    for mode, expected in ((os.F_OK, VALUE), (os.R_OK, VALUE), (os.W_OK, ASK), (os.X_OK, ASK), (8, ASK)):
        assert told.ask("faccessat", AT_FDCWD, path, mode).kind is expected, mode


def test_extended_status_has_the_ids_of_the_view(told: Told) -> None:
    told.look("/directory/inside")
    buffer = ctypes.create_string_buffer(256)

    def ask(path: str, mask: int) -> VerdictKind:
        return told.ask("statx", AT_FDCWD, os.fsencode(told.point + path), 0, mask, buffer).kind

    assert ask("/directory/inside", 0x7FF) is VALUE
    assert int.from_bytes(buffer.raw[:4], "little") == 0x17FF
    assert int.from_bytes(buffer.raw[8:16], "little") == 0
    assert int.from_bytes(buffer.raw[32:40], "little") == 3
    assert int.from_bytes(buffer.raw[144:152], "little") == told.mount.id
    assert ask("", 0x7FF) is VALUE
    assert int.from_bytes(buffer.raw[8:16], "little") == 0x2000
    assert ask("/directory/inside", 0x4000) is ASK


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_a_handle_that_comes_too_late_is_released(told: Told, *, is_asked_for: bool) -> None:
    tid = threading.get_native_id() if is_asked_for else 0  # it was for nobody any more
    opened = Left(node=3, opcode=OPERATIONS["OPEN"].number, tid=tid, flags=os.O_RDONLY)
    native = told.filesystem.told
    native.open(may_ask=True)
    native.give(opened, 7, 0)
    assert native.given(3, os.O_RDONLY) == ((7, 0) if is_asked_for else None)
    told.filesystem.statistics()  # what was sent before has come
    assert told.server.log.count("RELEASE") == (not is_asked_for)


def test_what_is_mounted_in_it_is_asked(told: Told) -> None:
    told.look("/directory/inside")
    assert told.kind("/directory/inside") is VALUE
    told.files.tree.attach(Mount(host=b"/usr"), told.look("/directory"))
    told.decider = Deciding(told.files).decider
    assert told.kind("/directory/inside") is ASK
