"""Sources: what a mount is made of, found in the tree as it is before the mount is there.

Paths are those of who mounts: a program of the view, or the caller of the library, for whom the view is what
is mounted in it so far.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from diorama.abi.fcntl import AT_FDCWD
from diorama.dispatch.files.answers import fail
from diorama.errors import UsageError

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.filesystem import FileSystem
    from diorama.view.mounts import Mount, MountTree, Place
    from diorama.view.task import Task

__all__ = ["Sources", "kind_of", "names_itself"]

_CHUNK = 1 << 20


def kind_of(files: Files, place: Place) -> int:
    """The file type of what is at a place."""
    if place.filesystem is not None:
        return place.filesystem.attributes(place.inode).kind
    if place.mount.layers is not None:
        return stat.S_IFMT(place.mount.layers.look(place.path).st_mode)
    return stat.S_IFMT(files.host.stat(place.host_path).st_mode)


def names_itself(tree: MountTree, path: bytes) -> bool:
    """Whether a name in another root is a link to itself, as debootstrap makes `/proc` in containers."""
    base = tree.base
    if base.is_bottom or base.host is None:
        return False
    try:
        return os.readlink(base.host + path) == path
    except OSError:
        return False


class Sources:
    """The tree of one task (`diorama.modules.opening.Below`).

    `directory` is where relative paths begin, its current directory if None; `check` raises what it gets for
    opening a host path with these R_OK bits, if we may do more than it may.  What is not there is looked for
    in the tree of `other`.
    """

    def __init__(
        self,
        files: Files,
        task: Task,
        directory: bytes | None = None,
        check: Callable[[bytes, int], None] | None = None,
        other: Task | None = None,
    ) -> None:
        self._files = files
        self._task = task
        self._directory = directory
        self._check = check
        self._other = other

    @property
    def is_kept_in(self) -> bool:
        """Whether its task must not get round its network by what it mounts: not so in a view that grows."""
        return self._task.stacks.guards and not self._files.grows

    def find(
        self,
        path: str | bytes,
        dirfd: int = AT_FDCWD,
        *,
        follow: bool = True,
        accepts_empty: bool = False,
        missing: bool = False,
    ) -> Place:
        """Where a path leads; ENOENT for what is missing, unless it may be.

        An empty one may mean the descriptor itself.
        """
        name = os.fsencode(path)
        if accepts_empty and not name:
            return self._files.start(self._task, dirfd, b".")
        if self._directory is not None and name:
            name = os.path.join(self._directory, name)
        try:
            return self._find(self._task, name, dirfd, follow=follow, missing=missing)
        except OSError as error:
            if self._other is None or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            return self._find(self._other, name, dirfd, follow=follow, missing=missing)

    def inside(self, path: str) -> Place:
        """Where a path leads that is to be left out, and cannot lead away."""
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or not path.strip("/."):
            raise UsageError(f"cannot leave out {path!r}: write a path from the target, without .. and /")
        return self.find(path)

    def _find(self, task: Task, name: bytes, dirfd: int, *, follow: bool, missing: bool) -> Place:
        start = self._files.start(task, dirfd, name)
        place = self._files.resolver.resolve(task, start, name, follow=follow)
        if place.missing and not missing:
            raise fail(errno.ENOENT)
        return place

    def bind(self, path: str | bytes) -> Mount:
        """A mount of what is at a path."""
        return self.part(self.find(path))

    def part(self, place: Place) -> Mount:
        """A mount of what is at a place."""
        place = self._named(place)
        if self._check is not None and place.filesystem is None:
            self._check(place.host_path, os.F_OK)
        return place.mount.part(place, kind_of(self._files, place))

    def open(self, path: str) -> int:
        """A descriptor of a file, for reading."""
        place = self.find(path)
        files = self._files
        if place.filesystem is None:
            if self._check is not None:
                self._check(place.host_path, os.R_OK)
            return os.open(place.host_path, os.O_RDONLY | os.O_CLOEXEC)
        attributes = place.filesystem.attributes(place.inode)
        if attributes.kind != stat.S_IFREG:
            raise fail(errno.EISDIR if attributes.kind == stat.S_IFDIR else errno.EINVAL)
        if not files.permits(self._task, attributes, os.R_OK):
            raise fail(errno.EACCES)
        content = files.content(self._task, place, attributes, whole=True)
        return os.open(content.path, os.O_RDONLY | os.O_CLOEXEC)

    def open_to_write(self, path: str) -> tuple[int, Callable[[], None]]:
        """A descriptor of a file of ours, to be written too, and what makes that lasting."""
        from diorama.dispatch.files.virtual import OpenedDirectly, open_content

        place, files = self.find(path), self._files
        filesystem = place.filesystem
        if filesystem is None or filesystem.attributes(place.inode).kind != stat.S_IFREG:
            raise fail(errno.EINVAL)
        if place.mount.read_only:
            raise fail(errno.EROFS)
        if not files.permits(self._task, filesystem.attributes(place.inode), os.R_OK | os.W_OK):
            raise fail(errno.EACCES)
        try:
            real, _ = open_content(files, self._task, place, os.O_RDWR)
        except OpenedDirectly as opened:
            os.close(opened.fd)
            raise fail(errno.EXDEV) from None
        contents = files.synthetic.contents

        def save() -> None:
            with contents.kept(filesystem, place.inode) as content:
                if content is not None:
                    contents.save(content)
            filesystem.sync_file(place.inode)

        return os.open(real, os.O_RDWR | os.O_CLOEXEC), save

    def device(self, path: str, access: int) -> FileSystem | None:
        """The file system of the special file of a device of ours; None for anything else."""
        place = self.find(path)
        filesystem = place.filesystem
        if filesystem is None or place.path or place.mount.kind != stat.S_IFBLK:
            return None
        if not self._files.permits(self._task, filesystem.attributes(place.inode), access):
            raise fail(errno.EACCES)
        return filesystem

    def host_path(self, path: str, access: int = os.F_OK) -> str:
        """Where that is on the host, if the task may do that with it; EXDEV for what is not.

        A file of layers that is to be written is its copy in the writable one.  A directory there is in
        several places.
        """
        place = self.find(path)
        if place.filesystem is not None:
            raise fail(errno.EXDEV)
        if access & os.W_OK and place.mount.read_only:
            raise fail(errno.EROFS)
        if place.mount.layers is not None:
            if kind_of(self._files, place) == stat.S_IFDIR:
                raise fail(errno.EXDEV)
            if access & os.W_OK:
                from diorama.dispatch.files.layered import copied_up

                return os.fsdecode(copied_up(self._files, self._task, place))
        if self._check is not None:
            self._check(place.host_path, access)
        return os.fsdecode(place.host_path)

    def descriptor(self, fd: int) -> os.stat_result:
        """The status of what the task has open."""
        try:
            return os.stat(f"/proc/{self._task.tid}/fd/{fd}")
        except FileNotFoundError:
            raise fail(errno.EBADF) from None

    def _named(self, place: Place) -> Place:
        """What a magic link of /proc leads to now: the link lives no longer than its process."""
        link = place.host_path if place.filesystem is None else b""
        if not link.startswith(b"/proc/") or not os.path.islink(link):
            return place
        try:
            real = os.path.realpath(link)
            is_same = os.path.samefile(real, link)
        except OSError:
            return place
        return self._files.tasks.located(real, tree=self._task.tree) if is_same else place
