"""Types: file system types as programs name them in mount(2), and what of ours they are.

Type `diorama` takes any source that `diorama run --mount` takes.  A scheme is a type too, with what stands
behind the colon as the source: `mount -t zip a.zip /mnt`.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from typing import Final

from diorama.errors import Unsupported, UsageError
from diorama.modules.opening import Below, looking_in
from diorama.modules.sources import is_inside, is_scheme, make_mount
from diorama.view.mounts import Mount

__all__ = ["check_type", "is_inside_of_type", "make_of_type"]

_ANY: Final = "diorama"

Translation = Callable[[str, Sequence[str]], tuple[str, list[str]]]


def check_type(type: str) -> None:
    """`UsageError` with ENODEV for a type that nobody knows; `Unsupported` for one that the kernel knows."""
    if type == _ANY or type in _TRANSLATED or is_of_server(type) or is_scheme(type):
        return
    if type in _of_kernel():
        raise Unsupported("mount", f"the kernel's file system type {type!r} is not supported", errno.EPERM)
    raise UsageError(f"unknown file system type {type!r}", errno.ENODEV)


def is_inside_of_type(type: str | None, source: str) -> bool:
    """Whether a source reaches nothing but files of the view, and runs nothing of ours (`is_inside`)."""
    if type in _TRANSLATED:
        return True
    named = type is None or type == _ANY or source.startswith(f"{type}:")
    return is_inside(source if named else f"{type}:{source}")


def is_of_server(type: str) -> bool:
    """Whether a type is that of a FUSE server, which has the device open already."""
    return type in ("fuse", "fuseblk") or type.startswith(("fuse.", "fuseblk."))


def make_of_type(
    type: str | None, source: str | os.PathLike[str], options: Sequence[str], below: Below
) -> Mount:
    """A mount in no tree, of a source that is found in the tree below.

    `type` None is that of the source.  `UsageError`, with ENODEV for a type that nobody knows.
    """
    with looking_in(below):
        if type is None or type == _ANY:
            return make_mount(source, *options)
        source = os.fspath(source)
        if type in _TRANSLATED:
            source, asked = _TRANSLATED[type](source, options)
            return make_mount(source, *asked)
        check_type(type)
        return make_mount(source if source.startswith(f"{type}:") else f"{type}:{source}", *options)


def _new(scheme: str) -> Translation:
    """What has no source, whatever name programs give for one."""

    def translate(_source: str, options: Sequence[str]) -> tuple[str, list[str]]:
        return f"{scheme}:", [option for option in options if option not in _MEANINGLESS]

    return translate


def _overlay(_source: str, options: Sequence[str]) -> tuple[str, list[str]]:
    """The options of the kernel's overlayfs: directories apart by colons, the topmost first."""
    asked: list[str] = []
    lowers: list[str] = []
    for option in options:
        name, _, value = option.partition("=")
        if name == "lowerdir":
            lowers = [part.replace("\\:", ":") for part in _COLON.split(value)]
        elif name in _OVERLAY:
            asked.append(f"{_OVERLAY[name]}={value}")
        elif option != "userxattr":
            asked.append(option)
    return f"overlay:{','.join(lowers)}", asked


_COLON: Final = re.compile(r"(?<!\\):")
_OVERLAY: Final = {"upperdir": "upper", "workdir": "work"}
_MEANINGLESS: Final = frozenset({"inode32", "inode64"})
_TRANSLATED: Final[dict[str, Translation]] = {
    "binfmt_misc": _new("binfmt"),
    "memory": _new("memory"),
    "overlay": _overlay,
    "ramfs": _new("tmp"),
    "tmp": _new("tmp"),
    "tmpfs": _new("tmp"),
}
"""Types of the kernel that something of ours serves as well, and ours without a source."""


def _of_kernel() -> set[str]:
    """The types that the kernel knows (filesystems(5))."""
    with open("/proc/filesystems", encoding="utf-8") as lines:
        return {line.split()[-1] for line in lines if line.strip()}
