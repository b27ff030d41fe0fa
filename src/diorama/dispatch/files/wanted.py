"""Wanted: what must be asked of a file tree, by what is mounted in it, or by what its programs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diorama.catalogue.model import Request

__all__ = ["of_servers", "wanted_with"]


def wanted_with(is_virtual: bool, is_read_only: bool) -> frozenset[type[Request]]:
    """What must be asked with mounts: of file systems of ours, read-only ones, or neither."""
    from diorama.catalogue import requests
    from diorama.dispatch.files.answers import ANSWERS
    from diorama.dispatch.files.closing import CLOSING
    from diorama.dispatch.files.descriptors import CHANGING, LOOKING, TELLING
    from diorama.dispatch.files.direct_calls import DIRECT
    from diorama.dispatch.files.reading import READING
    from diorama.dispatch.files.saving import SAVING

    wanted = (frozenset(ANSWERS) | {request for request in requests() if request.PATHS}) - READING
    wanted -= CLOSING | DIRECT
    if not is_virtual:
        wanted -= SAVING | (LOOKING if is_read_only else LOOKING | TELLING)
    return wanted if is_read_only or is_virtual else wanted - CHANGING


def of_servers() -> frozenset[type[Request]]:
    """What must be asked of a FUSE server that is to see the host: how it gets its device, and mounts.

    All else it does runs at native speed, and what is in its way is the host's alone.
    """
    from diorama.catalogue.files import OpenAt, OpenAt2
    from diorama.catalogue.io import Ioctl
    from diorama.catalogue.mounts import FsConfig, FsMount, FsOpen, Mount, MoveMount, Umount2

    return frozenset({OpenAt, OpenAt2, Ioctl, Mount, Umount2, FsOpen, FsConfig, FsMount, MoveMount})
