"""Served: a FUSE server in the test itself, and a view in which programs of Python use what it serves.

The server is a thread of the test, so each sees exactly what the other does.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diorama
from behaviour.harness import Bench
from diorama.fuse.handles import CreateIn, OpenIn, OpenOut, ReleaseIn
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

    def __init__(
        self, view: diorama.View, bench: Bench, server: Server, filesystem: FuseFileSystem
    ) -> None:
        self.view = view
        self.filesystem = filesystem
        self.bench = bench
        self.server = server

    def run(self, script: str) -> list[str]:
        """The lines that a script prints, which runs to its end."""
        words = ["python3", "-c", PROLOGUE + textwrap.dedent(script)]
        done = self.view.run(words, cwd=self.bench.work, capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
        return str(done.stdout).splitlines()

    def start(self, script: str) -> diorama.Popen:
        """Start a script, which may read from us."""
        words = ["python3", "-c", PROLOGUE + textwrap.dedent(script)]
        pipe = subprocess.PIPE
        return self.view.Popen(words, cwd=self.bench.work, stdin=pipe, stdout=pipe, stderr=pipe)

    def natively(self, script: str, directory: Path) -> list[str]:
        """The lines that a script prints outside of the view."""
        words = ["python3", "-c", PROLOGUE + textwrap.dedent(script)]
        done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=50, check=True)
        return done.stdout.splitlines()

    def content(self, name: bytes) -> bytes:
        return self.server.nodes[self.server.nodes[1].children[name]].content

    def requests(self, *names: str) -> list[str]:
        """The requests of these names, in their order."""
        return [name for name in self.server.log if name in names]

    def wait(self, condition: Callable[[], object]) -> None:
        """Until something has come to pass for which no program waits."""
        deadline = time.monotonic() + 40
        while not condition():
            assert time.monotonic() < deadline, self.server.log
            time.sleep(0.005)


def serve(
    engine: str,
    bench: Bench,
    prepare: Callable[[Server], None] = lambda _: None,
    *,
    write_through: bool = False,
) -> Iterator[Served]:
    """One of them, until it is asked for more; its server is prepared before it is asked anything."""
    (bench.work / "mnt").mkdir()
    ours, theirs = make_pair()
    with theirs:
        server = Server(theirs)
        prepare(server)
        server.start()
        with diorama.View(engine=engine, write_through=write_through) as view:
            filesystem = FuseFileSystem(ours, "test", checked=False)
            view.mount(filesystem, bench.work / "mnt")
            yield Served(view, bench, server, filesystem)
            server.override.clear()
            assert not view.failures


def refuse(code: int) -> Any:
    def answer(header: Any, body: bytes) -> bytes:
        raise OSError(code, os.strerror(code))

    return answer


class Handles:
    """Opens as a server does that counts: which handles are open, and with what flags each was opened."""

    def __init__(self, server: Server, how: int = 0) -> None:
        self.server = server
        self.how = how
        self.flags: list[int] = []
        self.released: list[int] = []
        server.override |= {"OPEN": self.open, "CREATE": self.create, "RELEASE": self.release}

    def give(self, flags: int) -> bytes:
        self.flags.append(flags)
        return OpenOut(fh=len(self.flags), open_flags=self.how).encode()

    def open(self, header: Any, body: bytes) -> bytes:
        flags = OpenIn.decode(body).flags
        if flags & os.O_TRUNC:
            self.server.nodes[header.nodeid].content = b""
        return self.give(flags)

    def create(self, header: Any, body: bytes) -> bytes:
        made = self.server.create(header, body)
        return made[: -len(OpenOut().encode())] + self.give(CreateIn.decode(body).flags)

    def release(self, header: Any, body: bytes) -> bytes:
        released = ReleaseIn.decode(body)
        assert released.flags & os.O_ACCMODE == self.flags[released.fh - 1] & os.O_ACCMODE
        self.released.append(released.fh)
        return b""
