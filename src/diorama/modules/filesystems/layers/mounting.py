"""Mounting: overlays, copy-on-write and copy-on-need mounts."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.errors import UsageError
from diorama.modules.filesystems.layers.layer import Layer, open_layer, open_upper
from diorama.modules.filesystems.layers.tree import LayeredTree
from diorama.modules.filesystems.layers.upper import Upper
from diorama.modules.opening import host_name, host_path
from diorama.modules.options import Options
from diorama.view.mounts import Mount, MountTree, Place

__all__ = ["open_cow", "open_mincow", "open_overlay"]

_NO_FILES: Final = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs",
    "fusectl", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
    "tracefs",
})  # fmt: skip
"""Types of file systems whose files are the kernel's own: to change one is to tell it something."""
_MOUNT_TABLE: Final = "/proc/self/mountinfo"


def open_overlay(rest: str, options: Options) -> Mount:
    """`overlay:LOWER[,LOWER...]`: directories, the topmost first; `upper=DIR` takes the changes.

    Without it the mount is read-only.  `work=DIR` is on the same file system as the upper directory; by
    default it is beside that.
    """
    upper_name, work_name = options.take("upper"), options.take("work")
    source = f"overlay:{rest}"
    options.finish(source)
    lowers = [_directory(name, source) for name in rest.split(",") if name]
    if not lowers:
        raise UsageError(f"cannot mount {source}: write overlay:LOWER[,LOWER...]")
    upper = None if upper_name is None else _upper(upper_name, work_name, source)
    mount = Mount(
        layers=LayeredTree(lowers, upper),
        read_only=options.read_only or upper is None,
        source=source,
        type="overlay",
        options=options.shown,
    )
    if lowers[0] == b"/":
        _pass(mount)
    return mount


def open_cow(rest: str, options: Options) -> Mount:
    """`cow:DIR` with `layer=LAYER`: a host directory that stays as it is; the layer has the changes."""
    return _open_on_layer("cow", rest, options, through=False)


def open_mincow(rest: str, options: Options) -> Mount:
    """`mincow:DIR` with `layer=LAYER`: changes are made where that is allowed, the layer has the others."""
    return _open_on_layer("mincow", rest, options, through=True)


def _open_on_layer(kind: str, rest: str, options: Options, *, through: bool) -> Mount:
    source = f"{kind}:{rest}"
    name = options.take("layer")
    options.finish(source)
    if name is None:
        raise UsageError(f"cannot mount {source}: say where changes go, layer=DIRECTORY")
    lower = _directory(rest, source)
    layer = open_layer(name, os.fsdecode(lower))
    tree = LayeredTree(
        [lower], layer.upper, hidden=_hidden(layer, lower), lenient=os.geteuid() != 0, through=through
    )
    mount = Mount(
        layers=tree, read_only=options.read_only, source=source, type="overlay", options=options.shown
    )
    _pass(mount, lower)
    return mount


def _hidden(layer: Layer, lower: bytes) -> frozenset[bytes]:
    """The layer is not to be seen in itself."""
    below = lower.rstrip(b"/") + b"/"
    return frozenset({layer.path}) if layer.path.startswith(below) else frozenset()


def _directory(name: str, source: str, access: int = os.F_OK) -> bytes:
    try:
        path = host_path(name, access)
        mode = os.stat(path).st_mode
    except OSError as error:
        why = (error.strerror or "not accessible").lower()
        if error.errno == errno.EXDEV:
            why = "it is no directory of the host, or is in layers already"
        raise UsageError(f"cannot mount {source}: {name}: {why}", error.errno or errno.EINVAL) from None
    if not stat.S_ISDIR(mode):
        raise UsageError(f"cannot mount {source}: {name} is not a directory")
    return os.fsencode(path)


def _upper(name: str, work_name: str | None, source: str) -> Upper:
    tree = _directory(name, source, os.W_OK)
    named = work_name is not None
    if work_name is None:
        head, tail = os.path.split(os.fsdecode(tree))
        work_name = os.path.join(head, f".{tail}.work")
    try:
        if named:
            work_name = host_name(work_name)
        os.makedirs(work_name, 0o700, exist_ok=True)
    except OSError as error:
        why = (error.strerror or "not accessible").lower()
        raise UsageError(f"cannot mount {source}: work directory {work_name}: {why}") from None
    return open_upper(tree, os.fsencode(os.path.realpath(work_name)), name)


def _pass(mount: Mount, lower: bytes = b"/") -> None:
    """Let what is no file system of files be the host's own."""
    tree = MountTree(Mount(host=b"/", source="host"))
    tree.attach(mount, tree.root.root)
    below = lower.rstrip(b"/") + b"/"
    passed: list[bytes] = []
    for point, kind in _mounted():
        if kind not in _NO_FILES or not point.startswith(below):
            continue
        if any(point.startswith(one + b"/") for one in passed):
            continue
        passed.append(point)
        inner = Mount(host=point, source=kind, type=kind)
        tree.attach(inner, Place(mount, point[len(below) - 1 :]))
    mount.point = None


def _mounted() -> list[tuple[bytes, str]]:
    """Mount points of the host and their types, proc_pid_mountinfo(5)."""
    found: list[tuple[bytes, str]] = []
    with open(_MOUNT_TABLE, "rb") as table:
        for line in table:
            words = line.split(b" ")
            kind = words[words.index(b"-", 6) + 1]
            point = words[4].decode("unicode_escape").encode("latin-1")
            found.append((point, os.fsdecode(kind)))
    return sorted(found)
