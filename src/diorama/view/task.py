"""Task: what the file tree looks like from one task, and where its descriptors lead.

As in the kernel, root and current directory belong to a context that CLONE_FS shares, and what is known of
descriptors to a table that CLONE_FILES shares; a clone without the flag gets a copy of that moment.

The kernel keeps the current directory and the descriptors themselves, so they are read from /proc each
time. What it cannot know is through which bind mount a host directory was reached, and that is all that is
remembered here: `cwd_mount` for the current directory, `opened` for descriptors, `executable` for programs.
A virtual object is known by its identity.  So most tasks have nothing to remember; they are *plain*, and a
task that nobody has told of is one: with notifications, children of the others are announced when they are
made.

Threads: a task is used by its own guardian, but contexts and tables are shared between tasks.  Their
accesses are single dictionary or attribute operations, which need no lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, Final

from diorama.view.clock import Clock
from diorama.view.credentials import Credentials
from diorama.view.formats import Fixed
from diorama.view.host import Host, RealHost, Status
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, MountTree, Place
from diorama.view.opened import Opened
from diorama.view.renaming import Renaming
from diorama.view.stacks import NO_STACKS, Stacks
from diorama.view.system import Cpus
from diorama.view.uts import Uts

if TYPE_CHECKING:
    from diorama.view.capabilities import Executed
    from diorama.view.identity import Identity

__all__ = ["Calling", "Context", "Task", "Tasks"]

CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_NEWNS: Final = 0x20000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWNET: Final = 0x40000000

_DELETED: Final = b" (deleted)"

ObjectId = tuple[int, int]


@dataclass(slots=True)
class Context:
    """What CLONE_FS shares: the root, and the mount that the current directory was entered by.

    The mount namespace is here too, since who gets another one cannot go on sharing these (clone(2)).
    `twins` leads from the mounts of namespaces that it was in before to those of `tree`.
    """

    root: Place
    cwd_mount: Mount
    tree: MountTree
    twins: dict[Mount, Mount] = field(default_factory=dict[Mount, Mount])

    def here(self, place: Place) -> Place:
        """What a place of a former namespace is in this one."""
        twin = self.twins.get(place.mount)
        return place if twin is None else place._replace(mount=twin)

    def divide(self) -> Context:
        """The same in a new mount namespace, a copy of that of now."""
        tree, copies = self.tree.copy()
        twins = {old: copies.get(new, new) for old, new in self.twins.items()} | copies
        cwd_mount = copies.get(self.cwd_mount, self.cwd_mount)
        root = self.root._replace(mount=copies.get(self.root.mount, self.root.mount))
        return Context(root, cwd_mount, tree, twins)


@dataclass(frozen=True, slots=True)
class Calling:
    """By which string a program was called: what the kernel was `given` for it, and what was `asked` for.

    `keeps_first` and `fd` are what a format of binfmt_misc lets the program know: that it has the first
    argument of what it is to run, and the number under which it has that open, if it is to.
    """

    given: bytes
    asked: bytes
    keeps_first: bool = False
    fd: int | None = None


@dataclass(slots=True, eq=False)
class Task:
    """One thread.

    `executable` is what its process runs, if that was found through a mount, `pending` what it has asked to
    run, `calling` what that is to be told.  `is_starting` is set until the first program of a view is
    executed: it was given its current directory outside of the view.  `credentials` are those that it was
    seen to have in its present call.  `divides`: the namespaces that the child that it makes gets of its own.
    `stacks` are the networks that its sockets are of, `uts` and `cpus` what it is told of its system; None
    is the kernel's.  `tags` are what is told of its calls.  `identity` is who it is, None where that is who
    it is on the host, and `becoming` who it will be when the program that it has asked for runs.
    `is_secure`: that program was told to be careful.  `is_closed`: others of its user may not look into it
    (PR_SET_DUMPABLE).  `clock` is its own, None for that of the view.
    """

    tid: int
    pid: int
    context: Context
    opened: dict[ObjectId, Mount | None] = field(default_factory=dict[ObjectId, "Mount | None"])
    executable: Place | None = None
    pending: Place | None = None
    calling: Calling | None = None
    is_starting: bool = False
    divides: int = 0
    credentials: Credentials | None = None
    stacks: Stacks = NO_STACKS
    identity: Identity | None = None
    becoming: Executed | None = None
    is_secure: bool = False
    is_closed: bool = False
    uts: Uts | None = None
    cpus: Cpus | None = None
    tags: frozenset[str] = frozenset()
    clock: Clock | None = None

    @property
    def root(self) -> Place:
        """Where its absolute paths begin."""
        return self.context.root

    @property
    def tree(self) -> MountTree:
        """The mounts of its namespace."""
        return self.context.tree

    @property
    def is_displaced(self) -> bool:
        """Whether its root is not where the kernel thinks: then no path is the kernel's to find."""
        return not self.root.mount.is_bottom or self.root.path != b""

    @property
    def is_confined(self) -> bool:
        """Whether it has changed its root."""
        return self.root.mount is not self.tree.base or self.root.path != b""

    def unshare(self, flags: int) -> None:
        """Keep what these CLONE_* flags name to itself from now on."""
        if flags & CLONE_NEWNS:
            self.context = self.context.divide()
        elif flags & CLONE_FS:
            self.context = replace(self.context)
        if flags & CLONE_FILES:
            self.opened = dict(self.opened)
        if flags & CLONE_NEWUTS and self.uts is not None:
            self.uts = self.uts.copy()

    def executed(self) -> None:
        """The program it asked for runs, with a descriptor table of its own."""
        self.executable, self.pending, self.calling = self.pending, None, None
        if self.becoming is not None:
            (self.identity, self.is_secure, self.is_closed), self.becoming = self.becoming, None
        self.opened = dict(self.opened)

    def child(self, tid: int, pid: int, flags: int) -> Task:
        """What a clone with these flags inherits."""
        child = Task(
            tid, pid, self.context, self.opened, self.executable, stacks=self.stacks, identity=self.identity
        )
        child.uts, child.cpus, child.tags = self.uts, self.cpus, self.tags
        child.is_closed, child.clock = self.is_closed, self.clock
        if flags & CLONE_NEWNET:
            child.stacks = self.stacks.leave()
        divides = (flags | self.divides) & (CLONE_NEWNS | CLONE_NEWUTS)
        child.unshare(~flags & (CLONE_FS | CLONE_FILES) | divides)
        return child


