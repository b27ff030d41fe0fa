"""File systems of fsspec are written where their backends can."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from diorama.errors import UsageError
from diorama.modules.filesystems.fsspec import FsspecFileSystem, open_fsspec
from diorama.modules.options import Options
from diorama.modules.sources import make_mount
from diorama.view.filesystem import Attributes, Changes
from modules.objects import ObjectStore, piece_of
from modules.test_archives import content, find, names, status

FILE = Attributes(stat.S_IFREG | 0o640)
DIRECTORY = Attributes(stat.S_IFDIR | 0o750)
LINK = Attributes(stat.S_IFLNK | 0o777)


@pytest.fixture(autouse=True)
def _objects() -> Iterator[None]:
    ObjectStore.reset()
    fsspec.register_implementation("objects", ObjectStore, clobber=True)
    yield
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture(params=["file", "memory", "objects", "dir"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> FsspecFileSystem:
    """An empty directory of each kind of backend."""
    if request.param == "file":
        return open_fsspec("file", str(tmp_path))
    if request.param == "memory":
        fsspec.filesystem("memory").mkdir("/top")
        return open_fsspec("memory", "top")
    if request.param == "objects":
        return open_fsspec("objects", "")
    inner = fsspec.filesystem("dir", path=str(tmp_path), fs=fsspec.filesystem("file"))
    return FsspecFileSystem(inner)


def write(filesystem: FsspecFileSystem, inode: int, text: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.flush()
        filesystem.save_content(inode, file.fileno())


def make_file(filesystem: FsspecFileSystem, name: bytes, text: bytes, directory: int = 1) -> int:
    inode = filesystem.make(directory, name, FILE)
    write(filesystem, inode, text)
    return inode


def test_a_file_is_made_written_and_removed(mounted: FsspecFileSystem) -> None:
    assert mounted.writable
    inode = mounted.make(mounted.root, b"new", FILE)
    assert mounted.attributes(inode).size == 0
    write(mounted, inode, b"text")
    assert mounted.lookup(mounted.root, b"new") == inode
    assert status(mounted, "new").size == 4
    assert content(mounted, inode) == b"text"
    write(mounted, inode, b"more" * 1000_000)
    assert content(mounted, inode) == b"more" * 1000_000
    assert names(mounted) == [b"new"]
    mounted.remove(mounted.root, b"new")
    assert names(mounted) == []
    with pytest.raises(FileNotFoundError):
        find(mounted, "new")


def test_names_that_are_patterns_mean_themselves(mounted: FsspecFileSystem) -> None:
    for name in (b"a*", b"ab", b"[a]b", b"a?"):
        make_file(mounted, name, name)
    mounted.rename(mounted.root, b"a*", mounted.root, b"c*")
    mounted.remove(mounted.root, b"a?")
    assert names(mounted) == [b"[a]b", b"ab", b"c*"]
    assert content(mounted, find(mounted, "[a]b")) == b"[a]b"


def test_directories(mounted: FsspecFileSystem) -> None:
    sub = mounted.make(mounted.root, b"sub", DIRECTORY)
    assert mounted.attributes(sub).kind == stat.S_IFDIR
    assert names(mounted) == [b"sub"]
    assert names(mounted, "sub") == []
    deep = mounted.make(sub, b"deep", DIRECTORY)
    make_file(mounted, b"file", b"text", deep)
    assert content(mounted, find(mounted, "sub/deep/file")) == b"text"
    with pytest.raises(OSError, match="not empty") as caught:
        mounted.remove(mounted.root, b"sub")
    assert caught.value.errno == errno.ENOTEMPTY
    mounted.remove(deep, b"file")
    assert names(mounted, "sub/deep") == []  # also where a directory is no more than its files
    mounted.remove(sub, b"deep")
    mounted.remove(mounted.root, b"sub")
    assert names(mounted) == []


def test_a_renamed_file_keeps_its_number_and_replaces(mounted: FsspecFileSystem) -> None:
    first, second = make_file(mounted, b"first", b"one"), make_file(mounted, b"second", b"two")
    mounted.rename(mounted.root, b"first", mounted.root, b"second")
    assert names(mounted) == [b"second"]
    assert mounted.lookup(mounted.root, b"second") == first
    assert content(mounted, first) == b"one"
    assert mounted.attributes(second).links == 0
    write(mounted, second, b"nobody will see this")
    assert content(mounted, first) == b"one"
    assert make_file(mounted, b"first", b"again") not in (first, second)


def test_a_directory_is_renamed_with_all_that_is_in_it(mounted: FsspecFileSystem) -> None:
    old = mounted.make(mounted.root, b"old", DIRECTORY)
    sub = mounted.make(old, b"sub", DIRECTORY)
    mounted.make(old, b"empty", DIRECTORY)
    file = make_file(mounted, b"file", b"text", sub)
    mounted.make(mounted.root, b"there", DIRECTORY)
    mounted.rename(mounted.root, b"old", mounted.root, b"there")
    assert names(mounted) == [b"there"]
    assert names(mounted, "there") == [b"empty", b"sub"]
    assert find(mounted, "there/sub/file") == file
    assert content(mounted, file) == b"text"
    assert find(mounted, "there") == old


def test_an_unlinked_file_is_known_until_it_is_forgotten(mounted: FsspecFileSystem) -> None:
    inode = make_file(mounted, b"file", b"text")
    mounted.remove(mounted.root, b"file")
    assert mounted.attributes(inode).size == 4
    assert mounted.attributes(inode).links == 0
    write(mounted, inode, b"lost with its last holder")
    assert names(mounted) == []
    mounted.forget(inode)
    with pytest.raises(OSError, match="Stale"):
        mounted.attributes(inode)


def test_a_size_is_set(mounted: FsspecFileSystem) -> None:
    inode = make_file(mounted, b"file", b"text")
    mounted.set_attributes(inode, Changes(size=2))
    assert content(mounted, inode) == b"te"
    mounted.set_attributes(inode, Changes(size=4))
    assert content(mounted, inode) == b"te\0\0"
    mounted.set_attributes(inode, Changes(size=0))
    assert mounted.attributes(inode).size == 0


def test_local_files_keep_permissions_times_and_links(tmp_path: Path) -> None:
    mounted = open_fsspec("file", str(tmp_path))
    inode = make_file(mounted, b"file", b"text")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    mounted.set_attributes(inode, Changes(mode=0o604, modified=1_234_567_890_123_456_789))
    write(mounted, inode, b"other")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o604
    mounted.set_attributes(inode, Changes(modified=1_234_567_890_123_456_789))
    assert mounted.attributes(inode).modified == 1_234_567_890_123_456_789
    link = mounted.make(mounted.root, b"link", LINK, b"nowhere")
    assert mounted.readlink(link) == b"nowhere"
    mounted.remove(mounted.root, b"link")
    assert os.listdir(tmp_path) == ["file"]


def test_what_an_object_store_cannot_keep_is_refused() -> None:
    mounted = open_fsspec("objects", "")
    inode = make_file(mounted, b"file", b"text")
    mounted.set_attributes(inode, Changes(mode=0o644, uid=os.getuid()))  # so it is already
    for changes in (Changes(mode=0o600), Changes(modified=1)):
        with pytest.raises(PermissionError):
            mounted.set_attributes(inode, changes)
    with pytest.raises(PermissionError):
        mounted.make(mounted.root, b"link", LINK, b"file")
    with pytest.raises(PermissionError):
        mounted.make(mounted.root, b"fifo", Attributes(stat.S_IFIFO | 0o644))


def test_an_upload_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = open_fsspec("file", str(tmp_path))
    inode = make_file(mounted, b"file", b"old")

    def broken(_path: str, _to: str) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "gone")

    monkeypatch.setattr(mounted._backend.fs, "mv", broken)
    with pytest.raises(ConnectionResetError):
        write(mounted, inode, b"new")
    assert content(mounted, inode) == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError("none"), errno.ENOENT),
        (PermissionError("no"), errno.EACCES),
        (TimeoutError(), errno.ETIMEDOUT),
        (RuntimeError("the server says no"), errno.EIO),
        (type("HTTPError", (Exception,), {"status": 403})(), errno.EACCES),
    ],
)
def test_errors_are_those_of_linux(error: Exception, code: int) -> None:
    mounted = open_fsspec("objects", "", Options.parse(["keep=0"]))
    inode = make_file(mounted, b"file", b"text")
    ObjectStore.failing = error
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        mounted.read(inode, 0, 4)
    assert caught.value.errno == code


# -- reading in pieces ----------------------------------------------------------------------------


def test_a_piece_is_all_that_is_fetched() -> None:
    ObjectStore.sizes["big"] = 10 << 30
    mounted = open_fsspec("objects", "")
    inode = find(mounted, "big")
    assert mounted.lazy_above == 4 << 20
    assert mounted.read(inode, 5 << 30, 4096) == piece_of(5 << 30, (5 << 30) + 4096)
    assert ObjectStore.fetched == 4096
    assert mounted.read(inode, (10 << 30) - 10, 4096) == piece_of((10 << 30) - 10, 10 << 30)


def test_what_is_lazy_can_be_chosen() -> None:
    assert open_fsspec("objects", "", Options.parse(["lazy=100"])).lazy_above == 100
    assert open_fsspec("objects", "", Options.parse(["lazy=off"])).lazy_above is None


def test_status_is_not_asked_for_again_at_once() -> None:
    ObjectStore.store |= {f"top/sub/{number}": b"" for number in range(50)}
    mounted = open_fsspec("objects", "top")
    sub = find(mounted, "sub")
    before = ObjectStore.asked["ls"]
    infos = ObjectStore.asked["info"]
    for entry in mounted.entries(sub):
        mounted.attributes(mounted.lookup(sub, entry.name))
    assert ObjectStore.asked["ls"] - before == 1
    assert ObjectStore.asked["info"] - infos == 50  # those that the store itself asked for its listing


# -- mounting -------------------------------------------------------------------------------------


def test_a_read_only_backend_is_no_writable_mount(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", "text")
    inner = fsspec.filesystem("zip", fo=str(tmp_path / "a.zip"))
    mounted = FsspecFileSystem(inner)
    assert not mounted.writable
    assert content(mounted, find(mounted, "file")) == b"text"
    with pytest.raises(UsageError, match="read-only"):
        make_mount(mounted, "rw")


def test_ro_is_kept_and_options_reach_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    original = ObjectStore.__init__

    def remember(self: ObjectStore, *args: Any, **kwargs: Any) -> None:
        seen.update(kwargs)
        original(self, *args, **kwargs)

    monkeypatch.setattr(ObjectStore, "__init__", remember)
    mount = make_mount("fsspec+objects:", "ro", "username=x", "port=2222", "anon=true")
    assert mount.read_only
    assert {"username": "x", "port": 2222, "anon": True}.items() <= seen.items()
    assert not make_mount("objects:").read_only
    with pytest.raises(UsageError, match="unknown mount option 'anon'"):
        make_mount("objects:", "anon")


def test_a_chained_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    mounted = open_fsspec("simplecache", f":file://{tmp_path}")
    assert content(mounted, find(mounted, "file")) == b"text"


def test_what_failed_to_mount_is_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        open_fsspec("objects", "no/such")
    assert str(caught.value) == "cannot mount objects:no/such: no such file or directory"


@pytest.mark.parametrize("method", ["info", "ls"])
def test_what_was_asked_before_a_write_is_not_remembered_after_it(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Somebody looks at a file while somebody else saves it: the next one is told what is there."""
    ObjectStore.store |= {"file": b"what was there"}
    mounted = open_fsspec("objects", "", Options.parse(["keep=1000"]))
    inode = find(mounted, "file")
    mounted._backend.forget("file")
    asked, original = [], getattr(ObjectStore, method)

    def ask(self: ObjectStore, path: str, *args: Any, **kwargs: Any) -> Any:
        found = original(self, path, *args, **kwargs)
        if not asked:
            asked.append(path)
            write(mounted, inode, b"new")
        return found

    monkeypatch.setattr(ObjectStore, method, ask)
    if method == "info":
        mounted.attributes(inode)
    else:
        mounted.entries(mounted.root)
    assert asked
    assert mounted.attributes(inode).size == 3
