"""Classes written for fusepy and mfusepy as file systems: both conventions, and what a class leaves out."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from diorama.interfaces.filesystem import Attributes, Changes
from diorama.modules.filesystems.operations import OperationsFileSystem, is_operations
from diorama.modules.filesystems.python import open_python
from diorama.modules.sources import make_mount

NAMES = (
    "chmod",
    "create",
    "getxattr",
    "mkdir",
    "open",
    "read",
    "readlink",
    "rename",
    "statfs",
    "utimens",
    "write",
)


@pytest.fixture
def base() -> Iterator[type]:
    """The base class of fusepy, whose methods all fail, and its own kind of error."""
    module = ModuleType("fuse")

    def fail(*_: Any) -> Any:
        raise AssertionError("an operation that the class does not have was called")

    module.Operations = type("Operations", (), {"__module__": "fuse"} | dict.fromkeys(NAMES, fail))  # type: ignore[attr-defined]
    sys.modules["fuse"] = module
    yield module.Operations  # type: ignore[attr-defined]
    del sys.modules["fuse"]


class FuseOSError(OSError):
    """As in fusepy: no FileNotFoundError, whatever its number."""

    def __init__(self, code: int) -> None:
        super().__init__(code, os.strerror(code))


class Reading:
    """One file, in the way of fusepy: dictionaries of seconds, lists of names, errors raised."""

    def __init__(self) -> None:
        self.released: list[int] = []

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != "/file":
            raise FuseOSError(errno.ENOENT)
        mode = stat.S_IFREG | 0o640
        return {"st_mode": mode, "st_size": 200_000, "st_mtime": 1.5, "st_uid": 7, "st_blocks": 8}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", "file"]

    def open(self, path: str, flags: int) -> int:
        return 42

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        assert fh == 42
        assert size <= 128 << 10
        return bytes(min(size, 200_000 - offset))

    def release(self, path: str, fh: int) -> int:
        self.released.append(fh)
        return 0


class Writing:
    """Any files, in the way of mfusepy: nanoseconds, tuples, and negative numbers for errors."""

    use_ns = True

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.modes: dict[str, int] = {}
        self.times: dict[str, tuple[int, int]] = {}

    def getattr(self, path: str, fh: int | None = None) -> Any:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755}
        if path not in self.files:
            return -errno.ENOENT
        modified = self.times.get(path, (0, 0))[1]
        mode = self.modes.get(path, stat.S_IFREG | 0o644)
        return {"st_mode": mode, "st_size": len(self.files[path]), "st_mtime": modified}

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        for name in self.files:
            yield name[1:], {"st_mode": stat.S_IFREG}, 0

    def create(self, path: str, mode: int, fi: int | None = None) -> int:
        self.files[path] = bytearray()
        return 1

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        del self.files[path][length:]
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self.files[path][offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self.files[path][offset : offset + len(data)] = data
        return len(data)

    def unlink(self, path: str) -> int:
        return 0 if self.files.pop(path, None) is not None else -errno.ENOENT

    def rename(self, old: str, new: str) -> int:
        self.files[new] = self.files.pop(old)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self.modes[path] = mode
        return 0

    def utimens(self, path: str, times: tuple[int, int]) -> int:
        self.times[path] = times
        return 0

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        return name.encode()


def content(filesystem: OperationsFileSystem, inode: int) -> bytes:
    fd = os.memfd_create("content")
    try:
        filesystem.copy_content(inode, fd)
        return os.pread(fd, 1 << 24, 0)
    finally:
        os.close(fd)


def save(filesystem: OperationsFileSystem, inode: int, data: bytes) -> None:
    fd = os.memfd_create("content")
    try:
        os.write(fd, data)
        filesystem.save_content(inode, fd)
    finally:
        os.close(fd)


def test_a_class_that_reads_is_read_only() -> None:
    operations = Reading()
    filesystem = OperationsFileSystem(operations)
    assert not filesystem.writable
    (entry,) = filesystem.entries(1)
    assert (entry.name, entry.kind) == (b"file", stat.S_IFREG)
    file = filesystem.lookup(1, b"file")
    found = filesystem.attributes(file)
    assert (found.mode, found.size, found.modified) == (stat.S_IFREG | 0o640, 200_000, 1_500_000_000)
    assert (found.uid, found.allocated) == (7, 4096)
    assert content(filesystem, file) == bytes(200_000)
    assert filesystem.read(file, 199_990, 100) == bytes(10)
    assert operations.released == [42, 42]
    with pytest.raises(FileNotFoundError):
        filesystem.lookup(1, b"missing")


def test_a_class_that_writes() -> None:
    operations = Writing()
    filesystem = OperationsFileSystem(operations)
    assert filesystem.writable
    file = filesystem.make(1, b"file", Attributes(stat.S_IFREG | 0o600))
    assert operations.modes["/file"] == stat.S_IFREG | 0o600
    save(filesystem, file, b"x" * 300_000)
    save(filesystem, file, b"short")
    assert content(filesystem, file) == b"short"
    filesystem.set_attributes(file, Changes(modified=123, accessed=45))
    assert (operations.times["/file"], filesystem.attributes(file).modified) == ((45, 123), 123)
    filesystem.rename(1, b"file", 1, b"moved")
    assert filesystem.lookup(1, b"moved") == file
    assert filesystem.get_xattr(file, b"user.a") == b"user.a"
    filesystem.remove(1, b"moved")
    assert filesystem.entries(1) == []


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda fs, file: fs.make(1, b"d", Attributes(stat.S_IFDIR | 0o755)), errno.EPERM),
        (lambda fs, file: fs.make(1, b"l", Attributes(stat.S_IFLNK | 0o777), b"x"), errno.EPERM),
        (lambda fs, file: fs.set_attributes(file, Changes(uid=5)), errno.EPERM),
        (lambda fs, file: fs.set_xattr(file, b"user.a", b"x"), errno.EOPNOTSUPP),
    ],
)
def test_what_a_class_leaves_out_is_an_error(call: Any, code: int) -> None:
    filesystem = OperationsFileSystem(Writing())
    file = filesystem.make(1, b"file", Attributes(stat.S_IFREG | 0o644))
    with pytest.raises(OSError, match=r".") as caught:
        call(filesystem, file)
    assert caught.value.errno == code


def test_what_only_the_base_class_has_is_missing(base: type) -> None:
    kind = type("Mine", (base,), {"getattr": Reading.getattr, "readdir": Reading.readdir})
    filesystem = OperationsFileSystem(kind())
    assert is_operations(kind())
    assert (filesystem.writable, filesystem.lazy_above) == (False, None)
    assert filesystem.statistics().blocks == 0


def test_changes_that_only_the_base_class_has_are_refused_as_it_does(base: type) -> None:
    own = {name: value for name, value in vars(Writing).items() if name in ("getattr", "readdir", "write")}
    operations = type("Mine", (base,), own | {"files": {"/file": bytearray()}, "times": {}, "modes": {}})()
    filesystem = OperationsFileSystem(operations)
    file = filesystem.lookup(1, b"file")
    for change in (Changes(mode=0o600), Changes(uid=5)):
        with pytest.raises(OSError, match=r".") as caught:
            filesystem.set_attributes(file, change)
        assert caught.value.errno == (errno.EROFS if change.mode else errno.EPERM)
    filesystem.set_attributes(file, Changes(modified=5))
    with pytest.raises(OSError, match="Function not implemented"):
        filesystem.readlink(file)


class Prefixed(Writing):
    """In the way of fusepy's own example: all paths are put below another by calling the object."""

    def __call__(self, name: str, path: str, *arguments: Any) -> Any:
        inside = f"/inside{path}" if path != "/" or name != "getattr" else path
        return getattr(self, name)(inside, *arguments)

    def readdir(self, path: str, fh: int) -> Iterator[Any]:
        yield from [("file", None, 0)]


