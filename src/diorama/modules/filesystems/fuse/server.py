"""Server: starts a FUSE server, and gives it a socket in the place of /dev/fuse.

A server made with libfuse (3.3 and newer) takes `/dev/fd/N` for a mount point that is open already
(fuse(8), mount.fuse3(8)), so it needs neither the device nor the right to mount.  It stays in the
foreground, in a session of its own: what is typed at the terminal is for the programs of the view.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Final

from diorama.errors import UsageError
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["make_fuse", "open_fuse", "start_server"]

_PATIENCE: Final = 10.0


def make_fuse(rest: str, options: Options) -> Mount:
    """A mount of `fuse:COMMAND`."""
    source = f"fuse:{rest}"
    options.finish(source)
    filesystem = open_fuse(rest)
    return Mount(
        filesystem=filesystem,
        kind=stat.S_IFMT(filesystem.attributes(filesystem.root).mode),
        read_only=options.read_only,
        source=source,
        type=f"fuse.{filesystem.title}",
        options=options.shown,
    )


def open_fuse(rest: str) -> FuseFileSystem:
    """The file system of a server, given by its command: `sshfs host:dir`; `{}` in it is the mount point.

    Without `{}` the mount point comes last.  `UsageError` if the command cannot be started or ends at once.
    """
    words = shlex.split(rest)
    if not words:
        raise UsageError("cannot mount fuse: no command of a server is given")
    if not any("{}" in word for word in words):
        words.append("{}")
    return start_server(words, f"fuse:{rest}", None)


def start_server(words: Sequence[str], what: str, keep: int | None) -> FuseFileSystem:
    """Start a server by the words of its command, with `{}` for the mount point.

    It inherits the descriptor `keep`, and then what it says is for us: its last line is in the `UsageError`.
    """
    ours, theirs = make_pair()
    with theirs, ExitStack() as held:
        point = f"/dev/fd/{theirs.fileno()}"
        said = None if keep is None else held.enter_context(tempfile.TemporaryFile(prefix="diorama-"))
        try:
            process = subprocess.Popen(
                [word.replace("{}", point) for word in words],
                pass_fds=[theirs.fileno(), *([] if keep is None else [keep])],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise UsageError(f"cannot mount {what}: {words[0]}: {error.strerror}") from None
        theirs.close()
        filesystem = FuseFileSystem(ours, words[0].rpartition("/")[2], lambda: _end(process))
        try:
            filesystem.attributes(filesystem.root)
        except OSError as error:
            filesystem.close()
            reason = _last_line(said) or f"it does not serve: {error.strerror}"
            raise UsageError(f"cannot mount {what}: {words[0]}: {reason}") from None
    return filesystem


def _last_line(said: IO[bytes] | None) -> str:
    if said is None:
        return ""
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((" ".join(line.split())[:300] for line in reversed(lines) if line.strip()), "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a server that was told to end; end it if it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.wait()
