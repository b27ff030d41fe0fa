"""Mounting: mounts that are made, moved and taken away, by the caller before programs run and by them later.

What the calls of the kernel mean in the view comes down to this; the errors are those of mount(2).  Mounting
is for everybody: what a view shows is its user's own affair, and nobody gets at anything on the host by it
that he could not open before.  It is the filter that decides what can be had once programs run: it was made
for the mounts of that moment, unless the view grows.

A file system is *served* from the moment when it is made until the last mount of it is gone, from all
namespaces and out of everybody's hands; then it is closed.  A namespace is gone with its last process.
Nobody tells of either, so it is looked at with each call about mounts, and now and then after unmounting, as
long as something is served that is not in the first namespace.

Locks: `lock` is held while trees change, never while a mount is made, which may take long.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from diorama.dispatch.files.along import Along
from diorama.dispatch.files.answers import fail
from diorama.dispatch.files.holders import ended, held_mounts
from diorama.dispatch.files.numbered import PARTITIONS, TABLE
from diorama.dispatch.files.points import enter_in_listing
from diorama.dispatch.files.sources import Sources, kind_of
from diorama.errors import Unsupported
from diorama.view.mounts import Backing, Mount, MountTree, Place, below, copy_mounts

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["Kinds", "Mounting", "is_mounted"]

_FIRST_LOOK = 0.02
_LAST_PATIENCE = 30.0
_LAST_LOOK = 2.0
_HOW = "start the view with --grow (View(grows=True)) to mount this while programs run"
_AROUND = "this would lead round the view's network, which only --grow (View(grows=True)) lets programs do"


class Kinds(Protocol):
    """What can be mounted: a source of a type as mount(2) names it, or of the kind that it tells itself."""

    def check(self, type: str) -> None:
        """`UsageError` with ENODEV for a type that nobody knows."""
        ...

    def is_inside(self, type: str | None, source: str) -> bool:
        """Whether a source reaches nothing but files of the view."""
        ...

    def make(
        self, type: str | None, source: str | os.PathLike[str], options: Sequence[str], below: Sources
    ) -> Mount:
        """A mount in no tree; `UsageError` with the errno, `OSError`."""
        ...


def is_mounted(place: Place) -> bool:
    """Whether a place is the root of a mount."""
    return not place.path


class Mounting:
    """The mounts of a view while they change.

    `kinds` is set by who knows them.  `may_have` tells whether running programs can have a
    mount: of a file system of ours or not, read-only or not.  Whoever decides by a copy of the first
    namespace does not while it is `changing`, and is told by `on_change` of what else matters to him.
    `on_attach` is told of what was mounted in a namespace.
    `on_release` is told when a file system or layers are about to be closed.  `held` are more mounts that
    somebody holds.
    """

    def __init__(self, files: Files) -> None:
        self.lock = threading.RLock()
        self.kinds: Kinds | None = None
        self.may_have: Callable[[bool, bool], bool] = _always
        self.on_change: Callable[[], None] = _nothing
        self.changing: Callable[[], AbstractContextManager[None]] = nullcontext
        self.on_release: Callable[[Backing], None] = _nothing
        self.held: Callable[[], set[Mount]] = set
        self.on_attach: Callable[[MountTree, Mount], None] = _nothing
        self._files = files
        self._trees: WeakSet[MountTree] = WeakSet([files.tree])
        self._loose: set[Mount] = set()
        self._left: set[Mount] = set()
        self._served: dict[int, Backing] = {}
        self._fresh: dict[Task, Mount] = {}
        self._expiring: Mount | None = None
        self._watcher: threading.Thread | None = None
        self._is_closed = threading.Event()
        self._beside = Along(self, files)

    # -- making -------------------------------------------------------------------------------

    def new(
        self, type: str | None, source: str | os.PathLike[str], options: Sequence[str], below: Sources
    ) -> Mount:
        """A loose mount, of a source found below it; with `rbind`, of what is mounted there as well."""
        if "rbind" in options:
            rest = [option for option in options if option != "rbind"]
            return self.bind(below.find(os.fspath(source)), below, recursive=True, options=rest)
        kinds = self._kinds()
        if below.is_kept_in and not kinds.is_inside(type, os.fspath(source)):
            raise Unsupported("mount", _AROUND, errno.EPERM)
        return self.keep(kinds.make(type, source, options, below))

    def check_type(self, type: str) -> None:
        """`UsageError` with ENODEV for a type that nobody knows."""
        self._kinds().check(type)

    def _kinds(self) -> Kinds:
        if self.kinds is None:
            raise Unsupported("mount", "there is nothing here that makes mounts", errno.EPERM)
        return self.kinds

    def bind(
        self, place: Place, below: Sources, *, recursive: bool = False, options: Sequence[str] = ()
    ) -> Mount:
        """A loose mount of what is at a place, and of what is mounted there and below."""
        if self.has_left(place.mount):
            raise fail(errno.EINVAL)
        part = below.part(place)
        if "ro" in options:
            part.read_only = True
        copy_mounts(place.mount, part, place.path, only_blends=not recursive)
        return self.keep(part)

    def keep(self, mount: Mount) -> Mount:
        """Have a loose mount as long as somebody holds it."""
        with self.lock:
            self._loose.add(mount)
            served = next((one for one in _parts(mount) if one is not None), None)
            if served is not None:
                self._served.setdefault(mount.device, served)
        return mount

    def hand_out(self, task: Task, mount: Mount) -> None:
        """A task gets a descriptor of a loose mount, which is held until `settled` even if nobody has it."""
        with self.lock:
            self._fresh[task] = mount

    def settled(self, task: Task) -> None:
        """A task has what was handed out to it."""
        if self._fresh:
            with self.lock:
                self._fresh.pop(task, None)

    def discard(self, mount: Mount) -> None:
        """Nobody wants a loose mount after all."""
        with self.lock:
            self._loose.discard(mount)
            self._close_unused()

    # -- changing a tree ----------------------------------------------------------------------

    def attach(self, tree: MountTree, mount: Mount, place: Place) -> None:
        """Put a loose mount on a place; ENOTDIR unless both are directories or neither, EINVAL elsewhere.

        On the root it is found by nobody, since who is there stays below: in the table only.
        """
        with self.lock:
            covers = is_mounted(place) and place.mount is tree.base and tree is not self._files.tree
            if not covers:
                self._check_target(tree, place)
            if stat.S_ISDIR(mount.kind) != stat.S_ISDIR(kind_of(self._files, place)):
                raise fail(errno.ENOTDIR)
            self._check(below(mount))
            self._loose.discard(mount)
            if covers:
                tree.cover(mount)
            else:
                self._attach(tree, mount, place)

    def attach_new(self, tree: MountTree, mount: Mount, place: Place) -> None:
        """Put a loose mount on a place where there is nothing; EINVAL elsewhere."""
        with self.lock:
            self._check_target(tree, place)
            self._check([mount])
            self._loose.discard(mount)
            self._attach(tree, mount, place)

    def put(self, mount: Mount, place: Place) -> None:
        """Put a mount on a place of the first namespace, which may be missing; before programs run."""
        with self.lock:
            self.keep(mount)
            self._loose.discard(mount)
            self._attach(self._files.tree, mount, place)

    def _attach(self, tree: MountTree, mount: Mount, place: Place) -> None:
        if mount.kind == stat.S_IFBLK and mount.filesystem is not None:
            self._files.system.setdefault(PARTITIONS, TABLE)
        with self.changing_tree(tree):
            tree.attach(mount, place)
        if place.missing:
            enter_in_listing(self._files, place)
        self._beside.follow(tree, mount)
        self.on_attach(tree, mount)

    def move(self, tree: MountTree, source: Place, target: Place) -> None:
        """Put the mount whose root is `source` elsewhere, with what is mounted on it; EINVAL, ELOOP."""
        with self.lock:
            mount = source.mount
            self.check_own(tree, "mount", source)
            self._check_target(tree, target)
            if stat.S_ISDIR(mount.kind) != stat.S_ISDIR(kind_of(self._files, target)):
                raise fail(errno.EINVAL)
            if target.mount in set(below(mount)):
                raise fail(errno.ELOOP)
            with self.changing_tree(tree):
                self._beside.take(tree, mount)
                tree.move(mount, target)
            self._beside.follow(tree, mount)

    def unmount(self, tree: MountTree, place: Place, *, lazy: bool = False, expire: bool = False) -> None:
        """Take away the mount on top of a place, or whose root that is: EBUSY while in use, unless `lazy`.

        `expire`: EAGAIN the first time.
        """
        with self.lock:
            place = MountTree.top(place)
            mount = place.mount
            self.check_own(tree, "umount", place)
            if mount is tree.base:
                raise fail(errno.EBUSY)
            along = [mount, *self._beside.of(mount)]
            if not lazy and (_have_more(along) or held_mounts(self._files, set(along))):
                raise fail(errno.EBUSY)
            if expire and self._expiring is not mount:
                self._expiring = mount
                raise fail(errno.EAGAIN)
            with self.changing_tree(tree):
                gone = [*self._beside.take(tree, mount), *tree.detach(mount)]
            if lazy:
                self._left.update(gone)
            self.sweep()
            self._watch_left()

    def set_read_only(self, mounts: Iterable[Mount], *, read_only: bool) -> None:
        """Let nothing be changed through some mounts, or let it."""
        with self.lock:
            changing = [mount for mount in mounts if mount.read_only is not read_only]
            for mount in changing:
                if not read_only and mount.filesystem is not None and not mount.filesystem.writable:
                    raise fail(errno.EROFS)
            self._check(changing, read_only=read_only)
            with self.changing_tree(self._files.tree):
                for mount in changing:
                    mount.read_only = read_only

    def trees(self) -> list[MountTree]:
        """The namespaces."""
        return list(self._trees)

    def left(self, gone: Iterable[Mount]) -> None:
        """Mounts were taken out of a tree that may be in use; with the lock held."""
        self._left.update(gone)
        self._watch_left()

    def settle(self, mount: Mount) -> None:
        """A mount that was kept is in a tree now; with the lock held."""
        self._loose.discard(mount)

    def divided(self, task: Task) -> None:
        """A task lives in a namespace besides the first one from now on."""
        with self.lock:
            self._trees.add(task.tree)

    # -- what is no longer used ---------------------------------------------------------------

    def sweep(self) -> None:
        """Let go of loose mounts that nobody holds, and close what nobody shows any more."""
        with self.lock:
            self._leave_namespaces()
            loose = {one for top in self._loose for one in below(top)}
            held = held_mounts(self._files, loose | self._left) | self.held()
            living = set(self._files.tasks.all())
            held |= {mount for task, mount in self._fresh.items() if task in living}
            self._loose = {top for top in self._loose if not held.isdisjoint(below(top))}
            self._left &= held
            self._close_unused()

    def _leave_namespaces(self) -> None:
        """What was mounted in a namespace whose processes have all ended is in the hands of who holds it."""
        by_tree: dict[MountTree, list[Task]] = {}
        for task in self._files.tasks.all():
            by_tree.setdefault(task.tree, []).append(task)
        for tree in self.trees():
            if tree is not self._files.tree and ended(by_tree.get(tree, ())):
                self._trees.discard(tree)
                self._left.update(tree.mounts)

    def _watch_left(self) -> None:
        """Have what is served closed soon after nobody has it, where that was not so at unmounting."""
        if self._watcher is None and self._lingers():
            self._watcher = threading.Thread(target=self._await_left, name="diorama-left", daemon=True)
            self._watcher.start()

    def _await_left(self) -> None:
        pause = _FIRST_LOOK
        while not self._is_closed.wait(pause):
            with self.lock:
                self.sweep()
                if not self._lingers():
                    self._watcher = None
                    return
            pause = min(2 * pause, _LAST_LOOK)

    def _lingers(self) -> bool:
        """Whether something is served that nobody unmounts any more, or that is mounted elsewhere only."""
        mounted = {mount.device for mount in self._files.tree.mounts}
        return any(device not in mounted for device in self._served)

    def close(self, given_up: Sequence[object] = ()) -> None:
        """Close all file systems: the view has ended.  Those `given_up` may not answer to that either."""
        self._is_closed.set()
        with self.lock:
            served, self._served = list(self._served.values()), {}
        for one in served:
            if one in given_up:
                closing = threading.Thread(target=one.close, name="diorama-close", daemon=True)
                closing.start()
                closing.join(_LAST_PATIENCE)
            else:
                one.close()

    def _close_unused(self) -> None:
        used = {mount.device for tree in self._trees for mount in tree.mounts}
        used |= {mount.device for top in self._loose for mount in below(top)}
        used |= {mount.device for mount in self._left}
        for device in [device for device in self._served if device not in used]:
            one = self._served[device]
            self.on_release(one)
            del self._served[device]
            one.close()

    # -- checks -------------------------------------------------------------------------------

    def _check_target(self, tree: MountTree, place: Place) -> None:
        if not _is_in(tree, place.mount):
            raise fail(errno.ENOENT if self.has_left(place.mount) else errno.EINVAL)
        if is_mounted(place) and place.mount is tree.base:
            raise Unsupported("mount", "on the root of a running view is not supported", errno.EBUSY)

    def has_left(self, mount: Mount) -> bool:
        """Whether a mount was in a tree and is there no longer."""
        return mount in self._left

    def _check(self, mounts: Iterable[Mount], *, read_only: bool = False) -> None:
        for mount in mounts:
            minded = mount.layers is not None or mount.owners is not None
            guarded = mount.read_only or minded or read_only
            if self._is_new_network(mount) or not self.may_have(mount.host is None, guarded):
                raise Unsupported("mount", _HOW, errno.EPERM)

    def _is_new_network(self, mount: Mount) -> bool:
        """Whether the filters may let through calls that would concern it: they were made for others."""
        if self._files.grows or getattr(mount.filesystem, "network", None) is None:
            return False
        return all(one.filesystem is not mount.filesystem for tree in self._trees for one in tree.mounts)

    @staticmethod
    def check_own(tree: MountTree, call: str, place: Place) -> None:
        """EINVAL unless a place is the root of a mount of a namespace; EPERM for the host's mounts."""
        own = is_mounted(place) and place.mount.point is not None and place.mount.blend is None
        if own and _is_in(tree, place.mount):
            return
        if place.filesystem is None and os.path.ismount(place.host_path):
            raise Unsupported(call, "what the host has mounted is not the view's to change", errno.EPERM)
        raise fail(errno.EINVAL)

    @contextmanager
    def changing_tree(self, tree: MountTree) -> Generator[None, None, None]:
        """Nobody sees a change of the first namespace while others may still act on what was before."""
        with self.changing() if tree is self._files.tree else nullcontext():
            yield


def _is_in(tree: MountTree, mount: Mount) -> bool:
    """Whether a mount is in a namespace, and not loose or in another."""
    while mount.point is not None:
        mount = mount.point.mount
    return mount is tree.root


def _have_more(along: Sequence[Mount]) -> bool:
    """Whether something is mounted on one of these besides."""
    return any(child.blend is None for mount in along for child in mount.children.values())


def _parts(mount: Mount) -> tuple[Backing | None, ...]:
    """What a mount is made of, of which it has one at most."""
    return mount.filesystem, mount.layers, mount.backing


def _always(_is_virtual: bool, _is_read_only: bool) -> bool:
    return True


def _nothing(*_args: object) -> None:
    return
