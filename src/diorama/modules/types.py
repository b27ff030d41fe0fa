"""Types: file system types as programs name them in mount(2), and what of ours they are.

Type `diorama` takes any source that `diorama run --mount` takes.  A scheme is a type too, with what stands
behind the colon as the source: `mount -t zip a.zip /mnt`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Final

from diorama.errors import Unsupported, UsageError
from diorama.modules.opening import Below, looking_in
from diorama.modules.sources import is_scheme, make_mount
from diorama.view.mounts import Mount

__all__ = ["check_type", "make_of_type"]

_ANY: Final = "diorama"

Translation = Callable[[str, Sequence[str]], tuple[str, list[str]]]


def check_type(type: str) -> None:
    """`UsageError` with ENODEV for a type that nobody knows; `Unsupported` for one that the kernel knows."""
    if type == _ANY or type in _TRANSLATED or is_scheme(type):
        return
    if type in _of_kernel():
        raise Unsupported("mount", f"the kernel's file system type {type!r} is not supported", errno.EPERM)
    raise UsageError(f"unknown file system type {type!r}", errno.ENODEV)


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


def _memory(_source: str, options: Sequence[str]) -> tuple[str, list[str]]:
    return "memory:", list(options)


_TRANSLATED: Final[dict[str, Translation]] = {"tmpfs": _memory, "ramfs": _memory, "memory": _memory}
"""Types of the kernel that something of ours serves as well."""


def _of_kernel() -> set[str]:
    """The types that the kernel knows (filesystems(5))."""
    with open("/proc/filesystems", encoding="utf-8") as lines:
        return {line.split()[-1] for line in lines if line.strip()}
