"""Options: those that all devices have in common, and sizes as people write them."""

from __future__ import annotations

import re
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.device import BlockDevice, CharacterDevice, Device
from diorama.interfaces.devicefile import CharacterFile, Numbers
from diorama.interfaces.disk import Disk
from diorama.interfaces.terminal import Terminal, TerminalFile
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["make_device_mount", "numbers_of", "size_of"]

_SIZE: Final = re.compile(r"(\d+)([KMGT]?)(?:iB|B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MOST: Final = {"major": 0xFFF, "minor": 0xFFFFF, "uid": 0xFFFFFFFE, "gid": 0xFFFFFFFE}


def size_of(what: str, text: str) -> int:
    """Bytes, of `64M`, `1G`, `512K` or a number; `UsageError`."""
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not 0 < size < 1 << 62 or size % 512:
        reason = f"a size is a multiple of 512 bytes, as 64M or 1G, not {text!r}"
        raise UsageError(f"cannot mount {what}: {reason}")
    return size


def numbers_of(what: str, options: Options) -> Numbers:
    """What `major=`, `minor=`, `mode=`, `uid=`, `gid=` and `devid` say; `UsageError`."""
    found: dict[str, int | None] = {}
    for name, most in _MOST.items():
        text = options.take(name)
        if text is not None and not (text.isdecimal() and int(text) <= most):
            raise UsageError(f"cannot mount {what}: {name} is a number up to {most}, not {text!r}")
        found[name] = None if text is None else int(text)
    mode = options.take("mode")
    if mode is not None and not re.fullmatch("[0-7]{1,4}", mode):
        raise UsageError(f"cannot mount {what}: a mode is an octal number like 0660, not {mode!r}")
    found["mode"] = None if mode is None else int(mode, 8)
    return Numbers(**found, devid=options.is_set("devid"))


def make_device_mount(what: str, device: Device, options: Options) -> Mount:
    """A mount, not yet attached, of a device, which is closed if anything is wrong; `UsageError`."""
    try:
        numbers = numbers_of(what, options)
        options.finish(what)
        if isinstance(device, BlockDevice):
            if options.read_only:
                device.read_only = True
            if not _is_sound(device.size, device.sector):
                size = f"{device.size} bytes with sectors of {device.sector}"
                raise UsageError(f"cannot mount {what}: a block device cannot have {size}")
            return Disk(device, numbers, what).mount(options.shown)
        if isinstance(device, Terminal):
            return TerminalFile(device, numbers).mount(what, options.shown)
        if not isinstance(device, CharacterDevice):
            raise UsageError(f"cannot mount {what}: it is neither a character nor a block device")
        return CharacterFile(device, numbers).mount(what, options.shown)
    except BaseException:
        device.close()
        raise


def _is_sound(size: object, sector: object) -> bool:
    """Whether a size is one in whole sectors that offsets can reach, whatever its author has made of both."""
    if not isinstance(size, int) or not isinstance(sector, int):
        return False
    return sector >= 512 and not sector & sector - 1 and 0 < size < 1 << 63 and not size % sector
