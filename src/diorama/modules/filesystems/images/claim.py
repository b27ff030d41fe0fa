"""Claim: a block device of the view, whose bytes are an image.

It is open as long as what is in it is mounted, and nobody else has it alone (O_EXCL), as under the kernel.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diorama.errors import UsageError
from diorama.interfaces.blockfile import BlockFile
from diorama.modules.filesystems.images.part import Part
from diorama.modules.opening import device_at

if TYPE_CHECKING:
    from diorama.interfaces.filesystem import FileSystem
    from diorama.modules.options import Options

__all__ = ["Claim", "claim"]


def claim(what: str, path: str, options: Options) -> Claim | None:
    """The device at a path; None if it is none of the view.  `UsageError` if its bytes are in no file."""
    access = os.R_OK if options.read_only else os.R_OK | os.W_OK
    file = device_at(path, access)
    if not isinstance(file, BlockFile):
        return None
    if file.device.backing() is None:
        raise UsageError(f"cannot mount {what}: its bytes are in no file, as those of a ramdisk: are")
    return Claim(file, options)


class Claim:
    """A device that is claimed."""

    def __init__(self, file: BlockFile, options: Options) -> None:
        self._is_read_only = options.read_only or file.is_read_only
        flags = os.O_RDONLY if self._is_read_only else os.O_RDWR
        self._opened = file.open_special(1, flags | os.O_EXCL)
        self._file = file
        self._is_kept = self._is_released = False
        file.disk.use()

    def _backing(self) -> tuple[int, int]:
        found = self._file.device.backing()
        assert found is not None  # as it was claimed
        return found

    def part(self) -> Part:
        """Its bytes."""
        fd, start = self._backing()
        return Part(os.dup(fd), start + self._file.start, self._file.size)

    @property
    def writable_path(self) -> str | None:
        """Where servers find the file that has its bytes, if they may be written."""
        return None if self._is_read_only else f"/proc/{os.getpid()}/fd/{self._backing()[0]}"

    def keep_for(self, filesystem: FileSystem) -> None:
        """Keep it until a file system is closed."""
        close = filesystem.close

        def close_both() -> None:
            try:
                close()
            finally:
                self._release()

        filesystem.close = close_both  # type: ignore[method-assign]
        self._is_kept = True

    def release_unless_kept(self) -> None:
        """Nothing has come of it."""
        if not self._is_kept:
            self._release()

    def _release(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._opened.close()
            self._file.disk.drop()
