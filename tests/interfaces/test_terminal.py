"""Terminals and serial lines without a view."""

from __future__ import annotations

import errno
import os
import struct
import termios
import threading
from collections.abc import Iterator

import pytest

from diorama.abi import ioctl
from diorama.interfaces.device import Argument
from diorama.interfaces.devicefile import Numbers
from diorama.interfaces.terminal import CTS, DTR, RTS, SerialLine, Terminal, TerminalFile
from diorama.modules.devices.lines import Loop
from diorama.testing.fakes import FakeMemory


class Echo(Terminal):
    """Notes what programs write."""

    rows, columns = 10, 20

    def __init__(self) -> None:
        self.seen = b""
        self.came = threading.Condition()

    def received(self, data: bytes) -> None:
        with self.came:
            self.seen += data
            self.came.notify_all()

    def await_seen(self, data: bytes) -> bool:
        with self.came:
            return self.came.wait_for(lambda: data in self.seen, 60)


def argument(value: int = 0) -> tuple[Argument, FakeMemory]:
    memory = FakeMemory()
    return Argument(memory.place(struct.pack("<i", value) + bytes(100)), memory), memory


@pytest.fixture
def echo() -> Iterator[TerminalFile]:
    file = TerminalFile(Echo(), Numbers())
    yield file
    file.close()


def test_a_program_gets_a_terminal_of_the_kernels(echo: TerminalFile) -> None:
    fd = echo.open_device(1, os.O_RDWR)
    assert os.isatty(fd)
    assert termios.tcgetwinsize(fd) == (10, 20)
    os.write(fd, b"hello\n")
    assert isinstance(echo.device, Echo)
    assert echo.device.await_seen(b"hello\r\n")
    echo.device.send(b"typed\x7f\x7fes\n")
    assert os.read(fd, 100) == b"types\n"
    echo.device.resize(5, 6)
    assert termios.tcgetwinsize(fd) == (5, 6)
    os.close(fd)


def test_a_terminal_that_is_closed_is_hung_up() -> None:
    file = TerminalFile(Echo(), Numbers())
    fd = file.open_device(1, os.O_RDONLY)
    file.close()
    assert os.read(fd, 10) == b""
    with pytest.raises(OSError, match="Input/output error"):
        file.open_device(1, os.O_RDONLY)
    os.close(fd)


def test_what_the_kernel_knows_it_answers(echo: TerminalFile) -> None:
    assert echo.control_device(1, ioctl.TCGETS, argument()[0]) is None
    assert echo.control_device(1, ioctl.TIOCMGET, argument()[0]) is None  # it has none
    assert echo.control_device(1, 0x4301, argument()[0]) is None


def test_an_author_may_answer_more() -> None:
    class Own(Echo):
        def ioctl(self, command: int, argument: Argument) -> int:
            if command != 0x4301:
                return super().ioctl(command, argument)
            return 5

    file = TerminalFile(Own(), Numbers())
    assert file.control_device(1, 0x4301, argument()[0]) == 5
    assert file.control_device(1, 0x4302, argument()[0]) is None
    file.close()


def lines_of(file: TerminalFile) -> int:
    where, memory = argument()
    assert file.control_device(1, ioctl.TIOCMGET, where) == 0
    return int(struct.unpack("<i", memory.read(where.value, 4))[0])


def test_a_serial_line_has_modem_lines() -> None:
    file = TerminalFile(Loop(), Numbers())
    fd = file.open_device(1, os.O_RDWR)
    os.write(fd, b"\x03\r\n")
    assert os.read(fd, 10) == b"\x03\r\n"
    for command, value, expected in (
        (ioctl.TIOCMSET, RTS, RTS | CTS), (ioctl.TIOCMBIS, DTR, 0x166), (ioctl.TIOCMBIC, RTS, 0x142),
        (ioctl.TIOCMSET, 0x1FF, 0x166), (ioctl.TIOCMSET, 0, 0),
    ):  # fmt: skip
        assert file.control_device(1, command, argument(value)[0]) == 0
        assert lines_of(file) == expected
    os.close(fd)
    file.close()


def test_who_waits_for_a_modem_line_is_woken() -> None:
    file = TerminalFile(SerialLine(), Numbers())
    assert isinstance(file.device, SerialLine)
    waiting = threading.Thread(
        target=lambda: file.control_device(1, ioctl.TIOCMIWAIT, Argument(CTS, FakeMemory())), daemon=True
    )
    waiting.start()
    while waiting.is_alive():  # whenever it begins to wait, one of these comes after
        file.device.set_lines(0)
        file.device.set_lines(CTS)
        waiting.join(0.01)
    file.close()


def test_breaks_and_speeds_are_told() -> None:
    told: list[bool] = []

    class Line(SerialLine):
        def broke(self, *, is_on: bool) -> None:
            told.append(is_on)

    file = TerminalFile(Line(), Numbers())
    fd = file.open_device(1, os.O_RDWR)
    file.control_device(1, ioctl.TIOCSBRK, Argument(0, FakeMemory()))
    file.control_device(1, ioctl.TIOCCBRK, Argument(0, FakeMemory()))
    file.control_device(1, ioctl.TCSBRK, Argument(0, FakeMemory()))
    file.control_device(1, ioctl.TCSBRK, Argument(1, FakeMemory()))  # tcdrain(3)
    assert told == [True, False, True, False]
    settings = termios.tcgetattr(fd)
    settings[4] = settings[5] = termios.B9600
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    assert isinstance(file.device, SerialLine)
    assert file.device.speed == termios.B9600
    os.close(fd)
    file.close()


def test_an_author_that_raises_does_not_end_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Raises(Echo):
        def received(self, data: bytes) -> None:
            super().received(data)
            if b"raise" in data:
                raise KeyError("of its author")

    file = TerminalFile(Raises(), Numbers())
    fd = file.open_device(1, os.O_RDWR)
    os.write(fd, b"raise\n")
    assert isinstance(file.device, Echo)
    assert file.device.await_seen(b"raise")
    os.write(fd, b"on\n")
    assert file.device.await_seen(b"on\r\n")
    os.close(fd)
    file.close()
    assert "of its author" in capsys.readouterr().err


def test_nothing_is_typed_at_a_terminal_that_is_closed() -> None:
    with pytest.raises(OSError, match=r".*") as caught:
        Terminal().send(b"x")
    assert caught.value.errno == errno.EIO
