"""Joining: a program in a running view, with the caller's terminal, signals and status.

Theory.  The program is started by the view's supervisor, so it cannot be in the caller's session.  Where
standard input is a terminal, it gets a terminal of its own, whose other end is here: what is typed is passed
on as it is, ^C and ^Z among it, and acts on the job in the foreground there.  When the program is stopped, so
is this process, for the caller's shell to see; when this one goes on, it does.  Without a terminal for input
the program has the caller's own descriptors, and signals that come here are passed on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from types import FrameType
from typing import Any, Final

from diorama.control.messages import Messages
from diorama.errors import UsageError

__all__ = ["join"]

_PASSED_ON: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
)
_SIZE_ROOM: Final = 8
_BLOCK: Final = 65536


def join(messages: Messages, argv: list[str]) -> int:
    """Run a command in the view at the other end; its status, as a shell counts it; `UsageError`."""
    return _Joined(messages).run(argv)


class _Joined:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._master = -1
        self._saved: list[Any] | None = None
        self._out = 1

    def run(self, argv: list[str]) -> int:
        descriptors, slave = [0, 1, 2], -1
        if os.isatty(0):
            self._master, slave = os.openpty()
            self._copy_settings(slave)
            descriptors = [slave if os.isatty(fd) else fd for fd in descriptors]
            self._out = next(fd for fd in (1, 2, 0) if os.isatty(fd))
        umask = os.umask(0)
        os.umask(umask)
        message = {
            "do": "join",
            "argv": argv,
            "env": dict(os.environ),
            "cwd": os.getcwd(),
            "umask": umask,
            "terminal": slave >= 0,
        }
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (*_PASSED_ON, signal.SIGWINCH, signal.SIGCONT):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGWINCH:
                signal.signal(number, _noted)
        try:
            self._messages.send(message, descriptors)
            if slave >= 0:
                os.close(slave)
            self._raw()
            return self._attend(wake)
        finally:
            self._restore()

    # -- waiting ------------------------------------------------------------------------------

    def _attend(self, wake: int) -> int:
        """Pass on what comes until the status does."""
        link = self._messages.link.fileno()
        open_ones = {link, wake, *([self._master, 0] if self._master >= 0 else [])}
        while True:
            watched = open_ones - ({0} if not self._is_foreground() else set())
            ready, _, _ = select.select(list(watched), [], [])
            if self._master in ready and not self._print():
                open_ones -= {self._master, 0}
            if 0 in ready and not self._type():
                open_ones.discard(0)
            if wake in ready:
                for number in os.read(wake, 256):
                    self._signalled(number)
            if link in ready:
                status = self._hear()
                if status is not None:
                    self._print_rest()
                    return status

    def _hear(self) -> int | None:
        message = self._messages.read()
        if message is None:
            raise UsageError("the view has ended, and the program with it")
        if "error" in message:
            self._restore()
            print(f"diorama: {message['error']}", file=sys.stderr)
            return int(message.get("status", 125))
        if message.get("stopped"):
            self._stop()
        return int(message["status"]) if "status" in message else None

    def _stop(self) -> None:
        """The program is stopped, so are we; when we go on, it does."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._raw()
        self._resize()
        self._messages.send({"signal": int(signal.SIGCONT)})

    def _signalled(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif number == signal.SIGCONT:
            self._raw()
        else:
            with contextlib.suppress(OSError):
                self._messages.send({"signal": number})

    # -- the terminal -------------------------------------------------------------------------

    def _is_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(0) == os.getpgrp()
        except OSError:
            return True

    def _copy_settings(self, slave: int) -> None:
        termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
        self._resize()

    def _resize(self) -> None:
        if self._master < 0:
            return
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(_SIZE_ROOM))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _raw(self) -> None:
        if self._master < 0 or not self._is_foreground():
            return
        if self._saved is None:
            self._saved = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)

    def _restore(self) -> None:
        if self._saved is not None and self._is_foreground():
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        self._saved = None

    def _print(self) -> bool:
        """Show what the program has written; whether there may be more."""
        try:
            data = os.read(self._master, _BLOCK)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        _write_all(self._out, data)
        return bool(data)

    def _print_rest(self) -> None:
        while self._master >= 0 and select.select([self._master], [], [], 0)[0] and self._print():
            continue

    def _type(self) -> bool:
        data = os.read(0, _BLOCK)
        if data:
            _write_all(self._master, data)
        return bool(data)


def _write_all(fd: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(fd, data[written:])


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the wake-up descriptor tells of it."""
