"""Serving: which server or library serves a type of file system, and how it is asked to.

Each type has ways to be served, the best one first.  The first whose program or package is installed is
taken; if none is, all are named.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.filesystem import FileSystem
from diorama.modules.filesystems.fuse.server import start_server
from diorama.modules.filesystems.images.part import Part

__all__ = ["Image", "Way", "way_for"]

_SYSTEM: Final = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Image:
    """What is to be served: a `part` of the image at `path`, which a process that has `part.fd` can open."""

    what: str
    path: str
    part: Part
    type: str
    writable: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """A way to serve a type: the program or the modules of Python that it needs, and where they are from."""

    needs: tuple[str, ...]
    package: str
    serve: Callable[[Image], FileSystem]
    writes: bool = False
    writes_with: str = ""
    flags: frozenset[str] = frozenset()
    anywhere: bool = True
    """Whether it serves a part of an image, and not only a whole one."""

    @property
    def is_here(self) -> bool:
        """Whether what it needs is installed."""
        return all(map(_is_module if self.package.startswith("PyPI") else _program, self.needs))

    @property
    def can_write(self) -> bool:
        """Whether it can write as well."""
        return self.writes and (not self.writes_with or shutil.which(self.writes_with) is not None)


def way_for(what: str, type: str, part: Part) -> Way:
    """How a type is served here; `UsageError` that names what would have to be installed."""
    known = _WAYS.get(type, ())
    ways = [way for way in known if way.anywhere or not part.start]
    for way in ways:
        if way.is_here:
            return way
    if known and not ways:
        name = known[0].needs[0]
        raise UsageError(f"cannot mount {what}: {name} serves no partitions; take it out of the image (dd)")
    if not ways:
        raise UsageError(f"cannot mount {what}: nothing is known that serves its {type}")
    wanted = " or ".join(f"{', '.join(way.needs)} ({way.package})" for way in ways)
    raise UsageError(f"cannot mount {what}: it is {type}, which needs {wanted}")


def _program(name: str) -> str | None:
    """Where a program is: some servers are where only the PATH of root leads."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM)


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


# -- servers ----------------------------------------------------------------------------------


def _fuse2fs(image: Image) -> FileSystem:
    options = ",".join([*image.flags, *([] if image.writable else ["ro"]), f"offset={image.part.start}"])
    command = ["fuse2fs", "-f", image.path, "{}", "-o", options]
    return start_server(command, image.what, keep=image.part.fd)


def _whole(name: str) -> Callable[[Image], FileSystem]:
    """A server that takes an image and a directory, and knows no offset."""

    def serve(image: Image) -> FileSystem:
        command = [_program(name) or name, *([] if image.writable else ["-o", "ro"]), image.path, "{}"]
        return start_server(command, image.what, keep=image.part.fd)

    return serve


def _squashfuse(image: Image) -> FileSystem:
    options = f"offset={image.part.start}"
    return start_server(["squashfuse", "-f", "-o", options, image.path, "{}"], image.what, keep=image.part.fd)


# -- libraries --------------------------------------------------------------------------------


def _dissect(image: Image) -> FileSystem:
    from diorama.modules.filesystems.images.reading import DissectFileSystem

    owner = (os.getuid(), os.getgid()) if image.type == "ntfs" else None
    return _with_part(image, lambda part: DissectFileSystem(part, image.type, owner))


def _fat(image: Image) -> FileSystem:
    from diorama.modules.filesystems.images.fat import FatFileSystem

    return _with_part(image, lambda part: FatFileSystem(part, image.path if image.writable else None))


def _iso(image: Image) -> FileSystem:
    from diorama.modules.filesystems.images.iso import open_iso

    return _with_part(image, open_iso)


def _with_part(image: Image, make: Callable[[Part], FileSystem]) -> FileSystem:
    """What is made of a part of its own, which it closes in the end."""
    part = image.part.copy()
    try:
        return make(part)
    except BaseException:
        part.close()
        raise


def _library(package: str, *modules: str) -> Way:
    return Way(("dissect.target", *modules), f"PyPI packages dissect.target, {package}", _dissect)


_EXT: Final = (
    Way(("fuse2fs",), "Debian package fuse2fs", _fuse2fs, writes=True, flags=frozenset({"fakeroot"})),
    _library("dissect.extfs", "dissect.extfs"),
)
_ISO: Final = (Way(("pycdlib",), "PyPI package pycdlib", _iso),)
_WAYS: Final[dict[str, tuple[Way, ...]]] = {
    "apfs": (_library("dissect.apfs", "dissect.apfs"),),
    "btrfs": (_library("dissect.btrfs", "dissect.btrfs"),),
    "cramfs": (_library("dissect.cramfs", "dissect.cramfs"),),
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "iso9660": _ISO,
    "exfat": (
        Way(("mount.exfat-fuse",), "Debian package exfat-fuse", _whole("mount.exfat-fuse"), writes=True,
            anywhere=False),
    ),
    "ntfs": (
        Way(("ntfs-3g",), "Debian package ntfs-3g", _whole("ntfs-3g"), writes=True, anywhere=False),
        _library("dissect.ntfs", "dissect.ntfs"),
    ),
    "squashfs": (
        Way(("squashfuse",), "Debian package squashfuse", _squashfuse),
        _library("dissect.squashfs", "dissect.squashfs"),
    ),
    "udf": _ISO,
    "vfat": (
        Way(("dissect.target", "dissect.fat"), "PyPI packages dissect.target, dissect.fat", _fat, writes=True,
            writes_with="mcopy"),
    ),
    "xfs": (_library("dissect.xfs", "dissect.xfs"),),
}  # fmt: skip
