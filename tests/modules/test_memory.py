"""The memory file system by itself: what it keeps, and what it says no to."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import pytest

from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Changes, Entry
from diorama.modules.filesystems.memory import MemoryFileSystem
from diorama.modules.sources import make_mount

REGULAR = Attributes(stat.S_IFREG | 0o640, uid=1, gid=2, modified=10)
DIRECTORY = Attributes(stat.S_IFDIR | 0o755, links=2, modified=10)


@pytest.fixture
def memory() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
def scratch() -> Iterator[int]:
    fd = os.memfd_create("scratch")
    yield fd
    os.close(fd)


def code(function: object, *args: object) -> int | None:
    try:
        function(*args)  # type: ignore[operator]
    except OSError as error:
        return error.errno
    return None


def test_it_is_a_mount_of_its_own_kind() -> None:
    mount = make_mount("memory:", "mode=1777")
    assert mount.filesystem is not None
    assert mount.filesystem.attributes(1).mode == stat.S_IFDIR | 0o1777
    assert (mount.type, mount.source, mount.read_only) == ("memory", "memory:", False)
    assert make_mount("memory:", "ro").read_only
    for source, options in (("memory:x", ()), ("memory:", ("mode=9",)), ("memory:", ("size=1G",))):
        with pytest.raises(UsageError):
            make_mount(source, *options)


def test_each_is_another() -> None:
    one, two = MemoryFileSystem(), MemoryFileSystem()
    one.make(1, b"a", REGULAR)
    assert two.entries(1) == []


def test_what_is_made_is_found(memory: MemoryFileSystem) -> None:
    file = memory.make(1, b"file", REGULAR)
    link = memory.make(1, b"link", Attributes(stat.S_IFLNK | 0o777), b"target")
    sub = memory.make(1, b"sub", DIRECTORY)
    memory.make(sub, b"inner", DIRECTORY)
    assert memory.lookup(1, b"file") == file
    assert memory.readlink(link) == b"target"
    assert memory.attributes(link).size == 6
    assert memory.entries(1) == [
        Entry(b"file", file, stat.S_IFREG),
        Entry(b"link", link, stat.S_IFLNK),
        Entry(b"sub", sub, stat.S_IFDIR),
    ]
    assert (memory.attributes(1).links, memory.attributes(sub).links) == (3, 3)
    found = memory.attributes(file)
    assert (found.uid, found.gid, found.modified, found.created) == (1, 2, 10, 10)


def test_what_cannot_be_is_refused(memory: MemoryFileSystem) -> None:
    file = memory.make(1, b"file", REGULAR)
    sub = memory.make(1, b"sub", DIRECTORY)
    memory.make(sub, b"x", REGULAR)
    assert code(memory.make, 1, b"file", REGULAR) == errno.EEXIST
    assert code(memory.link, file, 1, b"sub") == errno.EEXIST
    assert code(memory.lookup, 1, b"none") == errno.ENOENT
    assert code(memory.lookup, file, b"x") == errno.ENOTDIR
    assert code(memory.remove, 1, b"sub") == errno.ENOTEMPTY
    assert code(memory.rename, 1, b"file", 1, b"sub") == errno.ENOTEMPTY
    assert code(memory.readlink, file) == errno.EINVAL
    assert code(memory.get_xattr, file, b"user.a") == errno.ENODATA
    assert code(memory.remove_xattr, file, b"user.a") == errno.ENODATA
    assert code(memory.attributes, 99) == errno.ESTALE
    memory.remove(sub, b"x")
    memory.remove(1, b"sub")
    assert code(memory.make, sub, b"y", REGULAR) == errno.ENOENT


def test_links_are_counted_and_the_last_one_leaves_the_file_until_it_is_forgotten(
    memory: MemoryFileSystem,
) -> None:
    file = memory.make(1, b"a", REGULAR)
    memory.link(file, 1, b"b")
    assert memory.attributes(file).links == 2
    memory.remove(1, b"a")
    memory.rename(1, b"b", 1, b"c")
    assert memory.attributes(file).links == 1
    memory.remove(1, b"c")
    assert memory.attributes(file).links == 0
    memory.forget(file)
    assert code(memory.attributes, file) == errno.ESTALE


def test_directories_move_with_what_is_in_them(memory: MemoryFileSystem) -> None:
    a, b = memory.make(1, b"a", DIRECTORY), memory.make(1, b"b", DIRECTORY)
    memory.make(a, b"inner", DIRECTORY)
    memory.rename(a, b"inner", b, b"moved")
    assert [memory.attributes(inode).links for inode in (1, a, b)] == [4, 2, 3]
    file = memory.make(1, b"file", REGULAR)
    memory.exchange(1, b"file", b, b"moved")
    assert memory.lookup(b, b"moved") == file
    assert [memory.attributes(inode).links for inode in (1, b)] == [5, 2]


def test_a_file_without_a_name_can_get_one(memory: MemoryFileSystem) -> None:
    inode = memory.make_unnamed(1, REGULAR)
    assert memory.attributes(inode).links == 0
    memory.link(inode, 1, b"name")
    assert memory.attributes(inode).links == 1


def test_a_change_is_dated(memory: MemoryFileSystem) -> None:
    file = memory.make(1, b"file", REGULAR)
    memory.set_attributes(file, Changes(mode=0o600, uid=7, modified=20))
    found = memory.attributes(file)
    assert (found.mode, found.uid, found.gid, found.modified) == (stat.S_IFREG | 0o600, 7, 2, 20)
    assert (found.changed or 0) > 10**18
    memory.set_attributes(file, Changes(accessed=30, changed=40))
    assert (memory.attributes(file).accessed, memory.attributes(file).changed) == (30, 40)


def test_content_comes_back_with_its_holes(memory: MemoryFileSystem, scratch: int) -> None:
    file = memory.make(1, b"file", REGULAR)
    os.pwrite(scratch, b"begin", 0)
    os.pwrite(scratch, b"end", 3 << 20)
    os.ftruncate(scratch, 5 << 20)
    memory.save_content(file, scratch)
    found = memory.attributes(file)
    assert (found.size, found.allocated) == (5 << 20, 8192)
    copy = os.memfd_create("copy")
    memory.copy_content(file, copy)
    assert os.fstat(copy).st_size == 5 << 20
    assert os.fstat(copy).st_blocks == os.fstat(scratch).st_blocks
    assert (os.pread(copy, 5, 0), os.pread(copy, 3, 3 << 20)) == (b"begin", b"end")
    os.close(copy)


def test_the_size_of_what_nobody_has_open_can_be_set(memory: MemoryFileSystem, scratch: int) -> None:
    file = memory.make(1, b"file", REGULAR)
    os.pwrite(scratch, b"0123456789", 0)
    memory.save_content(file, scratch)
    memory.set_attributes(file, Changes(size=4))
    memory.set_attributes(file, Changes(size=8))
    copy = os.memfd_create("copy")
    memory.copy_content(file, copy)
    assert os.pread(copy, 20, 0) == b"0123\0\0\0\0"
    os.close(copy)


def test_extended_attributes_are_kept(memory: MemoryFileSystem) -> None:
    memory.set_xattr(1, b"user.a", b"1")
    memory.set_xattr(1, b"user.a", b"2")
    assert memory.get_xattr(1, b"user.a") == b"2"
    assert memory.list_xattrs(1) == [b"user.a"]
    memory.remove_xattr(1, b"user.a")
    assert memory.list_xattrs(1) == []
