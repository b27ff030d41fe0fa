"""Image: a disk whose bytes are in a file, `disk:FILE`.

What the file is tells its beginning: a disk as it is, or one of the formats of virtual machines, which
qemu-nbd or nbdkit serves (`nbd`).
"""

from __future__ import annotations

import os
import stat

from diorama.errors import UsageError
from diorama.modules.devices.bytesfile import BytesFile
from diorama.modules.devices.options import make_device_mount
from diorama.modules.opening import host_path, usage_errors
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_disk"]


def open_disk(rest: str, options: Options) -> Mount:
    """A mount of `disk:FILE`; `UsageError` in one line for whatever is wrong with it."""
    what = f"disk:{rest}"
    with usage_errors(what):
        return make_device_mount(what, _raw(what, rest, options), options)


def _raw(what: str, path: str, options: Options) -> BytesFile:
    """The bytes of a file, which may be written if it may and nobody asks for `ro`."""
    real = host_path(path, os.R_OK)
    kind = stat.S_IFMT(os.stat(real).st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFBLK):
        raise UsageError(f"cannot mount {what}: it is no regular file")
    writable = not options.read_only and _may_write(path)
    if options.is_set("rw") and not writable:
        raise UsageError(f"cannot mount {what} read-write: the image may not be written")
    fd = os.open(real, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        if size < 512:
            reason = "it has no whole sector" if size else "it is empty"
            raise UsageError(f"cannot mount {what}: {reason}")
        return BytesFile(fd, size - size % 512, read_only=not writable)
    except BaseException:
        os.close(fd)
        raise


def _may_write(path: str) -> bool:
    try:
        return os.access(host_path(path, os.W_OK), os.W_OK)
    except OSError:
        return False
