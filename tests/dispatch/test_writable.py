"""The calls that change files do in a file system of ours what they do in a directory of the host."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diorama.abi.fcntl import (
    AT_EACCESS,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    O_PATH,
    O_TMPFILE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    XATTR_CREATE,
    XATTR_REPLACE,
)
from diorama.abi.time import UTIME_NOW, UTIME_OMIT, Times
from diorama.modules.filesystems.memory import MemoryFileSystem
from dispatch.twins import Twins, become

NEW = os.O_CREAT | os.O_RDWR
LONG = "x" * 256
LONG_NAME = b"user." + b"x" * 251


@pytest.fixture(params=[False, True], ids=["opened by the program", "given"])
def twins(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Twins]:
    found = Twins(tmp_path, MemoryFileSystem(), gives=bool(request.param))
    yield found
    found.compare()
    found.close()


def test_names_are_made_and_removed(twins: Twins) -> None:
    do = twins.do
    for name in ("d", "d", "d/", "e/", ".", "..", "d/.", "none/d", LONG, "d/d"):
        do("mkdir", name)
    for name in ("f", "d", "f/x", "n/", ".", LONG):
        do("mknod", name, stat.S_IFREG | 0o640)
    for mode in (stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO | 0o600, stat.S_IFSOCK | 0o755, 0o444):
        do("mknod", f"n{mode:o}", mode)
    for name in ("s", "s", "f", "t/", "d/s"):
        do("symlink", "f", name)
    do("symlink", "", "u")
    do("symlink", "x" * 4096, "u")
    do("symlink", "x" * 4095, "u")
    for name in ("f", "f", "d", "none", "f/", "s/", "s", ".", "..", "", "d/", "u/x"):
        do("unlink", name)
    for name in ("e", "e", "n10600", "d", "d/", ".", "..", "d/d/.", "d/d/..", "d/d"):
        do("unlink", name, AT_REMOVEDIR)
    do("unlink", "d", 1)


def test_files_get_more_names(twins: Twins) -> None:
    do = twins.do
    do("mknod", "f", 0o600)
    do("mkdir", "d")
    do("symlink", "f", "s")
    do("symlink", "none", "dangling")
    for old, new, flags in [
        ("f", "g", 0), ("f", "g", 0), ("f", "d", 0), ("none", "h", 0), ("d", "h", 0), ("f", "h/", 0),
        ("s", "h", 0), ("s", "i", AT_SYMLINK_FOLLOW), ("dangling", "j", AT_SYMLINK_FOLLOW),
        ("dangling", "j", 0), ("f", "none/x", 0), ("f/", "k", 0), ("f", "k", 1), ("f", LONG, 0),
    ]:  # fmt: skip
        do("link", old, new, flags)


def test_names_become_others(twins: Twins) -> None:
    do = twins.do
    for name in ("d", "e", "full"):
        do("mkdir", name)
    for name in ("f", "g", "full/x", "d/y"):
        do("mknod", name, 0o600)
    do("link", "f", "same")
    do("symlink", "f", "s")
    for old, new, flags in [
        ("f", "same", 0), ("none", "x", 0), ("f", "d", 0), ("d", "f", 0), ("d", "full", 0), ("d", "d", 0),
        ("d", "d/e", 0), ("d", "d/y", 0), ("d/y", "d", 0), ("f", "f/x", 0), ("f/", "x", 0), ("f", "x/", 0),
        ("d/", "x/", 0), ("x", "d", 0), (".", "x", 0), ("d", ".", 0), ("d", "..", RENAME_NOREPLACE),
        ("f", "g", RENAME_NOREPLACE), ("f", "h", RENAME_NOREPLACE), ("h", "f", 8),
        ("h", "d", RENAME_EXCHANGE), ("d", "h", RENAME_EXCHANGE), ("d", "none", RENAME_EXCHANGE),
        ("d", "d/y", RENAME_EXCHANGE), ("d/y", "d", RENAME_EXCHANGE), ("d", "h", 3), ("s", "t", 0),
        ("d", "e", 0), ("e", "full/e", 0), ("full/e/y", "full/x", 0), ("g", LONG, 0),
        ("full", "full/e", 0), ("full/e", "full", 0),
    ]:  # fmt: skip
        do("rename", old, new, flags)
        twins.compare()


def test_attributes_change(twins: Twins) -> None:
    do = twins.do
    do("mknod", "f", 0o600)
    do("mkdir", "d", 0o7777)
    do("symlink", "f", "s")
    do("chmod", "s", 0o600, AT_SYMLINK_NOFOLLOW)
    do("chmod", "f", 0o644, 1)
    for name in ("f", "d", "s", "none", ""):
        for mode in (0, 0o6755, 0o107777):
            do("chmod", name, mode)
            do("shown", name)
    me, mine = os.geteuid(), os.getegid()
    do("chmod", "f", 0o6755)
    for owner in ((-1, -1), (me, mine), (me, -1), (-1, mine), (me + 1, -1), (-1, mine + 1)):
        do("chown", "f", *owner)
        do("shown", "f")
        do("chown", "s", *owner, AT_SYMLINK_NOFOLLOW)
    for size in (10, 5000, 3, -1, 1 << 40, 0):
        do("truncate", "f", size)
        do("shown", "f")
    for name in ("d", "s", "none"):
        do("truncate", name, 1)
    for mode in range(9):
        do("access", "f", mode)
        do("access", "d", mode, AT_EACCESS)


def test_times_change(twins: Twins) -> None:
    do = twins.do
    do("mknod", "f", 0o600)
    do("symlink", "f", "s")
    times = Times(981173106, 123456789, 1234567890, 987654321)
    for name in ("f", "s", "none"):
        do("utimes", name, times)
        do("utimes", name, times.replace(atime_nsec=UTIME_OMIT), AT_SYMLINK_NOFOLLOW)
    for name in ("f", "s"):
        for side in (twins.real, twins.virtual):
            status = side.stat(name, 0)
            assert (status.st_mtime, status.st_mtime_nsec) == (1234567890, 987654321)
            assert (status.st_atime, status.st_atime_nsec) == (981173106, 123456789)
    do("utimes", "f", times.replace(mtime_nsec=10**9))
    do("utimes", "f", times.replace(atime_nsec=UTIME_NOW, mtime_nsec=UTIME_NOW))
    do("utimes", "none", times.replace(atime_nsec=UTIME_OMIT, mtime_nsec=UTIME_OMIT))
    before = twins.virtual.stat("f")
    assert before.st_mtime > 1234567890
    do("utimes", "f", None)


def test_what_is_written_moves_the_times(twins: Twins) -> None:
    old = Times(1, 0, 2, 0)
    for side in (twins.real, twins.virtual):
        side.mkdir("d")
        side.utimes("d", old)
        at = side.open("d/f", NEW)
        assert side.stat("d").st_mtime > 2
        side.utimes("d/f", old)
        assert side.stat("d/f").st_mtime == 2
        changed = side.stat("d/f")
        side.write(at, b"x", 0)
        status = side.stat("d/f")
        assert status.st_mtime > 2
        assert (status.st_ctime, status.st_ctime_nsec) >= (changed.st_ctime, changed.st_ctime_nsec)
        side.utimes("d/f", Times(5, 0, 9, 0))
        side.read(at)
        status = side.stat("d/f")
        assert status.st_mtime == 9
        assert status.st_atime > 5
        side.utimes("d", old)
        side.rename("d/f", "d/g")
        assert side.stat("d").st_mtime > 2


def test_files_are_opened(twins: Twins) -> None:
    do = twins.do
    do("mkdir", "d")
    do("symlink", "new", "s")
    do("symlink", "d", "sd")
    do("symlink", "loop", "loop")
    excl, both = os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_DIRECTORY
    for name, flags in [
        ("f", os.O_RDONLY), ("f", os.O_CREAT), ("f", excl), ("g/", os.O_CREAT), ("d", os.O_CREAT),
        ("d", os.O_WRONLY), ("d", os.O_TRUNC), ("d", excl), ("d/", NEW), ("f/", os.O_RDONLY), ("f/", NEW),
        ("none/x", NEW), ("f/x", NEW), ("s", os.O_RDONLY), ("s", excl), ("s", os.O_NOFOLLOW),
        ("s", NEW), ("s", os.O_NOFOLLOW | os.O_CREAT), ("sd", NEW), ("sd", os.O_DIRECTORY),
        ("f", os.O_DIRECTORY), ("d", os.O_DIRECTORY | os.O_RDWR), ("f", both), ("x", both), (LONG, NEW),
        ("d", O_TMPFILE | os.O_RDWR), ("d", O_TMPFILE), ("f", O_TMPFILE | os.O_RDWR), ("loop", NEW),
        ("f", O_PATH), ("s", O_PATH | os.O_NOFOLLOW), ("d", O_PATH), ("none", O_PATH | os.O_CREAT),
        ("f", os.O_RDWR | os.O_TRUNC), ("f", os.O_WRONLY | os.O_APPEND), ("f", os.O_RDONLY | os.O_TRUNC),
        ("f", os.O_RDWR | os.O_SYNC | os.O_NONBLOCK), ("f", os.O_NOATIME), ("f", os.O_ACCMODE), ("", NEW),
    ]:  # fmt: skip
        do("open", name, flags)
    twins.compare()


def test_an_open_file_outlives_its_names(twins: Twins) -> None:
    do = twins.do
    at = do("open", "f", NEW)
    do("write", at, b"content", 0)
    do("rename", "f", "g")
    do("link", "g", "h")
    do("unlink", "g")
    do("fstat", at)
    other = do("open", "h", os.O_RDWR)
    do("write", other, b"more", 10)
    do("read", at)
    do("unlink", "h")
    do("fstat", at)
    do("resize", at, 4)
    do("read", other)
    do("fchmod", at, 0o400)
    do("fstat", other)
    do("open", "g", NEW)
    do("read", 2)
    for side in (twins.real, twins.virtual):
        assert side.link_of(other).endswith(b"/h (deleted)")


def test_what_programs_write_clears_the_special_bits(twins: Twins) -> None:
    do = twins.do
    for mode in (0o6777, 0o2767, 0o4000):
        at = do("open", f"f{mode:o}", NEW)
        do("chmod", f"f{mode:o}", mode)
        do("write", at, b"x", 0)
        do("shown", f"f{mode:o}")
        do("chmod", f"f{mode:o}", mode)
        do("truncate", f"f{mode:o}", 0)
        do("shown", f"f{mode:o}")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="devices are root's to make")
def test_a_device_is_no_new_file_and_no_directory(twins: Twins) -> None:
    twins.do("mknod", "c", stat.S_IFCHR | 0o600)
    for flags in (os.O_CREAT | os.O_EXCL, os.O_DIRECTORY, os.O_CREAT | os.O_DIRECTORY):
        twins.do("open", "c", flags)


def test_extended_attributes(twins: Twins) -> None:
    do = twins.do
    do("mknod", "f", 0o600)
    do("mkdir", "d")
    do("symlink", "f", "s")
    do("mknod", "p", stat.S_IFIFO | 0o600)
    for name in ("f", "d", "s", "p", "none"):
        for attribute in (b"user.a", b"other.a", b"user", b"", LONG_NAME, b"trusted.a", b"system.a"):
            do("set_xattr", name, attribute, b"value")
            do("get_xattr", name, attribute)
        do("get_xattr", name, b"user.none")
        do("list_xattrs", name)
    do("set_xattr", "f", b"user.a", b"", XATTR_CREATE)
    do("set_xattr", "f", b"user.b", b"", XATTR_REPLACE)
    do("set_xattr", "f", b"user.b", b"", XATTR_CREATE)
    do("set_xattr", "f", b"user.a", b"longer", XATTR_REPLACE)
    do("set_xattr", "f", b"user.a", b"x", 4)
    do("set_xattr", "f", b"user.big", b"x" * 70000)
    do("get_xattr", "f", b"user.a", 3)
    do("get_xattr", "f", b"user.a", 0)
    for attribute in (b"user.a", b"user.a", b"user.none", b"bad"):
        do("remove_xattr", "f", attribute)


# -- as somebody else -----------------------------------------------------------------------------


def _in_thread(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755, 0o770, 0o700, 0o711, 0o3777, 0o776])
def test_a_stranger_may_do_what_the_kernel_lets_him(mode: int) -> None:
    def work(base: str) -> None:
        twins = Twins(Path(base), MemoryFileSystem())
        do = twins.do
        os.chmod(base, 0o755)
        do("mkdir", "d")
        do("mkdir", "d/theirs", 0o777)
        for name, permissions in (("d/a", 0o644), ("d/b", 0o666), ("d/c", 0o600), ("d/u", 0o6777)):
            do("mknod", name, permissions)
            do("chmod", name, permissions)
        do("mknod", "d/mine", 0o640)
        do("chown", "d/mine", 4242, 4242)
        do("chown", "d", 10, 4243)
        do("chmod", "d", mode)
        become(4242, 4242)
        _try_everything(twins)
        become(0, 0)
        twins.compare()
        twins.close()

    # Strangers may not search the directories of pytest.
    with tempfile.TemporaryDirectory() as base:
        _in_thread(lambda: work(base))


def _try_everything(twins: Twins) -> None:
    do = twins.do
    times = Times(1, 0, 2, 0)
    for name in ("d", "d/a", "d/b", "d/c", "d/u", "d/mine", "d/theirs"):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_NOATIME, os.O_TRUNC, O_PATH):
            do("open", name, flags)
        for wanted in range(8):
            do("access", name, wanted, AT_EACCESS)
        do("chmod", name, 0o2755)
        do("shown", name)
        do("chown", name, 4242, -1)
        do("chown", name, -1, 4242)
        do("chown", name, -1, 4244)
        do("chown", name, -1, -1)
        do("utimes", name, None)
        do("utimes", name, times)
        do("truncate", name, 1)
        do("shown", name)
        do("set_xattr", name, b"user.a", b"x")
        do("get_xattr", name, b"user.a")
        do("set_xattr", name, b"trusted.a", b"x")
        do("link", name, f"{name}2")
    do("mkdir", "d/new", 0o2777)
    do("open", "d/file", NEW, 0o2777)
    do("write", -1, b"x", 0)
    do("open", "d/new/file", NEW, 0o6777)
    do("mknod", "d/device", stat.S_IFCHR | 0o600, 259)
    for name in ("d/new", "d/file", "d/new/file"):
        do("shown", name)
    do("rename", "d/a", "d/b")
    do("rename", "d/mine", "d/b")
    do("rename", "d/theirs", "d/new/theirs")
    do("rename", "d/new", "d/theirs/new")
    do("rename", "d/a", "d/mine", RENAME_EXCHANGE)
    for name in ("d/a", "d/b", "d/mine", "d/file"):
        do("unlink", name)
    for name in ("d/theirs", "d/new"):
        do("unlink", name, AT_REMOVEDIR)


# -- at random ------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "a/b/c", "a/..", "b/.", "c/"])
MODES = st.sampled_from([0o777, 0o644, 0o4755, 0o2770, 0o1777, 0])
FLAGS = st.sampled_from([0, RENAME_NOREPLACE, RENAME_EXCHANGE])
OPENING = st.sampled_from(
    [os.O_RDONLY, os.O_RDWR, NEW, NEW | os.O_EXCL, NEW | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_CREAT]
).map(lambda flags: flags | os.O_NONBLOCK)  # a FIFO would wait for its other end
WHICH = st.integers(0, 3)
OPERATIONS = st.one_of(
    st.tuples(st.just("mkdir"), NAMES, MODES),
    st.tuples(st.just("mknod"), NAMES, st.sampled_from([0o644, stat.S_IFIFO | 0o600])),
    st.tuples(st.just("symlink"), NAMES, NAMES),
    st.tuples(st.just("link"), NAMES, NAMES, st.sampled_from([0, AT_SYMLINK_FOLLOW])),
    st.tuples(st.just("unlink"), NAMES, st.sampled_from([0, AT_REMOVEDIR])),
    st.tuples(st.just("rename"), NAMES, NAMES, FLAGS),
    st.tuples(st.just("chmod"), NAMES, MODES),
    st.tuples(st.just("truncate"), NAMES, st.integers(0, 9000)),
    st.tuples(st.just("open"), NAMES, OPENING, MODES),
    st.tuples(st.just("close"), WHICH),
    st.tuples(st.just("write"), WHICH, st.binary(min_size=1, max_size=8), st.integers(0, 5000)),
    st.tuples(st.just("read"), WHICH),
    st.tuples(st.just("resize"), WHICH, st.integers(0, 5000)),
    st.tuples(st.just("fchmod"), WHICH, MODES),
    st.tuples(st.just("fstat"), WHICH),
    st.tuples(st.just("set_xattr"), NAMES, st.just(b"user.x"), st.binary(max_size=4)),
    st.tuples(st.just("shown"), NAMES),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=st.lists(OPERATIONS, min_size=5, max_size=40))
def test_any_sequence_of_calls_leaves_the_same(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, ...]]
) -> None:
    twins = Twins(tmp_path_factory.mktemp("twins"), MemoryFileSystem())
    try:
        for name, *args in operations:
            twins.do(name, *args)
        twins.compare()
    finally:
        twins.close()
