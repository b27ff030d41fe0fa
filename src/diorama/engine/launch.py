"""Launch: starts a program that waits for its guardian before it runs its first instruction."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diorama.engine import _native

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence


_LED = 2
_MOST_DESCRIPTORS = 1 << 16
_FD_SIZE = ctypes.sizeof(ctypes.c_int)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and how; the fields have the meaning of `subprocess.Popen`'s arguments.

    `executables` are tried in turn.  -1 or None keeps what the caller has.  With `no_new_privs` what it
    executes gives it nothing on the host, whoever owns that.  `is_job`: it is the first job of a session that
    is led by the view's first process, in the foreground of `terminal`, if there is one.
    """

    executables: tuple[bytes, ...]
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...] | None = None
    cwd: bytes | None = None
    fds: tuple[int, int, int] = (-1, -1, -1)
    close_fds: bool = True
    pass_fds: tuple[int, ...] = ()
    umask: int = -1
    process_group: int = -1
    new_session: bool = False
    restore_signals: bool = True
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    no_new_privs: bool = False
    is_job: bool = False
    terminal: int = -1


@dataclass(slots=True)
class Launched:
    """A held program.  `go` releases it; closing `life_fd` ends it and all that descends from it.

    `ended` is set by whoever has read the program's final status from `life_fd`; `closed` when its
    descriptors are gone.  `pidfd` stays the
    program's when its pid is given to another.
    """

    init_pid: int
    pid: int
    go_fd: int
    error_fd: int
    life_fd: int
    pidfd: int
    ended: bool = False
    closed: bool = False

    def has_told(self) -> bool:
        """Whether `life_fd` can be read."""
        import select

        poll = select.poll()  # not select(2), for which a number can be too large
        poll.register(self.life_fd, select.POLLIN)
        return bool(poll.poll(0))

    def shut(self) -> None:
        """Tell init that it is over, without closing a descriptor that somebody reads."""
        import socket

        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.life_fd)) as life:
            life.shutdown(socket.SHUT_WR)

    def go(self, listen: Callable[[int], None] | None = None) -> tuple[int, int] | None:
        """Release the program and wait for its exec: None, or (errno, step) of what failed.

        `listen` takes over the listener of a filter that notifies, before the exec.
        """
        import socket

        os.write(self.go_fd, b"g")
        os.close(self.go_fd)
        with socket.socket(fileno=self.error_fd) as channel:
            size = ctypes.sizeof(_native.Failure)
            # Not socket.recv_fds, which ignores flags in Python 3.11: with a listener in its hands another
            # program could let calls of the view pass.
            room = socket.CMSG_LEN(_FD_SIZE)
            data, control, _, _ = channel.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
            if control and listen is not None:
                listener = int.from_bytes(control[0][2], sys.byteorder)
                self._leave_copy(socket.socket(fileno=os.dup(self.life_fd)), listener)
                listen(listener)
                data = channel.recv(size)
        if not data:
            return None
        failure = _native.Failure.from_buffer_copy(data)
        return failure.error, failure.step

    def _leave_copy(self, life: socket.socket, listener: int) -> None:
        """Give init the listener to hold: calls that wait when we are killed must not go on without us."""
        import socket

        with life, contextlib.suppress(OSError):
            socket.send_fds(life, [b"l"], [listener], socket.MSG_NOSIGNAL)

    def cancel(self) -> None:
        """End the program before it has started."""
        for fd in (self.go_fd, self.error_fd, self.life_fd, self.pidfd):
            os.close(fd)
        os.waitpid(self.init_pid, 0)


def raise_limit() -> None:
    """Let this process have more descriptors than what it launches, or starts for itself.

    What it starts by `subprocess` is forked then: the documented switches of that module say so.
    """
    if _native.lib.dio_limit_raise(_MOST_DESCRIPTORS) > 0:
        for way in ("_USE_VFORK", "_USE_POSIX_SPAWN"):
            setattr(subprocess, way, False)


def _strings(values: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(values) + 1))(*values, None)


def launch(command: Command, program: bytes, tag: int | None = None) -> Launched:
    """Fork the view's first process and the program, with `program` as its seccomp filter.

    With a tag, that of a filter that notifies, `Launched.go` gets its listener.
    """
    native = _native.Launch()
    executables, argv = _strings(command.executables), _strings(command.argv)
    native.executables, native.argv = executables, argv
    if command.env is not None:
        native.envp = _strings(command.env)
    native.cwd = command.cwd
    native.fds[:] = command.fds
    keep = sorted(fd for fd in command.pass_fds if fd > 2)
    native.keep = (ctypes.c_int32 * (len(keep) + 1))(*keep, -1)
    native.filter, native.filter_count = program, len(program) // 8
    native.listen, native.tag = tag is not None, tag or 0
    native.umask, native.process_group = command.umask, command.process_group
    native.close_fds = command.close_fds
    native.new_session, native.terminal = _LED if command.is_job else command.new_session, command.terminal
    native.restore_signals = command.restore_signals
    native.uid = -1 if command.uid is None else command.uid
    native.gid = -1 if command.gid is None else command.gid
    native.group_count = -1 if command.groups is None else len(command.groups)
    native.groups = (ctypes.c_uint32 * max(1, len(command.groups or ())))(*(command.groups or ()))
    native.no_new_privs = command.no_new_privs
    started = _native.Started()
    _native.check(_native.lib.dio_launch(ctypes.byref(native), ctypes.byref(started)))
    # Held until it is told to go, so the pid cannot be another's yet.
    pidfd = os.pidfd_open(started.pid)
    return Launched(started.init_pid, started.pid, started.go_fd, started.error_fd, started.life_fd, pidfd)