def _nobody(_task: Task) -> None:
    return


def _as_seen(found: Credentials, task: Task) -> Credentials:
    """The credentials of the host, or those that a task has in the view."""
    who = task.identity
    if who is None:
        return found
    groups = frozenset(who.groups)
    real = who.uid, who.gid, who.permitted
    return Credentials(who.fsuid, who.fsgid, groups, who.effective, *real, found.umask)
_AS_THREAD: Final = CLONE_FS | CLONE_FILES


def _start_of(tid: int) -> bytes:
    """When a thread was made (proc(5), starttime)."""
    try:
        with open(f"/proc/{tid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return b""


def _no_program(_task: Task, _path: bytes) -> Fixed:
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


class Tasks:
    """The tasks of a view by thread id, and what /proc tells about them."""

    __slots__ = (
        "_awaited", "_by_tid", "_host", "_inodes", "_ours", "_tree", "are_alike", "changed", "clock", "cpus",
        "fix_program", "has_chosen_stacks", "identity", "opened", "owner", "stacks", "uts",
    )  # fmt: skip

    def __init__(self, tree: MountTree, host: Host, inodes: Inodes) -> None:
        self._tree = tree
        self._host = host
        self._inodes = inodes
        self._by_tid: dict[int, Task] = {}
        self._awaited: dict[int, tuple[Task, bytes]] = {}
        self.stacks = NO_STACKS
        self.has_chosen_stacks = False
        """Whether any task has a network of its own, or had one, which may be mounted no longer."""
        self.identity: Identity | None = None
        self.uts: Uts | None = None
        self.cpus: Cpus | None = None
        self.clock: Clock | None = None
        self.changed: Callable[[Task], None] = _nobody
        self.are_alike: Callable[[], bool] = bool
        self.fix_program: Callable[[Task, bytes], Fixed] = _no_program
        self.owner: Callable[[int, int], Task | None] = lambda pid, tid: self.find(tid) or self.find(pid)
        self._ours = host.credentials(os.getpid()) if isinstance(host, RealHost) else None
        self.opened = Opened()

    def __len__(self) -> int:
        return len(self._by_tid)

    def first(self, tid: int) -> Task:
        """The first task of a program."""
        return self.enter(self.stranger(tid, tid))

    def stranger(self, tid: int, pid: int) -> Task:
        """A task of which nobody has told, which stands where a first one does; not made known."""
        base = self._tree.base
        context = Context(base.root, base, self._tree)
        task = Task(tid, pid, context, stacks=self.stacks, identity=self.identity)
        task.uts, task.cpus = self.uts, self.cpus
        return task

    def enter(self, task: Task) -> Task:
        """Make a task known by its thread id."""
        if self._awaited:
            foretold = self._awaited.pop(task.tid, None)
            if foretold is not None and foretold[1] == _start_of(task.tid):
                task.cpus, task.tags = foretold[0].cpus, foretold[0].tags
        self._by_tid[task.tid] = task
        return task

    def foretell(self, tid: int, pid: int) -> Task:
        """The task of a thread that may not be known yet: what it is told counts when it becomes known."""
        found = self._by_tid.get(tid)
        if found is not None:
            return found
        start = _start_of(tid)
        awaited = self._awaited.get(tid)
        if awaited is not None and awaited[1] == start:
            return awaited[0]
        leader = self._by_tid.get(pid)
        task = self.stranger(tid, pid) if leader is None else leader.child(tid, pid, _AS_THREAD)
        self._awaited[tid] = task, start
        return task

    def is_like_process(self, task: Task) -> bool:
        """Whether a thread has what the first one of its process has, of what threads need not share."""
        first = self._by_tid.get(task.pid, task)
        return task.uts is first.uts and task.cpus is first.cpus and task.stacks is first.stacks

    def find(self, tid: int) -> Task | None:
        """The task of this thread id; None if it is none of ours."""
        return self._by_tid.get(tid)

    def all(self) -> list[Task]:
        """All that are known."""
        return list(self._by_tid.values())

    def rename(self, task: Task, tid: int) -> None:
        """A task has a new thread id: execve gives every caller that of the process."""
        before = task.tid
        if before != tid:
            task.tid = tid
            self.enter(task)  # at no moment is it not known
            if self._by_tid.get(before) is task:
                del self._by_tid[before]

    def leave(self, task: Task) -> None:
        """Forget a task, unless its thread id belongs to another by now."""
        if self._by_tid.get(task.tid) is task:
            del self._by_tid[task.tid]

    def trees(self) -> list[MountTree]:
        """The mount trees of all tasks, and that of the view."""
        found = {id(task.tree): task.tree for task in list(self._by_tid.values())}
        return list((found | {id(self._tree): self._tree}).values())

    def renamed(self, renaming: Renaming) -> None:
        """What tasks remember of what was renamed follows."""
        for task in list(self._by_tid.values()):
            task.context.root = renaming.place(task.context.root)
            if task.executable is not None:
                task.executable = renaming.place(task.executable)

    def is_plain(self, task: Task) -> bool:
        """Whether nothing is remembered of a task."""
        here = task.tree is self._tree and task.context.cwd_mount is self._tree.base
        here = here and not task.is_confined
        here = here and task.executable is None and not self.has_own(task)
        here = here and task.identity == self.identity and not task.is_closed
        return here and not self.opened.has_own(task)

    def has_own(self, task: Task) -> bool:
        """Whether it has a network, or is told of a system or time, that others of its view do not have."""
        shared = task.stacks is self.stacks and task.uts is self.uts
        return bool(task.tags) or not (shared and task.cpus is self.cpus and task.clock is None)

    def choose_stack(self, task: Task, network: Any, families: frozenset[int]) -> None:
        """Let the process of a task have a network, for some families or for all (`Stacks.choose`)."""
        self.has_chosen_stacks = True
        chosen = task.stacks.choose(network, families)
        for other in list(self._by_tid.values()):
            if other.pid == task.pid:
                other.stacks = chosen
        self.changed(task)

    def sharing(self, task: Task) -> list[Task]:
        """The tasks, itself among them, that share its context or its table of descriptors."""
        return [
            other
            for other in list(self._by_tid.values())
            if other.context is task.context or other.opened is task.opened
        ]

    def credentials(self, task: Task) -> Credentials:
        """Who a task is to files in the view, as it was first seen in its present call.

        The umask is that of any task while all are alike (`are_alike`): who makes files asks `maker`.
        """
        return _as_seen(self.on_host(task), task)

    def on_host(self, task: Task) -> Credentials:
        """Who a task is to files of the host."""
        found = task.credentials
        if found is None:
            found = self._ours if self.are_alike() else None
            found = task.credentials = found or self._host.credentials(task.tid)
        return found

    def maker(self, task: Task) -> Credentials:
        """The same as `credentials`, with the umask that it has."""
        if task.credentials is None or task.credentials is self._ours:
            task.credentials = self._host.credentials(task.tid)
        return _as_seen(task.credentials, task)

    def cwd(self, task: Task) -> Place:
        """The current directory; one without a name (removed, or too deep for one) is placed at its link."""
        link = b"/proc/%d/cwd" % task.tid
        if len(self._inodes):
            found = self._inodes.find(self._host.stat(link))
            if found is not None:
                return task.context.here(found)
        text = self._name(link)
        if text is None:
            return Place(task.tree.root, link)
        return self.located(text, task.context.cwd_mount, task.tree)

    def descriptor(self, task: Task, fd: int) -> Place:
        """What a descriptor refers to; EBADF.

        A host object without a path (a pipe, a deleted file) is placed at its link in /proc.
        """
        link = b"/proc/%d/fd/%d" % (task.tid, fd)
        try:
            text = self._name(link)
            mount: Mount | None = None
            if len(self._inodes) or self.opened.any(task):
                status = self._host.stat(link)
                found = self._inodes.find(status)
                if found is not None:
                    return found
                mount = self.opened.find(task, (status.st_dev, status.st_ino))
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        if text is not None:
            return self.located(text, mount, task.tree)
        place = Place(task.tree.root, link)
        return place if mount is None or mount.is_bottom else self._unnamed(place, mount)

    def _name(self, link: bytes) -> bytes | None:
        """The host path that a link of /proc tells; None for what has none."""
        try:
            text = self._host.readlink(link)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise
        if not text.startswith(b"/"):
            return None
        return None if text.endswith(_DELETED) and self._is_gone(text, link) else text

    def _is_gone(self, text: bytes, link: bytes) -> bool:
        try:
            named, meant = self._host.lstat(text), self._host.stat(link)
        except OSError:
            return True
        return (named.st_dev, named.st_ino) != (meant.st_dev, meant.st_ino)

    def _unnamed(self, place: Place, mount: Mount) -> Place:
        """What was opened through a mount and removed: the mount says what may be done with it."""
        if S_ISDIR(self._host.stat(place.path).st_mode):
            return place
        real = self._host.readlink(place.path).removesuffix(_DELETED)
        return Place(mount, mount.inside(real) or b"", removed=True, touched=mount.read_only, link=place.path)

    def above(self, task: Task, link: bytes) -> Place | None:
        """The directory above one that is placed at its link; None if that has no name either."""
        text = self._host.above(link)
        if text.endswith(_DELETED):
            return None
        if b"/cwd" in link:
            mount: Mount | None = task.context.cwd_mount
        else:
            status = self._host.stat(link)
            mount = self.opened.find(task, (status.st_dev, status.st_ino))
        return self.located(text, mount, task.tree)

    def virtual(self, task: Task, fd: int) -> Place | None:
        """What a descriptor of ours stands for in a file system of ours; None for all others."""
        found = self.standing(task, fd)
        return None if found is None or found.filesystem is None else found

    def standing(self, task: Task, fd: int) -> Place | None:
        """What a descriptor of ours stands for; None for those of the host and bad ones."""
        if fd < 0 or not len(self._inodes):
            return None
        try:
            return self._inodes.find(self._host.stat(b"/proc/%d/fd/%d" % (task.tid, fd)))
        except OSError:
            return None

    def status(self, task: Task, fd: int) -> Status:
        """The status of a real descriptor."""
        return self._host.stat(b"/proc/%d/fd/%d" % (task.tid, fd))

    def flags(self, task: Task, fd: int) -> int:
        """The flags that a descriptor was opened with; EBADF."""
        try:
            with open(f"/proc/{task.tid}/fdinfo/{fd}", "rb") as info:
                fields = dict(line.split(b":", 1) for line in info if b":" in line)
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        return int(fields[b"flags"], 8)

    def remembered(self, mount: Mount, tree: MountTree | None = None) -> Mount:
        """What there is to remember of having come by a mount: it, if the kernel cannot tell."""
        return mount if mount.filesystem is None else (tree or self._tree).base

    def located(self, text: bytes, mount: Mount | None = None, tree: MountTree | None = None) -> Place:
        """Where a host path is, in a namespace, that the kernel tells of what was reached through a mount."""
        tree = tree or self._tree
        mount = mount or tree.base
        if not text.startswith(b"/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not mount.is_bottom:
            inside = mount.inside(text)
            if inside is not None:
                layers = mount.layers
                straight = layers is not None and layers.over_root and text.rstrip(b"/") == inside
                return Place(mount, inside, touched=True, straight=straight)
        return Place(tree.root, text.rstrip(b"/"))
