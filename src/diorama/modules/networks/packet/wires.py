"""Wires: where Ethernet frames go to and come from.

A wire is an Ethernet: it may lose frames, and does so rather than make anybody wait. What ends it is an
OSError of `receive` or `send`: its carrier is lost then, and whoever has it may open it again by its
locator:

* `vde:///tmp/switch`, `vxvde://`, `udp://...`, `cmd://...`: all that libvdeplug knows; a path is that of
  the directory of a vde_switch;
* `tap:NAME`: a tap of the kernel's, which the user must be allowed to open;
* `pcap:FILE`: the frames of a recording, as they came; what is sent goes nowhere;
* `switch:NAME`: the switch between views (`diorama.modules.networks.packet.switch`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import random
import select
import struct
from abc import ABC, abstractmethod
from typing import Final, NoReturn

from diorama.errors import UsageError
from diorama.modules.networks.packet.pcap import Recorder, Replay

__all__ = ["FRAME_MAX", "Lossy", "Recorded", "Tap", "Vde", "Wire", "open_wire"]

FRAME_MAX: Final = 9216
"""The largest frame that is taken from a wire."""


class Wire(ABC):
    """An Ethernet that one interface is plugged into."""

    kind = "eth"
    """What an interface on it is called by default, with a number after it."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that is readable when there may be a frame, or the end of the wire."""

    @abstractmethod
    def receive(self) -> bytes | None:
        """The next frame; None if there is none now.  OSError: the wire has ended."""

    @abstractmethod
    def send(self, frame: bytes) -> None:
        """Send a frame, or lose it.  OSError: the wire has ended."""

    @abstractmethod
    def close(self) -> None:
        """Pull the plug."""


def open_wire(locator: str) -> Wire:
    """The wire of a locator; `UsageError` if it cannot be opened, in one line."""
    scheme, _, rest = locator.partition(":")
    try:
        if scheme == "tap":
            return Tap(rest)
        if scheme == "pcap":
            return _Replayed(rest)
        if scheme == "switch":
            from diorama.modules.networks.packet.switch import Switch

            return Switch(rest)
        return Vde(locator)
    except OSError as error:
        why = f"cannot open the wire {locator}: {error.strerror or error}"
        raise UsageError(why, error.errno or errno.EIO) from None


class Vde(Wire):
    """A plug of Virtual Distributed Ethernet, by libvdeplug."""

    kind = "vde"
    _VERSION: Final = 1

    def __init__(self, locator: str) -> None:
        """Any locator of libvdeplug's, or the directory of a switch."""
        try:
            self._vde = ctypes.CDLL("libvdeplug.so.2", use_errno=True)
        except OSError:
            raise UsageError(f"cannot open the wire {locator}: libvdeplug2 is not installed") from None
        self._vde.vde_open_real.restype = ctypes.c_void_p
        for name in ("vde_recv", "vde_send"):
            function = getattr(self._vde, name)
            function.restype = ctypes.c_ssize_t
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for name in ("vde_datafd", "vde_ctlfd", "vde_close"):
            getattr(self._vde, name).argtypes = [ctypes.c_void_p]
        url = locator if "://" in locator else f"vde://{os.path.abspath(locator.removeprefix('vde:'))}"
        ctypes.set_errno(0)
        self._plug = self._vde.vde_open_real(url.encode(), b"diorama", self._VERSION, None)
        if not self._plug:
            code = ctypes.get_errno() or errno.ENOENT
            raise OSError(code, os.strerror(code))
        self._buffer = ctypes.create_string_buffer(FRAME_MAX)
        self._data = self._vde.vde_datafd(self._plug)
        self._control = self._vde.vde_ctlfd(self._plug)
        self._watch = select.epoll()
        for fd in {self._data, self._control} - {-1}:
            self._watch.register(fd, select.EPOLLIN)
        self._ready = select.poll()
        self._ready.register(self._data, select.POLLIN)
        self._ended = select.poll()
        if self._control not in (-1, self._data):
            self._ended.register(self._control, select.POLLIN)

    def fileno(self) -> int:
        return self._watch.fileno()

    def receive(self) -> bytes | None:
        # vde_recv waits, whatever its flags, so the descriptor is asked first.
        if not self._ready.poll(0):
            self._look_at_control()
            return None
        size = self._vde.vde_recv(self._plug, self._buffer, FRAME_MAX, 0)
        if size < 0:
            self._check(ctypes.get_errno())
            return None
        if size <= 1:
            # One byte stands for "no frame" with libvdeplug; nothing for the end of a stream.
            self._look_at_control()
            if not size:
                self._end()
            return b""
        return self._buffer.raw[:size] if size > 2048 else ctypes.string_at(self._buffer, size)

    def _look_at_control(self) -> None:
        """A switch that ends closes its control connection."""
        if not self._ended.poll(0):
            return
        try:
            said = os.read(self._control, 512)
        except BlockingIOError:
            return
        if not said:
            self._end()

    def _end(self) -> NoReturn:
        raise OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))

    def _check(self, code: int) -> None:
        if code not in (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.EMSGSIZE, 0):
            raise OSError(code, os.strerror(code))

    def send(self, frame: bytes) -> None:
        if self._vde.vde_send(self._plug, frame, len(frame), 0) < 0:
            self._check(ctypes.get_errno())

    def close(self) -> None:
        if self._plug:
            self._watch.close()
            self._vde.vde_close(self._plug)
            self._plug = None


