"""Ramdisk: a block device in memory, gone with the view."""

from __future__ import annotations

import os

from diorama.errors import UsageError
from diorama.modules.devices.bytesfile import BytesFile
from diorama.modules.devices.options import make_device_mount, size_of
from diorama.modules.opening import usage_errors
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_ramdisk"]

_DEFAULT = "32M"


def open_ramdisk(rest: str, options: Options) -> Mount:
    """A mount of `ramdisk:SIZE`, or of `ramdisk:` with `size=SIZE`."""
    what = f"ramdisk:{rest}"
    asked = options.take("size")
    if rest not in ("", "none") and asked is not None:
        raise UsageError(f"cannot mount {what}: its size is told twice, {rest} and {asked}")
    size = size_of(what, asked or (rest if rest != "none" else "") or _DEFAULT)
    with usage_errors(what):
        fd = os.memfd_create("ramdisk", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
        except BaseException:
            os.close(fd)
            raise
    device = BytesFile(fd, size)
    device.title, device.model, device.major = "ramdisk", "Diorama RAM disk", 1
    return make_device_mount(what, device, options)
