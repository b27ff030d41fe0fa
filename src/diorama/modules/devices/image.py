"""Image: a disk whose bytes are in a file, `disk:FILE`.

What the file is tells its beginning: a disk as it is, or one of the formats of virtual machines, which
qemu-nbd or nbdkit serves (`nbd`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from diorama.errors import UsageError
from diorama.interfaces.blockfile import BlockFile
from diorama.interfaces.device import BlockDevice
from diorama.modules.devices.bytesfile import BytesFile
from diorama.modules.devices.nbd.serving import format_of, serve_image
from diorama.modules.devices.options import make_device_mount
from diorama.modules.opening import device_at, host_path, open_source, open_to_write, usage_errors
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_disk"]


def open_disk(rest: str, options: Options) -> Mount:
    """A mount of `disk:FILE`; `UsageError` in one line for whatever is wrong with it."""
    what = f"disk:{rest}"
    with usage_errors(what):
        return make_device_mount(what, _disk(what, rest, options), options)


def _disk(what: str, path: str, options: Options) -> BlockDevice:
    """The disk in a file, which may be written if that may and nobody asks for `ro`."""
    nested = _on_device(path, options)
    if nested is not None:
        return nested
    fd, save = _opened(what, path, options)
    writable = save is not None
    try:
        if options.is_set("rw") and not writable:
            raise UsageError(f"cannot mount {what} read-write: the image may not be written")
        format = options.take("format") or format_of(fd) or "raw"
        if format == "raw":
            return BytesFile(fd, _size(what, fd), read_only=not writable, save=save)
        device = serve_image(what, fd, format, writable=writable)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return device


def _size(what: str, fd: int) -> int:
    size = os.lseek(fd, 0, os.SEEK_END)
    if size < 512:
        reason = "it has no whole sector" if size else "it is empty"
        raise UsageError(f"cannot mount {what}: {reason}")
    return size - size % 512


def _opened(what: str, path: str, options: Options) -> tuple[int, Callable[[], None] | None]:
    """A descriptor, and if it can be written what makes that lasting."""
    try:
        real = host_path(path, os.R_OK)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _opened_in_view(path, options)
    if stat.S_IFMT(os.stat(real).st_mode) not in (stat.S_IFREG, stat.S_IFBLK):
        raise UsageError(f"cannot mount {what}: it is no regular file")
    writable = None if options.read_only else _writable(path)
    if writable is None:
        return os.open(real, os.O_RDONLY | os.O_CLOEXEC), None
    fd = os.open(writable, os.O_RDWR | os.O_CLOEXEC)
    return fd, partial(os.fsync, fd)


def _opened_in_view(path: str, options: Options) -> tuple[int, Callable[[], None] | None]:
    if not options.read_only:
        with suppress(OSError):
            return open_to_write(path)
    with open_source(path) as file:
        return os.dup(file.fileno()), None


def _writable(path: str) -> str | None:
    """Where it is on the host if it may be written there: in layers that is a copy in the writable one."""
    try:
        real = host_path(path, os.W_OK)
    except OSError:
        return None
    return real if os.access(real, os.W_OK) else None


def _on_device(path: str, options: Options) -> BlockDevice | None:
    """A disk on a block device of the view's own: a partition that is divided again."""
    access = os.R_OK if options.read_only else os.R_OK | os.W_OK
    file = device_at(path, access)
    return OnBlockFile(file, read_only=options.read_only) if isinstance(file, BlockFile) else None


class OnBlockFile(BlockDevice):
    """All of a disk or a partition, as a device of its own."""

    title = "disk"
    major = 3

    def __init__(self, file: BlockFile, *, read_only: bool = False) -> None:
        self.read_only = read_only or file.is_read_only
        self._opened = file.open_special(1, (os.O_RDONLY if self.read_only else os.O_RDWR) | os.O_EXCL)
        self._file = file
        self._is_closed = False
        self.size, self.sector = file.size, file.device.sector
        self.waits = file.device.waits
        file.disk.use()

    def read(self, offset: int, size: int) -> bytes:
        return self._opened.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self._opened.write(offset, data)

    def zero(self, offset: int, size: int) -> None:
        self._opened.zero(offset, size)

    def discard(self, offset: int, size: int) -> None:
        self._file.device.discard(self._file.start + offset, size)

    def sync(self) -> None:
        self._file.device.sync()

    def backing(self) -> tuple[int, int] | None:
        found = self._file.device.backing()
        return None if found is None else (found[0], found[1] + self._file.start)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._opened.close()
            self._file.disk.drop()
