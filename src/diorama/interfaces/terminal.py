"""Terminal: a terminal or a serial line, for a module that sits at its other end.

Programs hold a real terminal of the kernel's (pty(7)), with its line discipline, job control and signals;
what they write comes to `received`, and `send` types.  A serial line is one without echo and lines, that has
modem lines besides, and tells of breaks:

    class Modem(SerialLine):
        '''Answers OK to everything.'''

        def received(self, data):
            if data.endswith(b"\\r"):
                self.send(b"OK\\r\\n")

`received` is called on a thread of the terminal's, everything else on those of who asks.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import termios
import threading
import traceback
import tty
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from diorama.abi import ioctl
from diorama.interfaces.device import Argument, Device, refuse
from diorama.interfaces.devicefile import DeviceFile, Numbers, OpenedDevice

__all__ = ["DTR", "RTS", "SerialLine", "Terminal", "TerminalFile"]

DTR, RTS, CTS, CD, RI, DSR = 0x002, 0x004, 0x020, 0x040, 0x080, 0x100
_OURS: Final = DTR | RTS
_ROOM: Final = 1 << 16
_TICK: Final = 100
_SERIAL: Final = 72


class Terminal(Device):
    """A terminal; `rows` and `columns` are its size in the beginning."""

    kind = stat.S_IFCHR
    title = "terminal"
    major = 4
    mode = 0o620
    rows, columns = 24, 80

    _ends: tuple[int, int] | None = None
    _thread: threading.Thread | None = None
    _is_over = False

    def received(self, data: bytes) -> None:
        """Programs have written this, or what was typed is echoed."""

    def send(self, data: bytes) -> None:
        """Type: programs read it, as far as the terminal's settings let them.  EIO when it is closed."""
        ours, _ = self.ends()
        view = memoryview(data)
        while view and not self._is_over:
            poll = select.poll()
            poll.register(ours, select.POLLOUT)
            if poll.poll(_TICK):
                with suppress(BlockingIOError):
                    view = view[os.write(ours, view) :]

    def resize(self, rows: int, columns: int) -> None:
        """Have another size, of which programs in front are told (SIGWINCH)."""
        termios.tcsetwinsize(self.ends()[1], (rows, columns))

    def ends(self) -> tuple[int, int]:
        """Our end, and one of programs, which keeps it from being hung up."""
        if self._ends is None:
            raise refuse(errno.EIO)
        return self._ends

    def start(self) -> None:
        """It is mounted."""
        ours, theirs = os.openpty()
        os.set_blocking(ours, False)
        self._ends = ours, theirs
        self.prepare(theirs)
        self._thread = threading.Thread(target=self._run, args=(ours,), name="terminal", daemon=True)
        self._thread.start()

    def prepare(self, fd: int) -> None:
        """How it is set in the beginning."""
        termios.tcsetwinsize(fd, (self.rows, self.columns))

    def _run(self, ours: int) -> None:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        while not self._is_over:
            if not poll.poll(_TICK):
                continue
            try:
                data = os.read(ours, _ROOM)
            except BlockingIOError:
                continue
            except OSError:
                return
            try:
                self.received(data)
            except Exception:  # of its author; the terminal goes on
                traceback.print_exc()

    def close(self) -> None:
        """Hang up."""
        self._is_over = True
        if self._thread is not None:
            self._thread.join()
        if self._ends is not None:
            for fd in self._ends:
                os.close(fd)
            self._ends = None


