"""Resolve: from a path, as a task wrote it, to a place.

This is path_resolution(7) done component by component in the view: symbolic links are read in the view and
absolute ones begin at the task's root, `..` leaves a mount by its mount point, `/proc/self` is the task's.

On the host each component costs one lstat, whose errors are the kernel's own answer.  As long as the way has
met no mount, the kernel walking the same path meets the same; a failure then carries `touched == False` and
the caller may leave the whole call to the kernel, whose order of checks is always right.

Links of /proc that are not text (`fd/N`, `cwd`, `root`, `exe`) lead to an object, whatever its name is now.
Such a host object that is not a directory is placed *at its link*: opening that is what the kernel does too.

A host file may change between this and the kernel's own walk, as between any two system calls.
"""

from __future__ import annotations

import errno
import os
import re
from stat import S_ISDIR, S_ISLNK
from typing import Final

from diorama.abi.fcntl import (
    PATH_MAX,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from diorama.view.host import Host, Status
from diorama.view.inodes import Inodes
from diorama.view.inspection import INSIDE, LINKS, check_inspection
from diorama.view.mounts import Mount, MountTree, Place
from diorama.view.owning import Owners
from diorama.view.task import Task, Tasks

__all__ = ["ResolutionError", "Resolver", "is_layered"]

_MAX_LINKS: Final = 40
_NAME_MAX: Final = 255
_MAGIC: Final = re.compile(rb"/proc/(\d+)(?:/task/(\d+))?/(cwd|root|exe|ns/uts|fd/(\d+)|map_files/[^/]+)")


class ResolutionError(OSError):
    """Why a path leads nowhere; `touched` as in `Place`."""

    def __init__(self, code: int, path: bytes, *, touched: bool) -> None:
        super().__init__(code, os.strerror(code), path)
        self.touched = touched


def _is_pin(path: bytes) -> bool:
    """Whether a directory is placed at its link in /proc, for want of a name."""
    return path.startswith(b"/proc/") and (path.endswith(b"/..") or _MAGIC.fullmatch(path) is not None)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Resolver:
    """Resolves paths in one mount tree.  Any thread."""

    __slots__ = ("host", "inodes", "orphans", "tasks", "tree")

    def __init__(self, tree: MountTree, host: Host, inodes: Inodes, tasks: Tasks) -> None:
        self.tree = tree
        self.host = host
        self.inodes = inodes
        self.tasks = tasks
        # Nothing can be done to what was removed from a lower layer, which others have as it is.
        self.orphans = Mount(host=b"", read_only=True, source="removed from a lower layer")

    def resolve(
        self,
        task: Task,
        start: Place,
        path: bytes,
        *,
        follow: bool = True,
        parent: bool = False,
        restrict: int = 0,
    ) -> Place:
        """Where `path` leads, walking from the directory `start`.

        The caller chooses `start`: the task's root for an absolute path, else the current or another
        directory.  `follow` a symbolic link that is the last component, or end at it.  `parent` is for calls
        that make or remove the name: only what is before the last component is walked.  `restrict` holds
        RESOLVE_* bits of openat2(2).  `ResolutionError` (ENOENT, ENOTDIR, ELOOP, EACCES, ...) otherwise; a
        missing last component is not an error.
        """
        walk = _Walk(self, task, start, restrict)
        try:
            return walk.run(path, follow and not parent, parent)
        except OSError as error:
            raise ResolutionError(error.errno or errno.EIO, path, touched=walk.touched) from None

    def magic(self, link: bytes, tree: MountTree | None = None) -> Place | None:
        """What a link of /proc stands for, to who lives in a namespace; None if the link is plain text."""
        match = _MAGIC.fullmatch(link)
        if match is None:
            return None
        pid, tid, kind, fd = match.groups()
        task = self.tasks.find(int(tid or pid))
        if kind == b"root" and (task is not None or self.tree.base is not self.tree.root):
            return self.tree.base.root if task is None else task.root
        if kind == b"ns/uts":
            return self._names_of(link, task, tree or self.tree)
        if task is not None and kind == b"cwd":
            return self.tasks.cwd(task)
        if task is not None and kind == b"exe" and task.executable is not None:
            return task.executable
        if task is not None and fd is not None:
            return self._at_link(link, self.tasks.descriptor(task, int(fd)), tree or self.tree)
        mapped = self._mapped(link, tree or self.tree) if kind.startswith(b"map_files/") else None
        return mapped or self._at_link(link, None, tree or self.tree)

    def _names_of(self, link: bytes, task: Task | None, tree: MountTree) -> Place:
        """The namespace of names of a task: another than the first one is known by a memfd of ours."""
        uts = None if task is None else task.uts
        if uts is None or uts.fd < 0:
            return Place(tree.root, link, link=link)
        ours = b"/proc/%d/fd/%d" % (os.getpid(), uts.fd)
        return Place(tree.root, ours, link=ours, touched=True)

    def _mapped(self, link: bytes, tree: MountTree) -> Place | None:
        """A mapped file of a lower layer, which stays as it is: by which mount it was opened is not known."""
        layers = [mount for mount in tree.mounts if mount.layers is not None]
        text = self.host.readlink(link) if layers else b""
        for mount in layers:
            path = mount.inside(text)
            if path is not None:
                return self.orphan(link, Place(mount, path))
        return None

    def _at_link(self, link: bytes, named: Place | None, tree: MountTree) -> Place:
        status = self.host.stat(link)
        found = self.inodes.find(status)
        if found is not None:
            return found
        if S_ISDIR(status.st_mode):
            return named or self.tasks.located(self.host.readlink(link), tree=tree)
        if named is None or named.mount.is_bottom:
            return Place(tree.root, link, link=link)
        if named.mount.layers is not None:
            if is_layered(named, status):
                return named
            return self.orphan(link, named) or Place(tree.root, link, link=link)
        # The kernel finds it by itself, but not what may be done with it.
        return named._replace(link=link, touched=named.mount.read_only)

    def orphan(self, link: bytes, named: Place) -> Place | None:
        """The place of an open file that is no longer in layers by its name; None if it is not below."""
        if named.mount.layers is None or named.mount.layers.whole(b"")[0].in_upper(self.host.readlink(link)):
            return None
        return Place(self.orphans, link, removed=True, touched=True, link=link)


class _Walk:
    """One resolution: where it is (`mount`, `path`, `inode`, always a directory) and what it has met."""

    __slots__ = (
        "_links", "_resolver", "_restrict", "_root", "_slash", "_stands", "_straight", "_task", "inode",
        "mount", "path", "touched"
    )  # fmt: skip

    def __init__(self, resolver: Resolver, task: Task, start: Place, restrict: int) -> None:
        self._resolver = resolver
        self._task = task
        self._restrict = restrict
        self._root = start if restrict & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) else task.context.root
        self._links = 0
        self._straight = start.straight
        self._stands = start.stands
        self._slash = False
        self.mount: Mount = start.mount
        self.path = start.path
        self.inode = start.inode
        # Where the task's root is not the kernel's, an absolute link leads elsewhere than for the kernel.
        self.touched = task.is_displaced or start.touched or not start.mount.is_bottom

    def run(self, path: bytes, follow: bool, parent: bool) -> Place:
        if not path:
            raise _error(errno.ENOENT)
        if len(path) >= PATH_MAX:
            raise _error(errno.ENAMETOOLONG)
        self._begin(path.startswith(b"/"))
        self._slash = path.endswith(b"/")
        todo = [name for name in path.split(b"/") if name]
        todo.reverse()
        while todo:
            name = todo.pop()
            self._search()
            if not todo and parent:
                return self._last(name)
            if name == b"..":
                self._up(todo)
            elif name != b".":
                done = self._step(name, todo, follow or self._slash)
                if done is not None:
                    return done
        return self._here()

    def _begin(self, is_absolute: bool) -> None:
        if not is_absolute or self._restrict & RESOLVE_IN_ROOT:
            self._need_directory()
        elif self._restrict & RESOLVE_BENEATH:
            raise _error(errno.EXDEV)
        if is_absolute:
            self._straight = _is_kernels_root(self._root)
        else:
            self._straight = (self._straight or self.mount.host is not None) and not self._stands

    def _step(self, name: bytes, todo: list[bytes], follow: bool) -> Place | None:
        """Go down by one name; the result if that was the last one and is not a directory."""
        path = self.path + b"/" + name
        covering = self._covering(path)
        if covering is not None:
            return self._cross(covering, path, todo)
        try:
            inode, mode = self._look(path, name)
        except FileNotFoundError:
            if todo:
                raise
            return self._missing(path)
        if S_ISLNK(mode) and (todo or follow):
            return self._follow(path, inode, todo)
        if not S_ISDIR(mode):
            if todo or self._slash:
                raise _error(errno.ENOTDIR)
            return self._at(path, inode)
        self.path = path
        self.inode = inode
        return None

    def _search(self) -> None:
        """Be let look for a name in the directory that we are in, also for dots; the host sees to its own."""
        filesystem = self.mount.filesystem
        if filesystem is None:
            if self.mount.owners is not None:
                self._search_owned(self.mount.owners)
            elif self.mount.host is not None:
                self._inspect(self.mount.host + self.path, INSIDE)
            return
        who = self._resolver.tasks.credentials(self._task)
        if not who.permits(filesystem.walked(self.inode), os.X_OK):
            raise _error(errno.EACCES)

    def _inspect(self, real: bytes, names: re.Pattern[bytes]) -> None:
        """Be let look into a process, if that is what a path of the host means."""
        if real.startswith(b"/proc/"):
            try:
                check_inspection(self._resolver.tasks, self._task, real, names)
            except OSError:
                self.touched = True
                raise

    def _search_owned(self, owners: Owners) -> None:
        """As `_search`, in a tree that remembers, where the host lets us do everything."""
        who = self._resolver.tasks.credentials(self._task)
        if who.is_mighty:
            return
        real = self.mount.real(self.path)
        if not who.permits(owners.look(real, os.lstat(real)).attributes, os.X_OK):
            raise _error(errno.EACCES)

    def _look(self, path: bytes, name: bytes) -> tuple[int, int]:
        """Inode and mode of a name in the directory that we are in."""
        mount = self.mount
        if mount.host is not None:
            return 0, self._resolver.host.lstat(mount.host + path).st_mode
        if mount.layers is not None:
            return 0, mount.layers.look(path).st_mode
        filesystem = mount.filesystem
        assert filesystem is not None
        if len(name) > _NAME_MAX:
            raise _error(errno.ENAMETOOLONG)
        inode = filesystem.lookup(self.inode, name)
        return inode, filesystem.walked(inode).mode

    def _covering(self, path: bytes) -> Place | None:
        """The root of what is mounted on a path of the mount that we are in, if anything is."""
        if path not in self.mount.children:
            return None
        here = Place(self.mount, path)
        found = MountTree.top(here, self._task)
        if found is here:
            return None
        self.touched = True
        if self._restrict & RESOLVE_NO_XDEV and found.mount.blend is None:
            raise _error(errno.EXDEV)
        return found

    def _cross(self, found: Place, path: bytes, todo: list[bytes]) -> Place | None:
        """Enter what is mounted on `path`."""
        straight, self._straight = self._straight, False
        text = (self.mount.host or b"") + path
        self._go(found)
        # A mount of the host's own place, on changes of the host's root.
        self._straight = straight and self.mount.host == text and _is_kernels_root(self._root)
        if S_ISDIR(self.mount.kind):
            return None
        if todo or self._slash:
            raise _error(errno.ENOTDIR)
        return self._here()

    def _follow(self, path: bytes, inode: int, todo: list[bytes]) -> Place | None:
        """Put the target of a symbolic link before what is still to be walked, or jump to it."""
        self._links += 1
        if self._links > _MAX_LINKS or self._restrict & RESOLVE_NO_SYMLINKS:
            raise _error(errno.ELOOP)
        target = self._target(path, inode)
        self._straight &= self._finds_own(path)
        if isinstance(target, Place):
            return self._jump(target, todo)
        if not target:
            raise _error(errno.ENOENT)
        if target.startswith(b"/"):
            if self._restrict & RESOLVE_BENEATH:
                raise _error(errno.EXDEV)
            self._straight &= _is_kernels_root(self._root)
            self._go(self._root)
        if target.endswith(b"/") and not todo:
            self._slash = True
        names = [name for name in target.split(b"/") if name]
        names.reverse()
        todo.extend(names)
        return None

    def _target(self, path: bytes, inode: int) -> bytes | Place:
        mount = self.mount
        if mount.filesystem is not None:
            return mount.filesystem.readlink(inode)
        if mount.layers is not None:
            return mount.layers.readlink(path)
        assert mount.host is not None
        link = mount.host + path
        if not link.startswith(b"/proc/"):
            return self._resolver.host.readlink(link)
        if link == b"/proc/self":
            return b"%d" % self._task.pid
        if link == b"/proc/thread-self":
            return b"%d/task/%d" % (self._task.pid, self._task.tid)
        self._inspect(link, LINKS)
        return self._resolver.magic(link, self._task.tree) or self._resolver.host.readlink(link)

    def _jump(self, target: Place, todo: list[bytes]) -> Place | None:
        if self._restrict & (RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT):
            raise _error(errno.ELOOP if self._restrict & RESOLVE_NO_MAGICLINKS else errno.EXDEV)
        if self._restrict & RESOLVE_NO_XDEV and target.mount is not self.mount:
            raise _error(errno.EXDEV)
        self.touched |= target.touched or not (target.link or target.mount.is_bottom)
        # A link of /proc leads to the same object for the kernel.
        leads_there = bool(target.link) or target.mount.is_bottom
        self._straight &= target.straight or (leads_there and _is_kernels_root(self._root))
        self._go(target)
        if not target.link and self._is_directory():
            return None
        if todo or self._slash:
            raise _error(errno.ENOTDIR)
        return target._replace(touched=self.touched, straight=self._straight)

    def _up(self, todo: list[bytes]) -> None:
        root = self._root
        mount, path = self.mount, self.path
        if mount is root.mount and path == root.path:
            if self._restrict & RESOLVE_BENEATH:
                raise _error(errno.EXDEV)
            self._straight = False
            return
        self._straight &= path != b""
        if mount.is_bottom and _is_pin(path):
            self._leave_pin()
            return
        while not path and (point := mount.point) is not None:
            if self._restrict & RESOLVE_NO_XDEV and mount.blend is None:
                raise _error(errno.EXDEV)
            mount, path = point.mount, point.path
        path = path[: path.rfind(b"/")] if path else path
        place = MountTree.top(Place(mount, path), self._task)
        self.touched |= place.touched
        self._straight &= not place.touched
        if place.touched and not S_ISDIR(place.mount.kind) and (todo or self._slash):
            raise _error(errno.ENOTDIR)
        self._go(place)
        if self.mount.filesystem is not None:
            self.inode = _inode_of(self.mount, self.path)

    def _leave_pin(self) -> None:
        """Go up from a directory that has no name: the kernel knows where that is."""
        link = self.path
        match = _MAGIC.match(link)
        task = None if match is None else self._resolver.tasks.find(int(match[2] or match[1]))
        place = None if task is None else self._resolver.tasks.above(task, link)
        if place is None:
            self.path = link + b"/.."
            return
        self.touched |= place.touched
        self._go(place)

    def _last(self, name: bytes) -> Place:
        """The last component of a name to be made or removed: not followed, not crossed from above."""
        path = self.path + b"/" + name
        if name in (b".", b".."):
            return self._named(path, self.inode)
        covering = self._covering(path)
        if covering is not None:
            return covering._replace(slash=self._slash)
        try:
            inode, _mode = self._look(path, name)
        except FileNotFoundError:
            return self._missing(path)
        except OSError as error:
            # What else is wrong with the call comes first, and the host will say this.
            if error.errno != errno.ENAMETOOLONG or self.mount.filesystem is not None:
                raise
            return self._missing(path)
        return self._named(path, inode)

    def _missing(self, path: bytes) -> Place:
        return self._named(path, 0)._replace(missing=True)

    def _named(self, path: bytes, inode: int) -> Place:
        return self._at(path, inode)._replace(slash=self._slash)

    def _at(self, path: bytes, inode: int) -> Place:
        place = Place(self.mount, path, inode, touched=self.touched, directory=self.inode)
        return place._replace(straight=True) if self._straight and self._finds_own(path) else place

    def _finds_own(self, path: bytes) -> bool:
        """Whether the kernel, having come the same way, finds in the mount that we are in what we find."""
        layers = self.mount.layers
        return layers is None or layers.real(path) == (path or b"/")

    def _here(self) -> Place:
        return self._at(self.path, self.inode)._replace(directory=0)

    def _go(self, place: Place) -> None:
        self.mount, self.path, self.inode = place.mount, place.path, place.inode

    def _need_directory(self) -> None:
        if self.touched and not self._is_directory():
            raise _error(errno.ENOTDIR)

    def _is_directory(self) -> bool:
        filesystem = self.mount.filesystem
        if filesystem is not None:
            return S_ISDIR(filesystem.walked(self.inode).mode)
        return S_ISDIR(self._resolver.host.lstat(self.mount.real(self.path)).st_mode)


def _inode_of(mount: Mount, path: bytes) -> int:
    assert mount.filesystem is not None
    inode = mount.inode
    for name in path.split(b"/")[1:]:
        inode = mount.filesystem.lookup(inode, name)
    return inode


def _is_kernels_root(root: Place) -> bool:
    """Whether a root is the host's own with changes, so that the kernel begins at the same place."""
    layers, point = root.mount.layers, root.mount.point
    if layers is None or point is None or root.path:
        return False
    return layers.over_root and point.mount.is_bottom and not point.path


def is_layered(named: Place, status: Status) -> bool:
    """Whether an open file is what is seen at its name in layers: opening it again may need a copy of it."""
    if named.mount.layers is None:
        return False
    layers, path = named.mount.layers.whole(named.path)
    try:
        seen = layers.find(path).status
    except OSError:
        return False
    return (status.st_dev, status.st_ino) in ((seen.st_dev, seen.st_ino), layers.original(seen))