@pytest.mark.parametrize("package", ["fuse", "mfusepy"])
def test_an_object_that_can_be_called_is_unless_it_is_mfusepy_s(package: str) -> None:
    base = type("Operations", (), {"__module__": package})
    operations = type("Mine", (Prefixed, base), {})()
    operations.files = {"/inside/file": bytearray(b"right"), "/file": bytearray(b"direct")}
    filesystem = OperationsFileSystem(operations)
    expected = b"right" if package == "fuse" else b"direct"
    assert content(filesystem, filesystem.lookup(1, b"file")) == expected


def test_methods_of_the_object_alone_count(base: type) -> None:
    operations = type("Mine", (base,), {"getattr": Reading.getattr, "readdir": Reading.readdir})()
    operations.readlink = lambda path: "target"
    assert OperationsFileSystem(operations).target("link") == "target"


class Raw(Writing):
    """With an open file in the place of a handle."""

    def open(self, path: str, fi: Any) -> int:  # type: ignore[override]
        assert fi.flags in (os.O_RDONLY, os.O_WRONLY)
        fi.fh = 7
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        assert stat.S_ISREG(mode)
        fi.fh = 7
        return super().create(path, mode) - 1

    def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
        assert fh.fh == 7
        return super().read(path, size, offset, fh)

    def write(self, path: str, data: bytes, offset: int, fh: Any) -> int:
        assert fh.fh == 7
        return super().write(path, data, offset, fh)


