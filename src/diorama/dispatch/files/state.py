"""State: the file tree of a view and who stands where in it; what all answers work on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.fcntl import AT_FDCWD, RESOLVE_IN_ROOT
from diorama.catalogue.model import PathRule, Request
from diorama.dispatch.auxiliary import Auxiliary
from diorama.dispatch.files.addresses import Addresses
from diorama.dispatch.files.answers import fail
from diorama.dispatch.files.content import Content
from diorama.dispatch.files.contexts import Contexts
from diorama.dispatch.files.direct import DirectFiles
from diorama.dispatch.files.errors import failed
from diorama.dispatch.files.fixing import fix_program
from diorama.dispatch.files.generated import Remembered, SystemFile
from diorama.dispatch.files.layered_listing import LayeredListings
from diorama.dispatch.files.listings import Listings
from diorama.dispatch.files.locking import Lockers
from diorama.dispatch.files.mounting import Mounting
from diorama.dispatch.files.patience import wait_for
from diorama.dispatch.files.points import Points
from diorama.dispatch.files.programs import Programs
from diorama.dispatch.files.synthetic import Synthetic
from diorama.engine.descent import descends
from diorama.view.filesystem import Attributes, FileSystem
from diorama.view.formats import Entry
from diorama.view.host import Host, RealHost, Status, is_in_our_user_namespace
from diorama.view.identity import Mapping
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, MountTree, Place
from diorama.view.resolve import ResolutionError, Resolver, is_layered
from diorama.view.table import MountTable
from diorama.view.task import Task, Tasks

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.view.identity import Identity

__all__ = ["Files", "fail"]


def _none_of(_mounts: set[Mount]) -> set[Mount]:
    return set()


def _nobody(_task: Task) -> None:
    return


def _nothing() -> None:
    return


def _nothing_to_execute(_task: Task, _place: Place | None) -> None:
    return


_RIGHTS: Final = (b"Uid:", b"Gid:", b"Groups:", b"CapEff:")


def _rights(pid: int) -> list[bytes]:
    """The credentials that count for files, as /proc tells them (proc(5))."""
    with open(f"/proc/{pid}/status", "rb") as status:
        return [line for line in status if line.startswith(_RIGHTS)]


_PERMITTED: Final = RealHost.credentials(os.getpid()).permitted

# Nobody can have less rights than a process without any.
_PRIVILEGED: Final = int(_rights(os.getpid())[-1].split()[1], 16) != 0


class Files:
    """The state.  Answers run on several guardians at once; each part locks what it shares."""

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or RealHost()
        self.tree = MountTree()
        self.inodes = Inodes()
        self.tasks = Tasks(self.tree, self.host, self.inodes)
        self.tasks.changed = self.changed
        self.tasks.fix_program = partial(fix_program, self)
        self.tasks.owner = self.owner
        self.resolver = Resolver(self.tree, self.host, self.inodes, self.tasks)
        self.listings = Listings(self.host)
        self.synthetic = Synthetic(self.inodes, self.tasks, self.listings)
        self.standins = self.synthetic.standins
        self.lazy = self.synthetic.lazy
        self.direct = DirectFiles(self.inodes)
        self.direct.on_close = self.synthetic.closed_directly
        self.synthetic.contents.is_held_elsewhere = self.direct.has
        self.synthetic.contents.is_rooted = self._is_rooted
        self.synthetic.contents.on_failure = partial(failed, self)
        self.lockers = Lockers()
        self.on_execute: Callable[[Task, Place | None], None] = _nothing_to_execute
        self.on_close: list[Callable[[], None]] = []
        self.programs = Programs(self.standins, self.inodes)
        self.auxiliary = Auxiliary()
        self.mapping: Mapping | None = None
        self.runs_as: tuple[int, int, tuple[int, ...]] | None = None
        """User, group and groups of programs on the host, if they are not to be the supervisor's."""
        self.held_besides: Callable[[set[Mount]], set[Mount]] = _none_of
        """Mounts that are in use otherwise than by their files: networks."""
        self.mounting = Mounting(self)
        self.contexts = Contexts()
        self.mounting.held = self.contexts.mounts
        self.layered_listings = LayeredListings()
        self.points = Points()
        self.generated = Remembered()
        self.system: dict[bytes, SystemFile] = {}
        """Files of the system that are made when they are opened, by their host paths."""
        self.addresses = Addresses()
        self.table = MountTable(self.host)
        self.tells_execs = True
        self.acts = True
        self.grows = False
        """Whether there may be other mounts later."""
        self.serves_only = False
        """Whether programs are servers of FUSE, of which nothing else is seen (`wanted.of_servers`)."""
        self.writes_through = False
        """Whether file systems that take writes get each before it returns (`through`)."""
        self.is_confined = False
        """Whether programs may look into no process outside of the view, so not into ours (landlock(7))."""
        self.on_change: Callable[[Task], None] = _nobody
        self.on_restriction: Callable[[], None] = _nothing
        self.on_strangers: Callable[[], None] = _nothing
        self.on_division: Callable[[Task], None] = _nobody
        self._of_tracee: dict[Any, Task] = {}
        self._pinned: dict[Task, Content] = {}

    def _is_rooted(self, filesystem: FileSystem, inode: int) -> bool:
        """Whether a file is open past the cache, or the root of a mount."""
        mounts = [mount for tree in self.tasks.trees() for mount in tree.mounts]
        is_root = any((one.filesystem, one.inode) == (filesystem, inode) for one in mounts)
        return is_root or self.direct.has(filesystem, inode)

    # -- tasks --------------------------------------------------------------------------------

    def task(self, tracee: Tracee) -> Task:
        """The file context of a tracee; one that nobody announced stands where a first one does."""
        task = self._of_tracee.get(tracee)
        return task if task is not None else self.enter(tracee, self.tasks.first(tracee.tid))

    def enter(self, tracee: Tracee, task: Task) -> Task:
        """Make a tracee known."""
        self._of_tracee[tracee] = task
        return self.tasks.enter(task)

    def owner(self, pid: int, tid: int) -> Task | None:
        """Where a task stands whose directory of /proc somebody looks at; None if it is in no view."""
        task = self.tasks.find(tid) or self.tasks.find(pid)
        return self.tasks.stranger(tid, pid) if task is None and descends(pid) else task

    def leave(self, tracee: Tracee) -> None:
        """Forget a tracee."""
        task = self._of_tracee.pop(tracee, None)
        if task is not None:
            self.tasks.leave(task)
            self.unpin(task)
            self.programs.end(task)

    def begin(self, task: Task) -> None:
        """A task makes a call: what it was answered last is done, and what it was then may have changed."""
        task.credentials = None
        if task in self._pinned:
            self.unpin(task)

    def changed(self, task: Task) -> None:
        """What is remembered of a task is another: tell who has a copy."""
        for other in self.tasks.sharing(task):
            self.on_change(other)

    def change_identity(self, task: Task, identity: Identity) -> None:
        """A task is somebody else from now on."""
        if identity != task.identity:
            task.identity = identity
            self.changed(task)

    def enter_mount(self, task: Task, mount: Mount) -> None:
        """Its current directory was entered by a mount."""
        task.context.cwd_mount = self.tasks.remembered(mount, task.tree)
        self.changed(task)

    def note_opened(self, tracee: Tracee, status: Status, mount: Mount) -> None:
        """A real object was opened through `mount`: later look-ups from a directory stay in it."""
        self.tasks.opened.add(self.task(tracee), (status.st_dev, status.st_ino), mount)

    def note_reached(self, status: Status, place: Place) -> None:
        """A file of the host was found at a place, which is how it will be named."""
        self.tasks.opened.reach((status.st_dev, status.st_ino), place.mount)

    def act_no_more(self) -> None:
        """From now on somebody in the view may do less than we, and nothing is done in a program's stead."""
        self.acts = False
        self.on_restriction()

    def has_our_rights(self, tracee: Tracee) -> bool:
        """Whether what we may do to files is what the tracee may do: then we may do it in its stead."""
        if not self.acts or not _PRIVILEGED:
            return self.acts
        return _rights(tracee.tid) == _rights(os.getpid()) and is_in_our_user_namespace(tracee.tid)

    # -- places -------------------------------------------------------------------------------

    def find(self, call: Request, rule: PathRule, *, parent: bool = False, restrict: int = 0) -> Place | None:
        """Where a path of a call leads; None if that is for the kernel to find out.

        `OSError` only if the way met a mount: else the kernel meets the same, and knows what to check first.
        """
        path: bytes | None = getattr(call, rule.field)
        task = self.task(call.tracee)
        if not path:
            if not rule.accepts_empty(call):
                return None
            fd = rule.dirfd(call)
            return self.at_descriptor(task, fd) or (self._orphan(task, fd) if call.writes else None)
        if not rule.applies(call):
            return None
        place = self.walk(
            task, rule.dirfd(call), path, follow=rule.follows(call), parent=parent, restrict=restrict
        )
        is_absent = place is not None and place.missing and place.mount.layers is not None
        if is_absent and not (parent or rule.creates(call)):
            from diorama.dispatch.files.objections import check_arguments

            check_arguments(call)
            raise fail(errno.ENOENT)  # what the host has there may be what hides it
        return place

    def walk(
        self,
        task: Task,
        dirfd: int,
        path: bytes,
        *,
        follow: bool = True,
        parent: bool = False,
        restrict: int = 0,
    ) -> Place | None:
        """As `find`, for a path that does not stand in a request."""
        try:
            start = self.start(task, dirfd, path, restrict)
        except OSError:
            return None
        try:
            return self.resolver.resolve(task, start, path, follow=follow, parent=parent, restrict=restrict)
        except ResolutionError as error:
            if error.touched:
                raise
            return None

    def locate(
        self, call: Request, rule: PathRule, *, parent: bool = False, restrict: int = 0
    ) -> Place | None:
        """As `find`, but None also for a place that the kernel finds by itself, and where it may do all."""
        place = self.find(call, rule, parent=parent, restrict=restrict)
        if place is None or not place.touched:
            return None
        changes_layer = place.mount.layers is not None and call.writes
        return None if place.straight and not (place.mount.is_restricted or changes_layer) else place

    def reason(self, call: Request, rule: PathRule) -> OSError:
        """Why the path of a name leads nowhere, if that is not left to the kernel; EXDEV if it does not."""
        path: bytes = getattr(call, rule.field)
        task = self.task(call.tracee)
        try:
            self.resolver.resolve(task, self.start(task, rule.dirfd(call), path), path, parent=True)
        except OSError as error:
            return error
        return fail(errno.EXDEV)

    def at_descriptor(self, task: Task, fd: int) -> Place | None:
        """What an empty path at a descriptor stands for, if that is not the kernel's own object."""
        if fd != AT_FDCWD:
            return self.tasks.standing(task, fd) or self.layered(task, fd)
        if not len(self.inodes):
            return None
        place = self.tasks.cwd(task)
        return None if place.filesystem is None else place

    @property
    def has_layers(self) -> bool:
        """Whether there is a mount of layers."""
        return any(mount.layers is not None for mount in self.tree.mounts)

    @property
    def has_formats(self) -> bool:
        """Whether something but the kernel may know by what to run a file."""
        return any(mount.filesystem and mount.filesystem.formats is not None for mount in self.tree.mounts)

    def format_of(self, task: Task, place: Place, called: bytes, head: bytes) -> Entry | None:
        """What the namespace of a task has for a file: of what was mounted last first."""
        for mount in reversed(task.tree.mounts):
            formats = None if mount.filesystem is None else mount.filesystem.formats
            found = None if formats is None else formats.find(place.view_path, called, head)
            if found is not None:
                return found
        return None

    def has_owners(self, task: Task) -> bool:
        """Whether there is a mount that remembers who owns what."""
        return any(mount.owners is not None for mount in task.tree.mounts)

    def layered(self, task: Task, fd: int) -> Place | None:
        """What a descriptor refers to in layers, by its name; None if it is elsewhere or has none there."""
        if not self.has_layers:
            return None
        try:
            place = self.tasks.descriptor(task, fd)
            if place.mount.layers is None:
                return None
            status = self.tasks.status(task, fd)
            return place if stat.S_ISDIR(status.st_mode) or is_layered(place, status) else None
        except OSError:
            return None

    def _orphan(self, task: Task, fd: int) -> Place | None:
        """What a descriptor refers to if that was removed from a lower layer."""
        if fd < 0 or not self.has_layers:
            return None
        try:
            place = self.tasks.descriptor(task, fd)
            return self.resolver.orphan(b"/proc/%d/fd/%d" % (task.tid, fd), place)
        except OSError:
            return None

    def mount_of(self, task: Task, fd: int) -> Mount | None:
        """The mount that a descriptor, or AT_FDCWD, was opened through; None if that is not known."""
        if fd == AT_FDCWD:
            return task.context.cwd_mount
        virtual = self.tasks.virtual(task, fd)
        if virtual is not None:
            return virtual.mount
        if not self.tasks.opened.any(task) and task.tree.base.is_bottom:
            return None
        try:
            return self.tasks.descriptor(task, fd).mount
        except OSError:
            return None

    def start(self, task: Task, dirfd: int, path: bytes, restrict: int = 0) -> Place:
        """Where the walk along a path begins; EBADF."""
        if path.startswith(b"/") and not restrict & RESOLVE_IN_ROOT:
            return task.root
        return self.tasks.cwd(task) if dirfd == AT_FDCWD else self.tasks.descriptor(task, dirfd)

    def permits(self, task: Task, attributes: Attributes, wanted: int) -> bool:
        """Whether a task may do what the R_OK, W_OK, X_OK bits say, in a file system of ours."""
        return self.tasks.credentials(task).permits(attributes, wanted)

    def is_the_hosts(self, task: Task) -> bool:
        """Whether a task finds the host's files and nothing else, and no network but the host's."""
        if self.grows or self.system or task.identity is not None or task.tree is not self.tree:
            return False
        mounts = self.tree.mounts[1:]
        return all(
            getattr(getattr(mount.filesystem, "network", None), "is_plain", False)
            or (mount.blend is not None and not mount.blend.concerns(task))
            for mount in mounts
        )

    def is_ours(self, task: Task) -> bool:
        """Whether a task may open what we have open by its link in /proc (PTRACE_MODE_READ, ptrace(2))."""
        if self.is_confined:
            return False
        who = self.tasks.on_host(task)
        if (who.uid, who.gid) != (os.geteuid(), os.getegid()) or _PERMITTED & ~who.capabilities:
            return False
        # What it has of capabilities in a namespace of its own is not counted.
        return bool(_PERMITTED) or self.tasks.are_alike() or is_in_our_user_namespace(task.tid)

    # -- contents -----------------------------------------------------------------------------

    def content(
        self,
        task: Task,
        place: Place,
        attributes: Attributes,
        *,
        whole: bool = False,
        fresh: bool = False,
        high: bool = False,
    ) -> Content:
        """The memfd of a regular file, kept open here until the task asks for something else or ends.

        `whole`: all of it is there, for who reads it without being seen.  `fresh`: what is cached of it does
        not hold.  `high`: as in `Contents.pin`.
        """
        contents = self.synthetic.contents
        pin = partial(contents.pin, place, attributes, whole=whole, fresh=fresh, high=high)
        is_slow = place.filesystem is not None and place.filesystem.lazy_above is not None
        content = wait_for(task.tid, pin, late=contents.unpin) if is_slow else pin()
        self.unpin(task)
        self._pinned[task] = content
        return content

    def is_to_be_kept(self, task: Task) -> bool:
        """Whether others need not ask here for what a task was given a path of, once it has that open."""
        content = self._pinned.get(task)
        return content is not None and self.synthetic.contents.holding.is_to_be_kept(content)

    def unpin(self, task: Task) -> None:
        """The task has opened what it was given a path for."""
        content = self._pinned.pop(task, None)
        if content is not None:
            self.synthetic.contents.unpin(content)

    def stand_in(self, place: Place, attributes: Attributes) -> bytes:
        """The path of what stands for a file that is not a regular one; EACCES for a device."""
        if attributes.kind == stat.S_IFDIR:
            return self.standins.directory(place)
        assert place.filesystem is not None
        if attributes.kind == stat.S_IFLNK:
            return self.standins.symlink(place, place.filesystem.readlink(place.inode))
        try:
            return self.standins.special(place, attributes.kind, attributes.device)
        except PermissionError:
            raise fail(errno.EACCES) from None  # as on a mount with `nodev`

    def close(self, given_up: Sequence[object] = ()) -> None:
        """Remove what the view put on disk, and release what it mounted, of which some do not answer."""
        self.programs.close()
        for task in list(self._pinned):
            self.unpin(task)
        self.direct.close()
        self.synthetic.contents.close()
        self.standins.close()
        self.contexts.close()
        self.mounting.close(given_up)
        self.lockers.close()
        for close in self.on_close:
            close()
