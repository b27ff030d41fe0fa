"""Server: a running view, as it can be asked about and joined.

One thread waits for connections, and each has its own while it lasts.  Only its own user may connect: others
cannot enter the directory, and whoever got there otherwise is told by SO_PEERCRED.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

from diorama.control.messages import Messages, peer_of
from diorama.control.places import Place
from diorama.errors import UsageError

if TYPE_CHECKING:
    from diorama.popen import Popen
    from diorama.session import View

__all__ = ["Control", "Uncontrolled", "describe_failure"]

_ENDED: Final = "the view is about to end"
_PATIENCE: Final = 30.0
_PAUSE_SECONDS: Final = 0.1
_SIGNALS: Final = 64
_NOT_EXECUTABLE, _NOT_FOUND, _OWN_FAILURE = 126, 127, 125

Answer = Callable[[dict[str, Any], Messages], dict[str, Any]]


class Control:
    """A context manager: while it is entered, the view can be found and joined.

    `UsageError` if the name that was asked for cannot be had.
    """

    def __init__(self, view: View, name: str | None = None, log: str | None = None) -> None:
        self._view = view
        self._log = _open_log(log)
        self._place = Place(name)
        self._lock = threading.Condition()
        self._writing = threading.Lock()
        self._programs: dict[int, str] = {}
        self._joining = 0
        self._is_closed = False
        self._answers: dict[str, Answer] = {
            "debug": self._debug,
            "describe": self._describe,
            "join": self._join,
            "name": self._rename,
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="diorama-control", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_closed = True
        self._place.close()
        with self._writing:
            os.close(self._log)
            self._log = -1

    @property
    def name(self) -> str | None:
        """What the view is called."""
        return self._place.name

    def runs(self, pid: int, command: list[str]) -> None:
        """Tell that a program runs in the view."""
        with self._lock:
            self._programs[pid] = " ".join(command)

    def ended(self, pid: int) -> None:
        """Tell that it has ended."""
        with self._lock:
            self._programs.pop(pid, None)

    def wait(self) -> None:
        """Return when nobody who has joined runs; from then on nobody can."""
        with self._lock:
            self._lock.wait_for(lambda: not self._joining)
            self._is_closed = True

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._place.listener.accept()
            except OSError:
                if self._is_closed:
                    return
                time.sleep(_PAUSE_SECONDS)  # we have too many files open, until somebody closes one
                continue
            threading.Thread(target=self._serve, args=(link,), name="diorama-joined", daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        messages = Messages(link)
        try:
            if peer_of(link)[1] not in (os.geteuid(), 0):
                return
            link.settimeout(_PATIENCE)
            message = messages.read()
            link.settimeout(None)
            answer = self._answers.get(str((message or {}).get("do")))
            if message is not None and answer is not None:
                messages.send(answer(message, messages))
        except OSError:
            return  # nobody is there to be told
        except UsageError as error:
            _tell(messages, {"error": str(error)})
        finally:
            messages.close()

    # -- answers ------------------------------------------------------------------------------

    def _describe(self, message: dict[str, Any], messages: Messages) -> dict[str, Any]:
        choice = self._view.programs.choice
        with self._lock:
            programs = [{"pid": pid, "command": command} for pid, command in self._programs.items()]
        return {
            "pid": os.getpid(),
            "name": self._place.name,
            "engine": None if choice is None else choice.engine,
            "programs": programs,
            "mounts": self._view.mounts(),
        }

    def _rename(self, message: dict[str, Any], messages: Messages) -> dict[str, Any]:
        self._place.rename(str(message.get("name")))
        return {"name": self._place.name}

    def _debug(self, message: dict[str, Any], messages: Messages) -> dict[str, Any]:
        pid = peer_of(messages.link)[0] if message.get("here") else None
        tags = self._view.debug(str(message.get("tags", "")), self._write, pid)
        return {"tags": sorted(tags)}

    def _write(self, line: str) -> None:
        with self._writing, contextlib.suppress(OSError):
            os.write(self._log, f"diorama: {line}\n".encode(errors="surrogateescape"))

    def _join(self, message: dict[str, Any], messages: Messages) -> dict[str, Any]:
        with self._lock:
            if self._is_closed:
                raise UsageError(_ENDED)
            self._joining += 1
        try:
            return self._run(message, messages)
        finally:
            with self._lock:
                self._joining -= 1
                self._lock.notify_all()

    def _run(self, message: dict[str, Any], messages: Messages) -> dict[str, Any]:
        argv, env, cwd, umask = _asked(message, messages)
        has_terminal = bool(message.get("terminal"))

        _tell(messages, {"heard": True})  # before the program can do anything

        def stopped(sig: int) -> None:
            _tell(messages, {"stopped": sig})

        try:
            stdin, stdout, stderr = messages.descriptors
            process = self._view.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd,
                umask=umask,
                terminal=stdin if has_terminal else -1,
                on_stop=stopped,
            )
        except OSError as error:
            return describe_failure(argv[0], error, env.get("PATH"), cwd)
        finally:
            for fd in messages.descriptors:
                os.close(fd)
            messages.descriptors = []
        self.runs(process.pid, argv)
        _tell(messages, {"pid": process.pid})
        threading.Thread(target=_pass_on, args=(messages, process), daemon=True).start()
        returned = process.wait()
        self.ended(process.pid)
        status = returned if returned >= 0 else 128 - returned
        _tell(messages, {"status": status})
        process.wait_all()
        return {}


class Uncontrolled:
    """In the place of `Control`, for a view that nobody is to find."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def runs(self, pid: int, command: list[str]) -> None:
        """As `Control.runs`."""

    def ended(self, pid: int) -> None:
        """As `Control.ended`."""

    def wait(self) -> None:
        """As `Control.wait`."""


