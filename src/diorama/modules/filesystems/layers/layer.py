"""Layer: a directory of the user's in which a copy-on-write view keeps what it changed.

LAYER/layer.json    what it belongs to
LAYER/tree          the changes, as overlayfs has them
LAYER/work          for what is being made; locked while the layer is in use
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from typing import Final

from diorama.errors import UsageError
from diorama.modules.filesystems.layers.upper import InUse, Upper, remove_tree
from diorama.modules.opening import host_name

__all__ = ["Layer", "open_layer", "open_upper"]

_FORMAT: Final = 1
_ABOUT: Final = b"layer.json"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is in use by this process: its directory, the host directory below, the writable tree."""

    path: bytes
    lower: bytes
    upper: Upper

    @property
    def maker(self) -> int:
        """The user whose views made the changes."""
        return os.stat(self.upper.work).st_uid

    def discard(self) -> None:
        """Remove what it has changed, and itself."""
        os.unlink(os.path.join(self.path, _ABOUT))
        remove_tree(self.upper.tree)
        remove_tree(self.upper.work)
        self.upper.close()
        os.rmdir(self.path)

    def close(self) -> None:
        """Leave it to others."""
        self.upper.close()


def open_layer(path: str, lower: str | None = None) -> Layer:
    """A layer, for this process alone; made, if it is not there and `lower` tells what it is to belong to.

    `UsageError` if it is in use, belongs to something else, or is no layer.
    """
    try:
        where = os.fsencode(host_name(path))
    except OSError as error:
        why = (error.strerror or "not accessible").lower()
        raise UsageError(f"no layer at {path}: {why}", error.errno or errno.EINVAL) from None
    below = _read(where, path)
    if below is None:
        if lower is None:
            raise UsageError(f"{path} is not a layer: it has no {_ABOUT.decode()}")
        below = os.fsencode(os.path.realpath(lower))
        _make(where, path, below)
    if lower is not None and os.fsencode(os.path.realpath(lower)) != below:
        raise UsageError(f"layer {path} belongs to {os.fsdecode(below)}, not to {lower}")
    return Layer(where, below, open_upper(where + b"/tree", where + b"/work", path))


def open_upper(tree: bytes, work: bytes, name: str) -> Upper:
    """The writable tree of a layer; `UsageError` if that cannot be."""
    try:
        if os.stat(tree).st_dev != os.stat(work).st_dev:
            raise UsageError(f"cannot use layer {name}: tree and work directory are on two file systems")
        os.setxattr(work, "user.overlay.diorama", b"y")
        return Upper(tree, work)
    except InUse:
        raise UsageError(f"cannot use layer {name}: a running view uses it") from None
    except OSError as error:
        why = (error.strerror or "not accessible").lower()
        raise UsageError(f"cannot use layer {name}: {why} (it needs user extended attributes)") from None


def _read(where: bytes, name: str) -> bytes | None:
    try:
        with open(os.path.join(where, _ABOUT), "rb") as file:
            about = json.load(file)
        if about["format"] != _FORMAT:
            raise UsageError(f"layer {name} is of format {about['format']}, which this version does not know")
        return os.fsencode(about["lower"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot use layer {name}: {(error.strerror or 'not accessible').lower()}") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"layer {name} is damaged: its {_ABOUT.decode()} cannot be read") from None


def _make(where: bytes, name: str, lower: bytes) -> None:
    """Make an empty layer; what tells that it is one comes last."""
    try:
        os.makedirs(where, exist_ok=True)
        if any(one not in (b"tree", b"work", _ABOUT + b".new") for one in os.listdir(where)):
            raise UsageError(f"cannot make a layer of {name}: there is something else in that directory")
        for part, mode in ((b"tree", 0o755), (b"work", 0o700)):
            os.makedirs(os.path.join(where, part), mode, exist_ok=True)
        _like_lower(os.path.join(where, b"tree"), lower)
        new = os.path.join(where, _ABOUT + b".new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "lower": os.fsdecode(lower)}, file)
        os.rename(new, os.path.join(where, _ABOUT))
    except OSError as error:
        why = (error.strerror or "not accessible").lower()
        raise UsageError(f"cannot make layer {name}: {why}") from None


def _like_lower(tree: bytes, lower: bytes) -> None:
    """Give the root of a new tree what the root below has."""
    from diorama.modules.filesystems.layers.copying import set_status, wanted_owner
    from diorama.modules.filesystems.layers.marks import record_owner

    status = os.stat(lower)
    owner = set_status(tree, status, wanted_owner(lower, status))
    if owner is not None:
        record_owner(tree, owner)
