"""File systems of fsspec."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import register_implementation
from fsspec.spec import AbstractFileSystem

from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Entry
from diorama.modules.filesystems.fsspec import FsspecFileSystem, open_fsspec
from diorama.modules.options import Options, without_secrets
from diorama.modules.sources import make_mount
from modules.test_archives import content, find, names, status


@pytest.fixture
def memory() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/top/sub/file", b"text")
    filesystem.pipe("/top/readme", b"hello")
    yield filesystem
    filesystem.rm("/top", recursive=True)


def test_memory(memory: Any) -> None:
    mounted = open_fsspec("memory", "top")
    assert names(mounted) == [b"readme", b"sub"]
    assert status(mounted, "sub").kind == stat.S_IFDIR
    assert status(mounted, "sub/file").size == 4
    assert status(mounted, "sub/file").modified > 10**18
    assert content(mounted, find(mounted, "sub/file")) == b"text"
    with pytest.raises(FileNotFoundError):
        find(mounted, "none")


def test_the_root_of_memory(memory: Any) -> None:
    assert b"top" in names(open_fsspec("memory", ""))


def test_inode_numbers_are_stable(memory: Any) -> None:
    mounted = open_fsspec("memory", "top")
    before = find(mounted, "sub/file")
    assert Entry(b"file", before, stat.S_IFREG) in mounted.entries(find(mounted, "sub"))
    memory.pipe("/top/sub/another", b"")
    assert find(mounted, "sub/file") == before


def test_local_files_keep_links_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh")
    (tmp_path / "program").chmod(0o750)
    (tmp_path / "link").symlink_to("program")
    mounted = open_fsspec("file", str(tmp_path))
    assert status(mounted, "program").mode == stat.S_IFREG | 0o750
    assert status(mounted, "link").kind == stat.S_IFLNK
    assert mounted.readlink(find(mounted, "link")) in (b"program", os.fsencode(tmp_path / "program"))


class Alone(AbstractFileSystem):  # type: ignore[misc]
    """A backend that nobody else may ask meanwhile."""

    protocol = "alone"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._busy = threading.Lock()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        assert self._busy.acquire(blocking=False)
        time.sleep(0.002)
        self._busy.release()
        return {"name": path, "size": 3, "type": "directory" if path in ("", "/") else "file"}


def test_a_backend_that_is_not_asynchronous_is_asked_by_one_thread_at_a_time() -> None:
    filesystem = FsspecFileSystem(Alone(), keep=0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: filesystem.lookup(1, b"f%d" % number), range(40)))
    assert len(set(found)) == 40


def test_a_chain_of_fsspec_is_told_from_our_own_schemes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sub/file", "content")
    for source in (
        f"zip://sub::file://{tmp_path}/a.zip",
        f"dir://sub::zip://::file://{tmp_path}/a.zip",
        f"simplecache::zip://sub::file://{tmp_path}/a.zip",
    ):
        filesystem = make_mount(source).filesystem
        assert filesystem is not None
        assert [entry.name for entry in filesystem.entries(1)] == [b"file"], source
        assert content(filesystem, find(filesystem, "file")) == b"content"
    (tmp_path / "zip::name").mkdir()
    assert make_mount(f"{tmp_path}/zip::name").host == os.fsencode(tmp_path / "zip::name")


def test_a_directory_as_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    filesystem = make_mount(f"dir::file://{tmp_path}").filesystem
    assert filesystem is not None
    assert [entry.name for entry in filesystem.entries(1)] == [b"file"]


def test_what_a_backend_raises_is_told_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    class Failing(Alone):
        protocol = "failing"

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            logging.getLogger(__name__).error("chatter")
            raise RuntimeError("no\ncredentials")

    register_implementation("failing", Failing, clobber=True)
    with pytest.raises(UsageError) as caught:
        make_mount("failing://x")
    assert str(caught.value) == "cannot mount failing://x: no credentials"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("scheme", ["dir", "simplecache", "filecache", "blockcache"])
def test_what_shows_another_protocol_must_be_told_which(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"write {scheme}::PROTOCOL://PATH"):
        open_fsspec(scheme, str(tmp_path))
    (tmp_path / "file").write_bytes(b"content")
    made = open_fsspec(scheme, f":file://{tmp_path}")
    assert [entry.name for entry in made.entries(made.root)] == [b"file"]
    made.close()


def test_a_mistake_of_a_backend_says_what_it_is() -> None:
    with pytest.raises(UsageError, match=r"reference of fsspec cannot be made so: TypeError: .*'fo'"):
        open_fsspec("reference", "/none")


def test_secrets_are_not_in_the_mount_table() -> None:
    options = ("username=me", "password=x", "secret=y", "key=z", "key_filename=k", "token=t", "block_size=4")
    assert Options.parse(options).shown == (
        "username=me", "password=***", "secret=***", "key=***", "key_filename=k", "token=***", "block_size=4",
    )  # fmt: skip
    assert without_secrets("ftp://me:pw@host/x") == "ftp://me:***@host/x"
    assert without_secrets("zip::https://me:pw@host:80/x@y") == "zip::https://me:***@host:80/x@y"
    assert without_secrets("github://org:repo@ref/path") == "github://org:repo@ref/path"
    assert without_secrets("git:///path:ref@inner") == "git:///path:ref@inner"
    assert without_secrets("https://host:80/a@b") == "https://host:80/a@b"


def test_a_repository(tmp_path: Path) -> None:
    pytest.importorskip("pygit2")
    repository = tmp_path / "repository"
    (repository / "sub").mkdir(parents=True)
    (repository / "sub/file").write_text("content")
    for command in ("init -q -b main", "add .", "-c user.name=a -c user.email=b commit -q -m one"):
        subprocess.run(["git", "-C", repository, *command.split()], check=True, timeout=50)
    filesystem = make_mount(f"git://{repository}:main@sub").filesystem
    assert filesystem is not None
    assert content(filesystem, find(filesystem, "file")) == b"content"


def test_an_ftp_server(tmp_path: Path) -> None:
    authorizers = pytest.importorskip("pyftpdlib.authorizers")
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    authorizer = authorizers.DummyAuthorizer()
    authorizer.add_user("me", "pw", str(tmp_path), perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = FTPServer(("127.0.0.1", 0), handler)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=0.05, blocking=False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        (tmp_path / "file").write_text("content")
        filesystem = make_mount(f"ftp://me:pw@127.0.0.1:{server.address[1]}/").filesystem
        assert filesystem is not None
        assert content(filesystem, find(filesystem, "file")) == b"content"
        inode = filesystem.make(1, b"new", Attributes(stat.S_IFREG | 0o644))
        fd = os.memfd_create("new")
        os.write(fd, b"more")
        filesystem.save_content(inode, fd)
        os.close(fd)
        assert (tmp_path / "new").read_text() == "more"
    finally:
        stop.set()
        thread.join(30)
        server.close_all()