def _asked(message: dict[str, Any], messages: Messages) -> tuple[list[str], dict[str, str], str, int]:
    """What is to be run: words, environment, directory and umask; `UsageError` if it is no such request."""
    try:
        argv, env, cwd = list(message["argv"]), dict(message["env"]), message["cwd"]
        words = [os.fsencode(word) for word in (*argv, *env, *env.values(), cwd)]
        umask = int(message["umask"]) & 0o777
        is_good = bool(argv) and len(messages.descriptors) == 3 and not any(b"\0" in word for word in words)
        if is_good and not any("=" in name for name in env):
            return argv, env, cwd, umask
    except (KeyError, TypeError, ValueError):
        pass
    raise UsageError("what was asked for cannot be understood")


def _tell(messages: Messages, message: dict[str, Any]) -> None:
    try:
        messages.send(message)
    except OSError:
        return  # he has gone; the program has not


def _pass_on(messages: Messages, process: Popen) -> None:
    """Signals from who has joined; when he is gone, his program is told as when a terminal hangs up."""
    while (message := messages.read()) is not None:
        number = message.get("signal")
        if isinstance(number, int) and 0 < number <= _SIGNALS:
            _signal(process, number)
    _signal(process, signal.SIGHUP)
    _signal(process, signal.SIGCONT)


def _signal(process: Popen, number: int) -> None:
    """To its job, as the terminal would, if it has ended not yet."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            process.send_signal(number)


def _open_log(path: str | None) -> int:
    """Where lines go: a file, which is added to, or a copy of standard error; `UsageError`."""
    if path is None:
        try:
            return os.dup(2)
        except OSError:  # it is closed, and what is not to be seen is written nowhere
            path = os.devnull
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or '').lower()}") from None


def describe_failure(name: str, error: OSError, path: str | None, cwd: str) -> dict[str, Any]:
    """What to tell of a program that could not be started, and the status."""
    reason = os.strerror(error.errno or 0)
    if error.filename == cwd:
        return {"error": f"cannot start in {cwd}: {reason.lower()}", "status": _OWN_FAILURE}
    missing = isinstance(error, FileNotFoundError)
    if isinstance(error, PermissionError) and "/" not in name:
        import shutil

        # A directory in PATH that is closed to us makes the search end with EACCES; shells look past it.
        missing = shutil.which(name, mode=os.F_OK, path=path) is None
    told = "command not found" if missing and "/" not in name else reason
    return {"error": f"{name}: {told}", "status": _NOT_FOUND if missing else _NOT_EXECUTABLE}