class Tap(Wire):
    """A tap device of the kernel's."""

    kind = "tap"
    _TUNSETIFF: Final = 0x400454CA
    _IFF_TAP: Final = 0x2
    _IFF_NO_PI: Final = 0x1000

    def __init__(self, name: str) -> None:
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            request = struct.pack("16sH22x", name.encode(), self._IFF_TAP | self._IFF_NO_PI)
            fcntl.ioctl(self._fd, self._TUNSETIFF, request)
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        return self._fd

    def receive(self) -> bytes | None:
        try:
            return os.read(self._fd, FRAME_MAX)
        except BlockingIOError:
            return None

    def send(self, frame: bytes) -> None:
        try:
            os.write(self._fd, frame)
        except OSError as error:
            # EIO: nobody has set the device up yet, which is no more than a cable that is not plugged in.
            if error.errno not in (errno.EAGAIN, errno.EIO, errno.ENOBUFS, errno.EINVAL):
                raise

    def close(self) -> None:
        os.close(self._fd)


class _Replayed(Wire):
    """What a recording has, at its own pace."""

    kind = "pcap"

    def __init__(self, path: str) -> None:
        self._replay = Replay(path)

    def fileno(self) -> int:
        return self._replay.fileno()

    def receive(self) -> bytes | None:
        return self._replay.next()

    def send(self, frame: bytes) -> None:
        return

    def close(self) -> None:
        self._replay.close()


class Recorded(Wire):
    """A wire of which all that passes is written to a pcap file."""

    def __init__(self, wire: Wire, recorder: Recorder) -> None:
        self._wire = wire
        self.kind = wire.kind
        self._recorder = recorder

    def fileno(self) -> int:
        return self._wire.fileno()

    def receive(self) -> bytes | None:
        frame = self._wire.receive()
        if frame:
            self._recorder.write(frame)
        return frame

    def send(self, frame: bytes) -> None:
        self._recorder.write(frame)
        self._wire.send(frame)

    def close(self) -> None:
        self._wire.close()
        self._recorder.close()


class Lossy(Wire):
    """A wire that loses some of what is sent, by chance: `share` of 1."""

    def __init__(self, wire: Wire, share: float) -> None:
        self._wire = wire
        self.kind = wire.kind
        self._share = share
        self._chance = random.Random()

    def fileno(self) -> int:
        return self._wire.fileno()

    def receive(self) -> bytes | None:
        return self._wire.receive()

    def send(self, frame: bytes) -> None:
        if self._chance.random() >= self._share:
            self._wire.send(frame)

    def close(self) -> None:
        self._wire.close()
