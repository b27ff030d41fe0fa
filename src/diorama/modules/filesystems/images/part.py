"""Part: a piece of an image, as a file of its own for who reads it."""

from __future__ import annotations

import io
import os

__all__ = ["Part"]


class Part(io.RawIOBase):
    """The bytes from `start` on, `size` of them, of the open file `fd`, which it closes in the end.

    Reads say where they read, so another who has the descriptor moves nothing here.
    """

    def __init__(self, fd: int, start: int = 0, size: int | None = None) -> None:
        super().__init__()
        self._fd, self.start = fd, start
        self.size = max(os.lseek(fd, 0, os.SEEK_END) - start, 0) if size is None else size
        self._place = 0

    @property
    def fd(self) -> int:
        """The descriptor of the image."""
        return self._fd

    def copy(self, start: int = 0, size: int | None = None) -> Part:
        """A part of this part, with a descriptor of its own; all of it without arguments."""
        return Part(os.dup(self._fd), self.start + start, self.size if size is None else size)

    def at(self, offset: int, size: int) -> bytes:
        """Some bytes; fewer at the end."""
        size = min(size, self.size - offset)
        pieces: list[bytes] = []
        while size > 0 and (piece := os.pread(self._fd, size, self.start + offset)):
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As for any file."""
        data = self.at(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As for any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """As for any file."""
        return self._place

    def close(self) -> None:
        """Close the image."""
        if not self.closed:
            os.close(self._fd)
        super().close()