class SerialLine(Terminal):
    """A serial line.  `lines` are the modem lines, of which programs set DTR and RTS (ioctl_tty(2))."""

    title = "serial"
    minor: int | None = None
    mode = 0o660
    lines = DTR | RTS | CTS | CD | DSR
    turned: Mapping[int, int] = MappingProxyType(dict.fromkeys((CTS, DSR, RI, CD), 0))
    """How often each of the other end's lines has changed."""

    def lines_set(self, lines: int) -> None:
        """Programs have set DTR and RTS so."""

    def broke(self, *, is_on: bool) -> None:
        """Programs have begun a break, or ended it."""

    def set_lines(self, lines: int) -> None:
        """Let CTS, CD, RI and DSR be so."""
        was, self.lines = self.lines, self.lines & _OURS | lines & ~_OURS
        changed = was ^ self.lines
        self.turned = {line: count + bool(changed & line) for line, count in self.turned.items()}
        self.changed()

    def prepare(self, fd: int) -> None:
        super().prepare(fd)
        tty.setraw(fd)

    @property
    def speed(self) -> int:
        """What programs have set, as termios tells it (`termios.B9600`)."""
        return int(termios.tcgetattr(self.ends()[1])[5])

    def let(self, lines: int) -> None:
        """A program sets DTR and RTS so."""
        was, self.lines = self.lines, self.lines & ~_OURS | lines & _OURS
        if was != self.lines:
            self.lines_set(self.lines)


class TerminalFile(DeviceFile):
    """The special file of a terminal."""

    device: Terminal

    def __init__(self, device: Terminal, numbers: Numbers) -> None:
        super().__init__(device, numbers)
        device.start()

    def open_special(self, inode: int, flags: int) -> OpenedDevice | None:
        """Programs hold the kernel's own."""
        return None

    def open_device(self, inode: int, flags: int) -> int:
        kept = flags & (os.O_ACCMODE | os.O_NONBLOCK | os.O_APPEND)
        return os.open(f"/proc/self/fd/{self.device.ends()[1]}", kept | os.O_NOCTTY | os.O_CLOEXEC)

    def control_device(self, inode: int, command: int, argument: Argument) -> int | None:
        """The kernel's terminal knows what it is asked, but for what only a serial line has."""
        if isinstance(self.device, SerialLine) and command in _OF_LINES:
            return self._control(self.device, command, argument)
        if command in _KNOWN:
            return None
        try:
            return self.device.ioctl(command, argument)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            return None

    def _control(self, line: SerialLine, command: int, argument: Argument) -> int:
        if command == ioctl.TIOCMGET:
            argument.pack("<i", line.lines)
        elif command in _SETTING:
            (bits,) = argument.unpack("<i")
            bits = line.lines | bits if command == ioctl.TIOCMBIS else bits
            line.let(line.lines & ~argument.unpack("<i")[0] if command == ioctl.TIOCMBIC else bits)
        elif command == ioctl.TIOCMIWAIT:
            self._await(line, argument.value)
        elif command in (ioctl.TIOCSBRK, ioctl.TIOCCBRK):
            line.broke(is_on=command == ioctl.TIOCSBRK)
        elif command in (ioctl.TCSBRK, ioctl.TCSBRKP):
            if command == ioctl.TCSBRKP or not argument.value:
                line.broke(is_on=True)
                line.broke(is_on=False)
        elif command == ioctl.TIOCGICOUNT:
            argument.pack("<4i64x", *line.turned.values())
        elif command == ioctl.TIOCGSERIAL:
            argument.write(bytes(_SERIAL))
        return 0

    def _await(self, line: SerialLine, wanted: int) -> None:
        """Until one of some lines has changed, be it back again."""
        before = line.turned
        while True:
            mark = self.mark()
            if any(line.turned[one] != before[one] for one in before if one & wanted):
                return
            self.wait(mark)


_SETTING: Final = (ioctl.TIOCMSET, ioctl.TIOCMBIS, ioctl.TIOCMBIC)
_OF_LINES: Final = frozenset({
    *_SETTING, ioctl.TIOCMGET, ioctl.TIOCMIWAIT, ioctl.TIOCSBRK, ioctl.TIOCCBRK, ioctl.TCSBRK, ioctl.TCSBRKP,
    ioctl.TIOCGICOUNT, ioctl.TIOCGSERIAL, ioctl.TIOCSSERIAL,
})  # fmt: skip
_KNOWN: Final = frozenset(
    value for name, value in vars(ioctl).items() if name.startswith(("TC", "TIOC", "FIO"))
)
