"""Open files of FUSE mounts, as the server sees them: what it is asked when, and who is told of its errors.

The server is a thread of the test, and the program one of Python, so each sees exactly what the other does.
"""

from __future__ import annotations

import errno
import os
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import diorama
from behaviour.harness import Bench
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from modules.fuse_server import Server

PROLOGUE = """
import errno, fcntl, mmap, os, subprocess, sys

def told(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
"""


class Served:
    """A view with a mount of a server."""

    def __init__(self, view: diorama.View, bench: Bench, server: Server) -> None:
        self.view = view
        self.bench = bench
        self.server = server

    def run(self, script: str) -> list[str]:
        """The lines that a script prints, which runs to its end."""
        words = ["python3", "-c", PROLOGUE + textwrap.dedent(script)]
        done = self.view.run(words, cwd=self.bench.work, capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return str(done.stdout).splitlines()

    def content(self, name: bytes) -> bytes:
        return self.server.nodes[self.server.nodes[1].children[name]].content

    def requests(self, *names: str) -> list[str]:
        """The requests of these names, in their order."""
        return [name for name in self.server.log if name in names]


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    (bench.work / "mnt").mkdir()
    ours, theirs = make_pair()
    with theirs:
        server = Server(theirs).start()
        with diorama.View(engine=engine) as view:
            view.mount(FuseFileSystem(ours, "test", checked=False), bench.work / "mnt")
            yield Served(view, bench, server)
            server.override.clear()
            assert not view.failures


def refuse(code: int) -> Any:
    def answer(header: Any, body: bytes) -> bytes:
        raise OSError(code, os.strerror(code))

    return answer


# -- closing --------------------------------------------------------------------------------------

CLOSERS = {
    "close": "os.close(fd)",
    "dup2": "os.dup2(0, fd)",
    "dup3": "os.dup2(0, fd, inheritable=False)",
    "close_range": "os.closerange(fd, fd + 10)",
}


@pytest.mark.parametrize("closer", CLOSERS.values(), ids=CLOSERS)
def test_what_was_written_is_at_the_server_when_it_is_closed(served: Served, closer: str) -> None:
    script = f"""
        fd = os.open("mnt/file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"content")
        {closer}
        os.mkdir("mnt/after")
    """
    served.run(script)
    assert served.requests("WRITE", "FLUSH", "MKDIR")[-3:] == ["WRITE", "FLUSH", "MKDIR"]
    assert served.content(b"file") == b"content"


def test_who_closes_is_told_what_went_wrong_and_has_closed(served: Served) -> None:
    served.server.add(b"file", b"old")
    served.server.override["WRITE"] = refuse(errno.ENOSPC)
    script = """
        fd = os.open("mnt/file", os.O_WRONLY)
        os.write(fd, b"new")
        print(told(os.close, fd), told(os.fstat, fd))
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 10), told(os.close, fd))
    """
    assert served.run(script) == ["ENOSPC EBADF", "b'new' ENOSPC"], "what was not saved is tried again"
    served.server.override.clear()
    assert served.run('print(told(os.close, os.open("mnt/file", os.O_WRONLY)))') == ["None"]
    assert served.content(b"file") == b"new", "and so is not lost"


def test_an_error_of_flush_is_told_by_close(served: Served) -> None:
    served.server.add(b"file", b"old")
    served.server.override["FLUSH"] = refuse(errno.EDQUOT)
    script = """
        fd = os.open("mnt/file", os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"content")
        print(told(os.close, fd))
    """
    assert served.run(script) == ["EDQUOT"]
    assert served.content(b"file") == b"content"


def test_fsync_makes_the_file_lasting_and_tells_errors(served: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"content")
        print(told(os.fsync, fd))
    """
    assert served.run(script) == ["None"]
    assert served.requests("WRITE", "FSYNC") == ["WRITE", "FSYNC"]
    served.server.override["FSYNC"] = refuse(errno.EIO)
    assert served.run(script) == ["EIO"]


def test_what_nobody_closes_is_saved_all_the_same(served: Served) -> None:
    script = """
        pid = os.fork()
        if not pid:
            fd = os.open("mnt/file", os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"content")
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 10), told(os.fsync, fd))
    """
    assert served.run(script) == ["b'content' None"]
    assert served.content(b"file") == b"content"
