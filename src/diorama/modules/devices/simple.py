"""Simple: null, zero, full and random, as Linux has them (mem(4), random(4))."""

from __future__ import annotations

import errno
import os
import random
import threading

from diorama.abi import ioctl
from diorama.errors import UsageError
from diorama.interfaces.device import Argument, CharacterDevice, refuse
from diorama.modules.devices.options import make_device_mount
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["Full", "Null", "Random", "Zero", "open_full", "open_null", "open_random", "open_zero"]


class Null(CharacterDevice):
    """Nothing is in it, and takes everything."""

    title = "null"
    waits = False
    major, minor, mode = 1, 3, 0o666
    seeks = True

    def read(self, offset: int, size: int) -> bytes:
        return b""

    def write(self, offset: int, data: bytes) -> int:
        return len(data)

    def seek(self, position: int, offset: int, whence: int) -> int:
        """It stays where it is."""
        return 0


class Zero(Null):
    """Zeros without end."""

    title = "zero"
    minor = 5

    def read(self, offset: int, size: int) -> bytes:
        return bytes(size)


class Full(Zero):
    """Zeros, and no room."""

    title = "full"
    minor = 7

    def write(self, offset: int, data: bytes) -> int:
        raise refuse(errno.ENOSPC)


class Random(Null):
    """Random bytes; with a seed always the same ones, in the order of reading."""

    title = "random"
    minor = 8

    def __init__(self, seed: str | None = None) -> None:
        self._generator = None if seed is None else random.Random(seed)
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        if self._generator is None:
            return os.urandom(size)
        with self._lock:
            return self._generator.randbytes(size)

    def ioctl(self, command: int, argument: Argument) -> int:
        """How much entropy there is, and what makes no difference."""
        if command == ioctl.RNDGETENTCNT:
            argument.pack("<i", 256)
            return 0
        if command in (ioctl.RNDADDTOENTCNT, ioctl.RNDADDENTROPY, ioctl.RNDZAPENTCNT, ioctl.RNDCLEARPOOL,
                       ioctl.RNDRESEEDCRNG):  # fmt: skip
            raise refuse(errno.EPERM)
        return super().ioctl(command, argument)


def open_null(rest: str, options: Options) -> Mount:
    """A mount of `null:`."""
    return _open(rest, Null(), options)


def open_zero(rest: str, options: Options) -> Mount:
    """A mount of `zero:`."""
    return _open(rest, Zero(), options)


def open_full(rest: str, options: Options) -> Mount:
    """A mount of `full:`."""
    return _open(rest, Full(), options)


def open_random(rest: str, options: Options) -> Mount:
    """A mount of `random:`, with `seed=` of one that always gives the same."""
    return _open(rest, Random(options.take("seed")), options)


def _open(rest: str, device: CharacterDevice, options: Options) -> Mount:
    what = f"{device.title}:"
    if rest and rest != "none":
        raise UsageError(f"cannot mount {what}{rest}: it takes nothing behind the colon")
    return make_device_mount(what, device, options)