def test_raw_fi() -> None:
    filesystem = OperationsFileSystem(Raw(), raw_fi=True)
    file = filesystem.make(1, b"file", Attributes(stat.S_IFREG | 0o600))
    save(filesystem, file, b"hello")
    assert content(filesystem, file) == b"hello"


def test_a_listing_with_offsets() -> None:
    operations = Reading()
    told: list[tuple[str, int, int]] = []

    def readdir_with_offset(path: str, offset: int, fh: int) -> list[tuple[str, dict[str, int], int]]:
        told.append((path, offset, fh))
        return [("file", {"st_mode": stat.S_IFREG}, 1)]

    kind = type("Mine", (), {"getattr": operations.getattr})
    mine = kind()
    mine.readdir_with_offset = readdir_with_offset
    assert [entry.name for entry in OperationsFileSystem(mine).entries(1)] == [b"file"]
    assert told == [("/", 0, 0)]


ONE_THREAD = """
import threading

class Mine:
    def __init__(self): self.thread = threading.get_ident()
    def getattr(self, path, fh=None):
        assert threading.get_ident() == self.thread
        if path not in ("/", "/name"): raise FileNotFoundError
        return {"st_mode": 0o40755}
    def readdir(self, path, fh):
        assert threading.get_ident() == self.thread
        yield "name"
        assert threading.get_ident() == self.thread
"""


def test_nothreads_is_one_thread_for_all(tmp_path: Any) -> None:
    (tmp_path / "one.py").write_text(ONE_THREAD)
    mount = make_mount(f"py:{tmp_path}/one.py:Mine()", "nothreads")
    assert mount.filesystem is not None
    assert [entry.name for entry in mount.filesystem.entries(1)] == [b"name"]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(mount.filesystem.lookup, 1, b"name").result(10) > 1
    with pytest.raises(FileNotFoundError):
        mount.filesystem.lookup(1, b"other")
    mount.filesystem.close()


def test_the_context_tells_who_asks(base: type, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["fuse"], "fuse_get_context", lambda: (1, 2, 3), raising=False)
    (tmp_path / "context.py").write_text(
        "from fuse import Operations, fuse_get_context\n"
        "class Mine(Operations):\n"
        "    def getattr(self, path, fh=None):\n"
        "        uid, _, pid = fuse_get_context()\n"
        "        return {'st_mode': 0o40755, 'st_uid': uid, 'st_size': pid}\n"
        "    def readdir(self, path, fh): return []\n"
    )
    filesystem = open_python(f"{tmp_path}/context.py:Mine()")
    found = filesystem.attributes(1)
    assert (found.uid, found.size) == (os.getuid(), os.getpid())


@pytest.mark.parametrize("package", ["fuse", "mfusepy"])
def test_with_the_packages_themselves(package: str) -> None:
    """What they inherit from is what we take it for."""
    try:
        module: Any = import_module(package)
    except (ImportError, OSError) as error:
        pytest.skip(f"{package} cannot be imported: {error}")
    if not hasattr(module, "Operations"):
        pytest.skip("fusepy is not installed")
    names = {"__init__", "getattr", "readdir", "create", "read", "write", "truncate", "unlink", "use_ns"}
    own = {name: value for name, value in vars(Writing).items() if name in names}
    filesystem = OperationsFileSystem(type("Mine", (module.Operations,), own)())
    assert filesystem.writable
    file = filesystem.make(1, b"file", Attributes(stat.S_IFREG | 0o644))
    save(filesystem, file, b"hello")
    assert content(filesystem, file) == b"hello"
    with pytest.raises(OSError, match=r".") as caught:
        filesystem.make(1, b"directory", Attributes(stat.S_IFDIR | 0o755))
    assert caught.value.errno == errno.EROFS
    filesystem.remove(1, b"file")
    assert filesystem.entries(1) == []
    assert filesystem.statistics().name_max == 255


def test_such_a_class_is_mounted_by_its_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text(
        "class Mine:\n"
        "    def __init__(self, name): self.name = name\n"
        "    def getattr(self, path, fh=None): return {'st_mode': 0o40755}\n"
        "    def readdir(self, path, fh): return [self.name]\n"
    )
    monkeypatch.chdir(tmp_path)
    filesystem = open_python('./one.py:Mine("hello")')
    assert [entry.name for entry in filesystem.entries(1)] == [b"hello"]
