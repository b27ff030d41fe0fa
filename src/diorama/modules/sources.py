"""Sources: what can be asked to be mounted.

A source is a host path, or `scheme:rest` (a path that looks so is written `./a:b`), or a file system object.
A scheme is built in, or a protocol of fsspec, or registered by an installed package as an entry point of the
group `diorama.filesystems`: a function that takes the rest and returns a `FileSystem`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from importlib import import_module
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.device import Device
from diorama.interfaces.filesystem import FileSystem
from diorama.interfaces.network import Network
from diorama.interfaces.stackfile import StackFile
from diorama.modules.options import Options, without_secrets
from diorama.view.mounts import Mount

__all__ = ["is_inside", "is_scheme", "make_mount"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_BUILT_IN: Final = {
    "tar": ("diorama.modules.filesystems.tar", "open_tar"),
    "zip": ("diorama.modules.filesystems.zip", "open_zip"),
}
_MAKING: Final[dict[str, tuple[str, str]]] = {
    "binfmt": ("diorama.modules.filesystems.binfmt", "open_binfmt"),
    "clock": ("diorama.modules.clocks.files", "open_clock"),
    "cow": ("diorama.modules.filesystems.layers.mounting", "open_cow"),
    "disk": ("diorama.modules.devices.image", "open_disk"),
    "full": ("diorama.modules.devices.simple", "open_full"),
    "fuse": ("diorama.modules.filesystems.fuse.server", "make_fuse"),
    "host": ("diorama.modules.networks.host.mounting", "open_host"),
    "image": ("diorama.modules.filesystems.images.mounting", "open_image"),
    "lan": ("diorama.modules.networks.lan.mounting", "open_lan"),
    "memory": ("diorama.modules.filesystems.memory", "make_memory"),
    "mincow": ("diorama.modules.filesystems.layers.mounting", "open_mincow"),
    "null": ("diorama.modules.devices.simple", "open_null"),
    "nbd": ("diorama.modules.devices.nbd.serving", "open_nbd"),
    "nbd+unix": ("diorama.modules.devices.nbd.serving", "open_nbd_unix"),
    "nbdkit": ("diorama.modules.devices.nbd.serving", "open_nbdkit"),
    "none": ("diorama.modules.networks.none", "open_none"),
    "overlay": ("diorama.modules.filesystems.layers.mounting", "open_overlay"),
    "packet": ("diorama.modules.networks.packet.network", "open_packet"),
    "ramdisk": ("diorama.modules.devices.ramdisk", "open_ramdisk"),
    "random": ("diorama.modules.devices.simple", "open_random"),
    "serial": ("diorama.modules.devices.lines", "open_serial"),
    "terminal": ("diorama.modules.devices.lines", "open_terminal"),
    "tmp": ("diorama.modules.filesystems.tmp", "open_tmp"),
    "zero": ("diorama.modules.devices.simple", "open_zero"),
}
"""Schemes with options of their own, and of host-backed mounts: functions of
the rest and the options that make a `Mount`."""
_GROUP: Final = "diorama.filesystems"
_INSIDE: Final = frozenset((
    *("binfmt", "clock", "cow", "disk", "full", "image", "memory", "mincow", "null", "overlay", "ramdisk"),
    *("random", "tar", "tmp", "zero", "zip"),
))
"""Schemes of what needs only files that are found in the view, if its rest is no source with a scheme."""


def make_mount(source: str | os.PathLike[str] | FileSystem | Network | Device, *options: str) -> Mount:
    """A mount, not yet attached, of a path, a `scheme:rest`, or a file system, network or device."""
    chosen = Options.parse(options)
    if isinstance(source, Network):
        chosen.finish(source.title)
        return StackFile(source).mount(source.title, chosen.shown)
    if isinstance(source, FileSystem):
        return _synthetic(source, source.title, chosen)
    if isinstance(source, Device):
        return _of_device(source.title, source, chosen)
    text = os.fspath(source)
    match = _SCHEME.fullmatch(text) if isinstance(source, str) else None
    if match is None:
        from diorama.modules.filesystems.bind import open_bind

        return open_bind(text, chosen)
    scheme, rest = match.groups()
    if _is_chain(rest) and scheme != "nbd":  # which may have an address like [::1]
        return _synthetic(_of_fsspec(scheme, rest, chosen)(rest), text, chosen)
    if scheme in _MAKING:
        module, name = _MAKING[scheme]
        make: Callable[[str, Options], Mount] = getattr(import_module(module), name)
        return make(rest, chosen)
    if scheme == "py":
        return _of_python(text, rest, chosen)
    return _synthetic(_opener(scheme, rest, chosen)(rest), text, chosen)


def _of_python(text: str, rest: str, options: Options) -> Mount:
    from diorama.modules.filesystems.python import object_of

    found = object_of(rest, options)
    return _of_device(text, found, options) if isinstance(found, Device) else _synthetic(found, text, options)


def _of_device(title: str, device: Device, options: Options) -> Mount:
    from diorama.modules.devices.options import make_device_mount

    return make_device_mount(title, device, options)


def _is_chain(rest: str) -> bool:
    """Whether this is a chain of fsspec: `zip::https://...`, `zip://inner::s3://...`."""
    return rest.startswith(":") or (rest.startswith("//") and "::" in rest)


def is_inside(source: str) -> bool:
    """Whether what a source stands for runs nothing and reaches nothing but files of the view."""
    match = _SCHEME.fullmatch(source)
    if match is None:
        return True
    scheme, rest = match.groups()
    return scheme in _INSIDE and "::" not in rest and "://" not in rest and not _SCHEME.fullmatch(rest)


def is_scheme(name: str) -> bool:
    """Whether something can be mounted as `name:rest`."""
    from diorama.modules.filesystems.fsspec import is_known

    is_ours = name == "py" or name in _BUILT_IN or name in _MAKING
    return is_ours or _registered(name) is not None or is_known(name)


def _synthetic(filesystem: FileSystem, title: str, options: Options) -> Mount:
    try:
        options.finish(title)
        if options.is_set("rw") and not filesystem.writable:
            raise UsageError(f"cannot mount {title} read-write: this file system is read-only")
    except UsageError:
        filesystem.close()
        raise
    kind = stat.S_IFMT(filesystem.attributes(filesystem.root).mode)
    return Mount(
        filesystem=filesystem,
        kind=kind,
        read_only=options.read_only,
        source=without_secrets(title),
        type=filesystem.title,
        options=options.shown,
    )


def _opener(scheme: str, rest: str, options: Options) -> Callable[[str], FileSystem]:
    if scheme in _BUILT_IN:
        module, name = _BUILT_IN[scheme]
        opener: Callable[[str], FileSystem] = getattr(import_module(module), name)
        return opener
    return _registered(scheme) or _of_fsspec(scheme, rest, options)


def _registered(scheme: str) -> Callable[[str], FileSystem] | None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=_GROUP, name=scheme):
        found: Callable[[str], FileSystem] = entry.load()
        return found
    return None


def _of_fsspec(scheme: str, rest: str, options: Options) -> Callable[[str], FileSystem]:
    from diorama.modules.filesystems.fsspec import is_known, open_fsspec

    protocol = scheme.removeprefix("fsspec+")
    if not is_known(protocol):
        raise _unknown(scheme, rest)
    return lambda rest: open_fsspec(protocol, rest, options)


def _unknown(scheme: str, rest: str) -> UsageError:
    from importlib.metadata import entry_points

    known = sorted({"py", *_BUILT_IN, *_MAKING, *(entry.name for entry in entry_points(group=_GROUP))})
    return UsageError(
        f"unknown mount scheme {scheme!r}; known are {', '.join(known)} and the protocols of fsspec"
        f" (for a path, write ./{scheme}:{rest})"
    )
