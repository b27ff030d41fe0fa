"""Mounting: which directories of /sys are the view's to tell, and from when on.

Those of a subject are there as soon as the view has it: devices and networks when one is mounted, also while
programs run; processors before they do.  A view with none of them has the host's /sys.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.numbered import DRIVERS, MAJORS

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.modules.filesystems.sysfs.filesystem import SystemFiles
    from diorama.modules.filesystems.sysfs.nodes import Folder
    from diorama.view.mounts import Mount, MountTree
    from diorama.view.system import System
    from diorama.view.task import Task

__all__ = ["SystemDirectories"]

_PROCESSORS: Final = b"/sys/devices/system/cpu"
_NODES: Final = b"/sys/devices/system/node"


def _everybody(_task: Task) -> bool:
    return True


def _always(folder: Folder) -> Callable[[], tuple[Hashable, Folder]]:
    return lambda: (None, folder)


class SystemDirectories:
    """Those of one view."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._made: dict[bytes, SystemFiles] = {}

    def follow(self, tree: MountTree, mount: Mount) -> None:
        """Something has been mounted in a namespace."""
        if mount.kind == stat.S_IFBLK:
            self._files.system.setdefault(DRIVERS, MAJORS)
            self._tell_disks(tree)
        elif mount.kind == stat.S_IFCHR:
            from diorama.interfaces.devicefile import DeviceFile

            if getattr(mount.filesystem, "network", None) is not None:
                self._tell_links(tree)
            elif isinstance(mount.filesystem, DeviceFile):
                self._files.system.setdefault(DRIVERS, MAJORS)
                self._tell_characters(tree)

    def tell(self, system: System) -> None:
        """The view tells of another system."""
        if system.cpus is None and system.memory is None:
            return
        from diorama.modules.filesystems.sysfs.processors import Processors

        told = Processors(system.cpus, system.memory)
        if system.cpus is not None:
            self._have(self._files.tree, _PROCESSORS, _always(told.processors()))
        if os.path.isdir(_NODES):
            self._have(self._files.tree, _NODES, _always(told.nodes()))

    def _tell_disks(self, tree: MountTree) -> None:
        from diorama.modules.filesystems.sysfs import disks
        from diorama.modules.filesystems.sysfs.nodes import Live

        self._have(tree, disks.DEVICES, _always(Live(disks.shows_devices)))
        self._have(tree, b"/sys/block", _always(Live(disks.shows_block)))
        self._have(tree, b"/sys/class/block", _always(Live(disks.shows_class)))
        self._have(tree, b"/sys/dev/block", _always(Live(disks.shows_by_number)))

    def _tell_characters(self, tree: MountTree) -> None:
        from diorama.modules.filesystems.sysfs import disks
        from diorama.modules.filesystems.sysfs.nodes import Live

        self._have(tree, disks.DEVICES, _always(Live(disks.shows_devices)))
        self._have(tree, b"/sys/dev/char", _always(Live(disks.shows_characters)))

    def _tell_links(self, tree: MountTree) -> None:
        from diorama.modules.filesystems.sysfs import links

        self._have(tree, links.DEVICES, links.shows_devices, links.has_own_links)
        self._have(tree, links.CLASS, links.shows_class, links.has_own_links)

    def _have(
        self,
        tree: MountTree,
        path: bytes,
        shows: Callable[[], tuple[Hashable, Folder]],
        concerns: Callable[[Task], bool] = _everybody,
    ) -> None:
        from diorama.dispatch.files.blending import blend
        from diorama.modules.filesystems.sysfs.filesystem import SystemFiles

        if path not in self._made:
            self._made[path] = SystemFiles(shows)
        blend(self._files, tree, self._made[path], path, concerns)
