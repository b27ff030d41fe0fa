"""Server: starts a FUSE server in a view of its own, for what it serves to be mounted in another.

There it opens /dev/fuse and mounts on a directory that is private to it, as every server does; so it may be
made with any library, stay in the foreground or not, and insist on whatever it likes.  It has a session of
its own: what is typed at the terminal is for the programs of the view.

A program that is linked with libfuse needs no more than that, for libfuse looks at nothing that it has
mounted.  So its stage is bare, and what it does to serve costs what it costs on the host.  Others may look
(those made with go-fuse wait so for the mount to be there), unless who mounts says `bare`.

It ends when its file system is closed: it finds its device gone; who does not end then is sent SIGTERM, and
then its view is closed.  What it says before it has mounted is the error if it does not come to that.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Generator, Sequence
from typing import Final

from diorama.abi.elf import find_needed
from diorama.engine.ending import holders
from diorama.errors import UsageError, warn_once
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.modules.options import Options
from diorama.modules.stages import Started, open_stage
from diorama.view.mounts import Mount

__all__ = ["has_libfuse", "make_fuse", "start_server"]

_PATIENCE: Final = 10.0
_SAID: Final = 1 << 16
_SHOWN: Final = 300
_LIBFUSE: Final = (b"libfuse.so.", b"libfuse3.so.")


def make_fuse(rest: str, options: Options) -> Mount:
    """A mount of `fuse:COMMAND`, in which `{}` is the mount point, which comes last if there is none.

    `UsageError` if the command cannot be started, or ends without having mounted anything.
    """
    source = f"fuse:{rest}"
    is_bare = options.is_set("bare")
    options.finish(source)
    words = shlex.split(rest)
    if not words:
        raise UsageError("cannot mount fuse: no command of a server is given")
    if not any("{}" in word for word in words):
        words.append("{}")
    filesystem = start_server(words, source, None, bare=is_bare)
    return Mount(
        filesystem=filesystem,
        kind=stat.S_IFMT(filesystem.attributes(filesystem.root).mode),
        read_only=options.read_only or filesystem.is_read_only,
        source=source,
        type=f"fuse.{words[0].rpartition('/')[2]}",
        options=options.shown,
    )


def start_server(
    words: Sequence[str], what: str, keep: int | None, *, bare: bool = False
) -> FuseFileSystem:
    """Start a server by the words of its command, with `{}` for the mount point.

    It inherits the descriptor `keep`, and then nobody else is told what it says.  `bare`: it needs no more
    than a bare stage, also if it is not linked with libfuse.
    """
    server = _Server(words, what, keep, bare or has_libfuse(words[0]))
    try:
        return server.serve()
    except BaseException:
        server.end(patience=0)
        raise


def has_libfuse(program: str) -> bool:
    """Whether a program is linked with libfuse, of any version."""
    path = shutil.which(program)
    if path is None:
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return any(name.startswith(_LIBFUSE) for name in find_needed(file.fileno()))
    return False


class _Server:
    """A server, its view and its directory, from the start to the end."""

    def __init__(self, words: Sequence[str], what: str, keep: int | None, is_bare: bool) -> None:
        self._what = what
        self._name = words[0]
        self._told = queue.SimpleQueue[FuseFileSystem | None]()
        self._is_gone = threading.Event()
        self._ending = threading.Lock()
        self._filesystem: FuseFileSystem | None = None
        self._point = tempfile.mkdtemp(prefix="diorama-")
        self._stage = open_stage(self._served, bare=is_bare)
        self._voice = _Voice()
        self._process = self._start([word.replace("{}", self._point) for word in words], keep)

    def _start(self, command: Sequence[str], keep: int | None) -> Started:
        with self._voice.lent() as said:
            try:
                process = self._stage.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    pass_fds=() if keep is None else (keep,),
                    start_new_session=True,
                )
            except BaseException as error:
                self._stage.close()
                os.rmdir(self._point)
                if isinstance(error, OSError):
                    raise UsageError(f"cannot mount {self._what}: {self._name}: {error.strerror}") from None
                raise
        self._passes_on = keep is None
        threading.Thread(target=self._await_end, args=(process,), name="fuse-server", daemon=True).start()
        return process

    def serve(self) -> FuseFileSystem:
        """What it serves, as soon as it does."""
        filesystem = self._filesystem = self._first_told()
        if filesystem is None:
            status = self._process.wait()
            self._voice.end()
            how = f"it ended with status {status} and has mounted nothing"
            raise UsageError(f"cannot mount {self._what}: {self._name}: {self._voice.last_line() or how}")
        try:
            filesystem.attributes(filesystem.root)
        except OSError as error:
            reason = self._voice.last_line() or f"it does not serve: {error.strerror}"
            raise UsageError(f"cannot mount {self._what}: {self._name}: {reason}") from None
        filesystem.on_close = self.end
        filesystem.is_served_outside()
        if self._passes_on:
            self._voice.pass_on()
        return filesystem

    def _first_told(self) -> FuseFileSystem | None:
        try:
            return self._told.get(timeout=_PATIENCE)
        except queue.Empty:
            warn_once(f"mount {self._what}", f"{self._name} has not mounted anything so far; waiting")
            return self._told.get()

    def _served(self, mount: Mount) -> None:
        """It mounts."""
        filesystem = mount.filesystem
        assert isinstance(filesystem, FuseFileSystem)
        filesystem.is_read_only = mount.read_only
        self._told.put(filesystem)

    def _await_end(self, process: Started) -> None:
        process.wait_all()
        self._is_gone.set()
        self._told.put(None)

    def end(self, patience: float = _PATIENCE) -> None:
        """Wait for a server that finds its device gone; end it if it does not end."""
        if not self._ending.acquire(blocking=False):
            return
        filesystem = self._filesystem
        if filesystem is not None:
            filesystem.on_close = None
            filesystem.close()
            if not self._is_gone.wait(patience):
                self._ask_to_end(filesystem)
                self._is_gone.wait(patience)
        self._stage.close()
        self._is_gone.wait()
        self._voice.end()
        with contextlib.suppress(OSError):
            os.rmdir(self._point)

    def _ask_to_end(self, filesystem: FuseFileSystem) -> None:
        held = {} if filesystem.theirs is None else holders(filesystem.theirs)
        for pid in {self._process.pid, *held}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


class _Voice:
    """What a server says: kept until it serves, and then passed on to our standard error, or to nobody."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._lock = threading.Lock()
        self._said = bytearray()
        self._is_passed_on = False
        self._thread = threading.Thread(target=self._listen, name="fuse-voice", daemon=True)

    @contextlib.contextmanager
    def lent(self) -> Generator[int, None, None]:
        """The end that a server gets, while it is started."""
        try:
            yield self._writing
        finally:
            os.close(self._writing)
            self._thread.start()

    def _listen(self) -> None:
        while data := os.read(self._reading, _SAID):
            with self._lock:
                if self._is_passed_on:
                    _say(data)
                else:
                    self._said = (self._said + data)[-_SAID:]
        os.close(self._reading)

    def pass_on(self) -> None:
        """Say what was said, and all that is said from now on."""
        with self._lock:
            self._is_passed_on = True
            _say(bytes(self._said))

    def last_line(self) -> str:
        """The last line that is not empty, shortened."""
        with self._lock:
            lines = self._said.decode(errors="replace").split("\n")
        return next((" ".join(line.split())[:_SHOWN] for line in reversed(lines) if line.strip()), "")

    def end(self) -> None:
        """Wait for the last words: nobody is left who could say more."""
        self._thread.join(_PATIENCE)


def _say(data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(2, data)
