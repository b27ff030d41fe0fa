"""Joining: a program in a running view, with the caller's terminal, signals and status.

Theory.  The program is started by the view's supervisor, so it cannot be in the caller's session.  Where
standard input is a terminal, it gets a terminal of its own, whose other end is here: what is typed is passed
on as it is, ^C and ^Z among it, and acts on the job in the foreground there.  When the program is stopped, so
is this process, for the caller's shell to see; when this one goes on, it does.  Without a terminal for input
the program has the caller's own descriptors, and signals that come here are passed on.  Until the view has
heard what is asked for, they end this process.
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

__all__ = ["join", "keep_closed"]

_PASSED_ON: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
)
_ENDING: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
_SIZE_ROOM: Final = 8
_BLOCK: Final = 65536
_LEFT_AT_MOST: Final = 1 << 17
"""More than a terminal keeps of what is written to it."""


def keep_closed() -> None:
    """Let nothing else be where a standard descriptor is closed, but what cannot be used either."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)


def join(messages: Messages, argv: list[str]) -> int:
    """Run a command in the view at the other end; its status, as a shell counts it; `UsageError`."""
    return _Joined(messages).run(argv)


class _Joined:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._master = -1
        self._typed = b""
        self._runs = False
        self._saved: list[Any] | None = None
        self._out = 1

    def run(self, argv: list[str]) -> int:
        descriptors, slave = [0, 1, 2], -1
        if os.isatty(0):
            self._master, slave = os.openpty()  # we keep both: else it would end where nobody has it open
            os.set_blocking(self._master, False)
            self._copy_settings(slave)
            descriptors = [slave if os.isatty(fd) else fd for fd in descriptors]
            self._out = next(fd for fd in (1, 2, 0) if os.isatty(fd))
        umask = os.umask(0)
        os.umask(umask)
        message = {
            "do": "join",
            "argv": argv,
            "env": dict(os.environ),
            "cwd": _directory(),
            "umask": umask,
            "terminal": slave >= 0,
        }
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (*_PASSED_ON, signal.SIGWINCH, signal.SIGCONT):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGWINCH:
                signal.signal(number, _noted)
        try:
            try:
                self._messages.send(message, descriptors)
            except OSError:
                raise UsageError("the view has ended") from None
            return self._attend(wake)
        finally:
            self._restore()

    # -- waiting ------------------------------------------------------------------------------

    def _attend(self, wake: int) -> int:
        """Pass on what comes until the status does."""
        link = self._messages.link.fileno()
        open_ones = {link, wake, *([self._master, 0] if self._master >= 0 else [])}
        while True:
            may_type = self._runs and not self._typed and self._is_foreground()
            watched = open_ones - (set() if may_type else {0})
            ready, room, _ = select.select(list(watched), [self._master] if self._typed else [], [])
            if room:
                self._pass_typed()
            if self._master in ready and not self._print():
                open_ones -= {self._master, 0}
            if 0 in ready and not self._type():
                open_ones.discard(0)
            if wake in ready:
                for number in os.read(wake, 256):
                    if number in _ENDING and not self._runs and not select.select([link], [], [], 0)[0]:
                        return 128 + number
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
        if message.get("heard"):
            self._runs = True
            self._raw()
        if message.get("stopped"):
            self._stop()
        return int(message["status"]) if "status" in message else None

    def _stop(self) -> None:
        """The program is stopped, so are we; when we go on, it does."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._raw()
        self._resize()
        self._say_signal(signal.SIGCONT)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif number == signal.SIGCONT:
            self._raw()
        else:
            self._say_signal(number)

    def _say_signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._messages.send({"signal": int(number)})

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
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(_SIZE_ROOM))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _raw(self) -> None:
        if self._master < 0 or not self._runs or not self._is_foreground():
            return
        with contextlib.suppress(termios.error):  # it has been hung up
            if self._saved is None:
                self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)

    def _restore(self) -> None:
        if self._saved is not None and self._is_foreground():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        self._saved = None

    def _print(self) -> bool:
        """Show what the program has written; whether there may be more."""
        try:
            _write_all(self._out, self._read_written())
        except OSError:  # our own terminal has been hung up
            return False
        return True

    def _read_written(self) -> bytes:
        try:
            return os.read(self._master, _BLOCK)
        except BlockingIOError:
            return b""

    def _print_rest(self) -> None:
        """Show what was written before the end, and not what others write who are left there."""
        shown = 0
        while self._master >= 0 and shown < _LEFT_AT_MOST and (data := self._read_written()):
            with contextlib.suppress(OSError):
                _write_all(self._out, data)
            shown += len(data)

    def _type(self) -> bool:
        """Take what is typed; whether there may be more."""
        try:
            self._typed = data = os.read(0, _BLOCK)
        except OSError:
            return False
        self._resize()  # what was typed after that is read after it
        self._pass_typed()
        return bool(data)

    def _pass_typed(self) -> None:
        """Pass on what there is room for: the program may have to be read from before it reads itself."""
        with contextlib.suppress(BlockingIOError):
            self._typed = self._typed[os.write(self._master, self._typed) :] if self._typed else b""


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise UsageError("cannot run anything in a view from here: this directory is gone") from None


def _write_all(fd: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(fd, data[written:])


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the wake-up descriptor tells of it."""
