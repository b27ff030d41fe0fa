"""Pcap: recordings of Ethernet frames, as tcpdump and Wireshark write and read them.

The format is that of pcap-savefile(5): a header, then each frame behind the time when it was captured and
its sizes. Ours have nanoseconds; those of others may have microseconds, and either order of bytes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
from typing import Final

from diorama.errors import UsageError

__all__ = ["Recorder", "Replay", "read_frames"]

_NANOSECONDS: Final = 0xA1B23C4D
_MICROSECONDS: Final = 0xA1B2C3D4
_ETHERNET: Final = 1
_SNAP: Final = 1 << 18
_HEAD: Final = 24


class Recorder:
    """Writes a recording; what is there is written over.

    Each frame goes to the file at once, in one call: who looks on sees it, and nobody loses it by dying.
    """

    def __init__(self, path: str) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UsageError(f"cannot record packets in {path}: {error.strerror}", error.errno or 5) from None
        os.write(self._fd, struct.pack("<IHHiIII", _NANOSECONDS, 2, 4, 0, 0, _SNAP, _ETHERNET))

    def write(self, frame: bytes) -> None:
        """A frame, captured now."""
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        head = struct.pack("<IIII", seconds, rest, len(frame), len(frame))
        # A full disk must not end the network.
        with contextlib.suppress(OSError):
            os.write(self._fd, head + frame)

    def close(self) -> None:
        """No more frames."""
        os.close(self._fd)


def read_frames(path: str) -> list[tuple[int, bytes]]:
    """The frames of a recording, each with its time in nanoseconds; `UsageError` if it is none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"cannot replay {path}: {error.strerror}", error.errno or 5) from None
    for order in "<>":
        magic, link = struct.unpack_from(order + "I16xI", data.ljust(_HEAD, b"\0"))
        if magic in (_NANOSECONDS, _MICROSECONDS):
            break
    else:
        raise UsageError(f"cannot replay {path}: it is not a pcap file")
    if link & 0xFFFF != _ETHERNET:
        raise UsageError(f"cannot replay {path}: its packets are not Ethernet frames")
    unit = 1 if magic == _NANOSECONDS else 1000
    frames: list[tuple[int, bytes]] = []
    at = _HEAD
    while at + 16 <= len(data):
        seconds, rest, size, _ = struct.unpack_from(order + "IIII", data, at)
        at += 16
        if at + size > len(data):
            break  # whoever wrote it was interrupted
        frames.append((seconds * 1_000_000_000 + rest * unit, data[at : at + size]))
        at += size
    return frames


class Replay:
    """Gives the frames of a recording at the pace at which they were captured."""

    def __init__(self, path: str) -> None:
        frames = read_frames(path)
        self._frames = frames
        self._at = 0
        self._begin = time.monotonic_ns() - (frames[0][0] if frames else 0)
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._timer = _Timer() if frames else None
        self._arm()

    def fileno(self) -> int:
        """Readable when a frame is due."""
        return self._timer.fd if self._timer else self._read

    def next(self) -> bytes | None:
        """The frame that is due, if one is."""
        if self._at >= len(self._frames):
            return None
        due, frame = self._frames[self._at]
        if self._begin + due > time.monotonic_ns():
            self._arm()
            return None
        self._at += 1
        self._arm()
        return frame

    def _arm(self) -> None:
        if self._timer is None:
            return
        if self._at >= len(self._frames):
            self._timer.set(0)
        else:
            self._timer.set(max(1, self._begin + self._frames[self._at][0]))

    def close(self) -> None:
        """No more of it."""
        os.close(self._read)
        os.close(self._write)
        if self._timer:
            os.close(self._timer.fd)


class _Timer:
    """A timer of the kernel's (timerfd_create(2)); Python has it from 3.13."""

    _ABSOLUTE: Final = 1

    def __init__(self) -> None:
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def set(self, at: int) -> None:
        """Fire at this time of the monotonic clock, in nanoseconds; 0: never."""
        self._libc.timerfd_settime(
            self.fd, self._ABSOLUTE, struct.pack("qqqq", 0, 0, *divmod(at, 1_000_000_000)), None
        )
