"""Popen: a program in a view, behaving as `subprocess.Popen`.

The program is not a child of this process but of the view's first process, which reports what becomes of
it over a socket (`native/launch.c`), and it may be traced by another thread here; so nothing in this
process may wait for it by pid.  Everything else (pipes, `communicate`, context manager, `send_signal`,
timeouts) is the standard library's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from diorama.engine.launch import Command, Launched
from diorama.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from diorama.session import View

_UNSUPPORTED = ("preexec_fn", "startupinfo", "creationflags")
_STATUS_SIZE = 4


class Popen(subprocess.Popen[Any]):
    """Start a program in `view`; the arguments are those of `subprocess.Popen`, less `preexec_fn`.

    `on_stop` is called with the signal when the program is stopped, and with 0 when it goes on.  `terminal`:
    a descriptor of the terminal of a session of its own, or -1 for one without: the program is its first job.
    Raises what `subprocess.Popen` raises, and `UsageError` when it cannot be traced.
    """

    def __init__(
        self,
        args: Any,
        *,
        view: View,
        on_stop: Callable[[int], None] | None = None,
        terminal: int | None = None,
        **options: Any,
    ) -> None:
        for name in _UNSUPPORTED:
            if options.get(name):
                raise ValueError(f"{name} is not supported by diorama.Popen")
        self._view = view
        self._on_stop = on_stop
        self._terminal = terminal
        self._launched: Launched | None = None
        super().__init__(args, **options)

    def wait_all(self) -> None:
        """Wait until the last process that descends from the program has ended."""
        self.wait()
        if self._launched is not None:
            self._view.programs.outlive(self._launched)
            self._launched = None

    # What follows overrides the private half of subprocess.Popen, whose shape is the same in 3.11 to 3.14.

    def _execute_child(self, args: Any, executable: Any, *rest: Any) -> None:
        (_preexec, close_fds, pass_fds, cwd, env, _info, _flags, shell) = rest[:8]
        p2cread, _p2cwrite, _c2pread, c2pwrite, _errread, errwrite = pipes = rest[8:14]
        (restore_signals, gid, gids, uid, umask, start_new_session, process_group) = rest[14:21]
        argv = _argv(args, shell, executable)
        program = os.fsencode(argv[0] if executable is None else executable)
        sys.audit("subprocess.Popen", program, args, cwd, env)
        command = Command(
            executables=_candidates(program, env),
            argv=argv,
            env=None if env is None else _environment(env),
            cwd=None if cwd is None else os.fsencode(cwd),
            fds=(p2cread, c2pwrite, errwrite),
            close_fds=bool(close_fds),
            pass_fds=tuple(pass_fds),
            umask=umask,
            process_group=-1 if process_group is None else process_group,
            new_session=bool(start_new_session),
            restore_signals=bool(restore_signals),
            uid=uid,
            gid=gid,
            groups=None if gids is None else tuple(gids),
            is_job=self._terminal is not None,
            terminal=-1 if self._terminal is None else self._terminal,
        )
        launched, failure = self._view.programs.launch(command)
        private: Any = self
        private._close_pipe_fds(*pipes)
        private._child_created = True
        self.pid = launched.pid
        self._launched = launched
        if failure is not None:
            self._view.programs.forget(launched)
            self._launched = None
            self.returncode = 127
            raise failure_error(failure, program, cwd)

    def _read_status(self, *, block: bool) -> int | None:
        """The program's final wait status; None if there is none yet (or for `block`, ever)."""
        launched = self._launched
        while launched is not None:
            if launched.closed:
                return signal.SIGKILL  # the view was closed, which ended what still ran
            if not block and not launched.has_told():
                return None
            data = os.read(launched.life_fd, _STATUS_SIZE)
            if not data:
                # init was killed before it could tell: nothing adopts orphans any more.
                launched.ended = True
                self._view.programs.abandon(launched)
                return signal.SIGKILL
            status = int.from_bytes(data, sys.byteorder, signed=True)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                launched.ended = True
                return status
            if self._on_stop is not None:
                self._on_stop(os.WSTOPSIG(status) if os.WIFSTOPPED(status) else 0)
        return None

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        status = self._read_status(block=not wait_flags & os.WNOHANG)
        return (0, 0) if status is None else (self.pid, status)

    def _internal_poll(self, _deadstate: int | None = None, **_ignored: Any) -> int | None:
        if self.returncode is None:
            status = self._read_status(block=False)
            if status is not None:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program, unless it has ended (subprocess.Popen.send_signal)."""
        self.poll()
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


def failure_error(failure: tuple[int, int], program: bytes, cwd: Any) -> Exception:
    """The exception for what failed between fork and exec."""
    from diorama.engine import _native

    error, step = failure
    if step == _native.STEP_FILTER:
        return UsageError(
            f"cannot install a system call filter: {os.strerror(error)}; `diorama doctor` tells more"
        )
    name = os.fsdecode(cwd) if step == _native.STEP_CWD else os.fsdecode(program)
    return OSError(error, os.strerror(error), name)


def _argv(args: Any, shell: bool, executable: Any) -> tuple[bytes, ...]:
    words: Sequence[Any] = [args] if isinstance(args, (str, bytes, os.PathLike)) else list(args)
    if shell:
        words = ["/bin/sh", "-c", *words]
        if executable is not None:
            words = [executable, *words[1:]]
    return tuple(os.fsencode(word) for word in words)


def _candidates(program: bytes, env: Mapping[Any, Any] | None) -> tuple[bytes, ...]:
    if b"/" in program:
        return (program,)
    return tuple(os.fsencode(place) + b"/" + program for place in os.get_exec_path(env))


def _environment(env: Mapping[Any, Any]) -> tuple[bytes, ...]:
    pairs: list[bytes] = []
    for key, value in env.items():
        name = os.fsencode(key)
        if b"=" in name:
            raise ValueError("illegal environment variable name")
        pairs.append(name + b"=" + os.fsencode(value))
    return tuple(pairs)
