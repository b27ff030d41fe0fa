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
from typing import Final

from diorama.errors import UsageError
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["make_fuse", "open_fuse"]

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
    ours, theirs = make_pair()
    with theirs:
        point = f"/dev/fd/{theirs.fileno()}"
        command = [word.replace("{}", point) for word in words]
        if command == words:
            command.append(point)
        try:
            process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise UsageError(f"cannot mount fuse:{rest}: {words[0]}: {error.strerror}") from None
    filesystem = FuseFileSystem(ours, words[0].rpartition("/")[2], lambda: _end(process))
    try:
        filesystem.attributes(filesystem.root)
    except OSError as error:
        filesystem.close()
        raise UsageError(f"cannot mount fuse:{rest}: {words[0]} does not serve: {error.strerror}") from None
    return filesystem


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a server that was told to end; end it if it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.wait()
