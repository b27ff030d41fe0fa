"""Mediator: answers requests for the file tree, as the innermost handler of a view.

The answers themselves are in `diorama.dispatch.files`; here are the mounts, the list of what the view must
see, and what happens to tasks.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.answers import ANSWERS, Outcome
from diorama.dispatch.files.mapped import answer_mapped
from diorama.dispatch.files.objections import is_name
from diorama.dispatch.files.owned import GOES_ON, GoesOn, answer_owned
from diorama.dispatch.files.points import enter_in_listing
from diorama.dispatch.files.programs import of_format, tell_name
from diorama.dispatch.files.sources import Sources, kind_of, names_itself
from diorama.dispatch.files.state import Files
from diorama.dispatch.files.translation import translate
from diorama.dispatch.files.wanted import of_servers, wanted_with
from diorama.errors import UsageError, warn_once
from diorama.view.asking import asked, asks
from diorama.view.host import Host
from diorama.view.resolve import ResolutionError
from diorama.view.task import CLONE_FILES, CLONE_FS, Context, Task

if TYPE_CHECKING:
    from diorama.catalogue.forms import Args
    from diorama.catalogue.model import Request, Spelling, Tracee
    from diorama.dispatch.files.content import Content
    from diorama.dispatch.files.deciding import Deciding
    from diorama.dispatch.files.mounting import Kinds
    from diorama.dispatch.subscription import Tests
    from diorama.engine.decider import Decider
    from diorama.view.mounts import Backing, Mount, Place

__all__ = ["Mediator"]

_EXCEPT: Final = "except="
_SHARED: Final = CLONE_FS | CLONE_FILES
_SUBJECTS: Final = (
    "attributes",
    "closing",
    "configuring",
    "controlling",
    "descriptors",
    "direct_calls",
    "directories",
    "dumping",
    "execution",
    "fdinfo",
    "handles",
    "inheritance",
    "interruption",
    "layered_xattrs",
    "links",
    "loose",
    "maps",
    "making",
    "mounts",
    "namespaces",
    "opening",
    "owned_attributes",
    "owned_names",
    "owned_status",
    "owned_xattrs",
    "passing",
    "reading",
    "removing",
    "saving",
    "sockets",
    "statmount",
    "status",
    "tables",
    "telling",
    "translation",
    "xattrs",
)


class _Asking:
    """Who asks, for a request that is not to be run."""

    def __init__(self, tracee: Tracee) -> None:
        self.tracee = tracee

    def run(self, request: Request) -> int:
        """Nothing."""
        raise RuntimeError(request.NAME)


class Mediator:
    """The file tree of one view; `implicit` makes a mount of the directories in a path.

    Mounts are made by the caller's threads; everything else is called on guardians, by several at once.
    `kinds` makes mounts of sources.
    """

    def __init__(
        self,
        host: Host | None = None,
        *,
        grows: bool = False,
        kinds: Kinds | None = None,
        implicit: Callable[[bytes], Mount] | None = None,
    ) -> None:
        for subject in _SUBJECTS:
            import_module(f"diorama.dispatch.files.{subject}")
        from diorama.dispatch.files.saving import Saver

        self.files = Files(host)
        self._saver = Saver(self.files.synthetic.contents)
        self._lost: list[str] = []
        self.gave_up = False
        """Whether, at the end, a file system did not answer: there may be threads that wait for it."""
        self.files.mounting.kinds = kinds
        self.files.mounting.on_release = self._released
        self.files.mounting.may_have = self._may_have
        self._deciding: Deciding | None = None
        self._grows = self.files.grows = grows
        self._sees: frozenset[type[Request]] | None = None
        self._implicit = implicit

    def requests(self, *, tells_clones: bool) -> frozenset[type[Request]]:
        """What must be asked here: nothing without mounts, else what names files, and more by what they are.

        `tells_clones`: the engine tells of clones and execs without being asked.
        """
        from diorama.catalogue.files import FChOwn
        from diorama.catalogue.memory import MMap, MRemap, RemapFilePages
        from diorama.catalogue.processes import ExecveAt
        from diorama.dispatch.files.closing import CLOSING
        from diorama.dispatch.files.descriptors import LISTING, SHOWING
        from diorama.dispatch.files.direct_calls import DIRECT
        from diorama.dispatch.files.inheritance import UNTOLD
        from diorama.dispatch.files.reading import READING

        self.files.tells_execs = tells_clones
        if self.files.serves_only:
            return of_servers()
        mounts = self.files.tree.mounts[1:]
        # Where nobody tells of execs, who changes what they tell programs must see them.
        execs = {ExecveAt} if self.files.auxiliary and not tells_clones else set[type["Request"]]()
        if not (mounts or self._grows or self.files.system or self.files.tasks.identity):
            return frozenset(execs)
        # Descriptors in layers are asked about as both: what they tell, and what changes them.
        layered = self._grows or any(mount.layers is not None for mount in mounts)
        virtual = layered or any(mount.filesystem is not None for mount in mounts)
        owned = any(mount.owners is not None for mount in mounts)
        wanted = wanted_with(virtual, layered or owned or any(mount.is_restricted for mount in mounts))
        if owned or self.files.mapping is not None:
            wanted |= SHOWING | LISTING if owned else SHOWING
        if self.files.mapping is not None:
            wanted |= {FChOwn}
        if len(self.files.points):
            wanted |= LISTING
        if self._has_pieces():
            wanted |= READING
        if self._has_direct():
            wanted |= CLOSING | DIRECT | READING - {RemapFilePages, MRemap}
        if any(stat.S_ISBLK(mount.kind) for mount in mounts):
            wanted |= {MRemap, RemapFilePages}
        if self._grows or any(mount.no_exec for mount in mounts):
            wanted |= {MMap}
        self._sees = wanted if self._sees is None else self._sees & wanted
        self.files.lazy.is_seen = self._sees >= READING and self._has_pieces()
        self.files.direct.is_seen = self._sees >= CLOSING | DIRECT
        return wanted - UNTOLD if tells_clones else wanted

    @property
    def tests(self) -> Tests:
        """Arguments without which some calls never concern a mount (`diorama.dispatch.files.conditions`)."""
        from diorama.dispatch.files.conditions import conditions, conditions_of_servers

        if self.files.serves_only:
            return conditions_of_servers()
        return conditions(
            in_pieces=self._has_pieces(),
            direct=self._has_direct(),
            tells_clones=self.files.tells_execs,
            names=self.files.tasks.uts is not None,
        )

    def _has_direct(self) -> bool:
        """Whether files may be read and written by their file system itself."""
        mounts = self.files.tree.mounts
        return self._grows or any(mount.filesystem and mount.filesystem.tells_at_close for mount in mounts)

    def _has_pieces(self) -> bool:
        """Whether files may be held in pieces."""
        mounts = self.files.tree.mounts
        return any(mount.filesystem and mount.filesystem.lazy_above is not None for mount in mounts)

    def _may_have(self, is_virtual: bool, is_read_only: bool) -> bool:
        """Whether the filters of the programs so far let through no call that would concern such a mount."""
        return self._sees is None or wanted_with(is_virtual, is_read_only) <= self._sees

    @property
    def has_mounts(self) -> bool:
        """Whether programs see anything but the host."""
        return len(self.files.tree.mounts) > 1

    def list_mounts(self) -> list[dict[str, str]]:
        """Source, target and type of each mount."""
        return [
            {"source": mount.source, "target": os.fsdecode(mount.point.view_path), "type": mount.type}
            for mount in self.files.tree.mounts
            if mount.point is not None and mount.blend is None
        ]

    def mount(self, mount: Mount, target: str | bytes | os.PathLike[str]) -> None:
        """Attach a mount to a path, relative ones to the caller's directory; `UsageError`.

        A target that does not exist is there from now on, with the directories above it.
        """
        # Not `abspath`: `..` after a symbolic link is for the resolution.
        path = os.path.join(os.getcwdb(), os.fsencode(target))
        if self._implicit is not None:
            self._make_above(path, self._implicit)
        place = self._target(path)
        name = os.fsdecode(place.view_path)
        if place.missing:
            self._enter_in_listing(place)
        elif stat.S_ISDIR(mount.kind) != stat.S_ISDIR(self._kind(place)):
            what, on = ("directory", "file") if stat.S_ISDIR(mount.kind) else ("file", "directory")
            raise UsageError(f"cannot mount {mount.source} on {name}: a {what} needs a {what}, not a {on}")
        self.files.mounting.put(mount, place)

    def mount_source(
        self,
        source: str | os.PathLike[str],
        target: str | bytes | os.PathLike[str],
        options: Sequence[str] = (),
    ) -> None:
        """As `mount`, of a source that is found in the tree as the mounts so far have left it.

        With another root, what the caller names is the host's first.  Options `rbind` and `move` are those of
        mount(8).  Each `except=PATH`, from the target, leaves to be seen there what was before.
        """
        excepted = [option.removeprefix(_EXCEPT) for option in options if option.startswith(_EXCEPT)]
        if excepted:
            options = [option for option in options if not option.startswith(_EXCEPT)]
            self._mount_around(source, target, options, excepted)
            return
        mounting, sources = self.files.mounting, self._sources()
        try:
            if "move" in options:
                self._move(sources, source, target, options)
                return
            mount = mounting.new(None, source, options, sources)
        except OSError as error:
            raise UsageError(f"cannot mount {source}: {_reason(error)}") from None
        try:
            self.mount(mount, target)
        except BaseException:
            mounting.discard(mount)
            raise

    def _mount_around(
        self,
        source: str | os.PathLike[str],
        target: str | bytes | os.PathLike[str],
        options: Sequence[str],
        excepted: Sequence[str],
    ) -> None:
        """Mount, and on each excepted place what was there."""
        mounting = self.files.mounting
        before = Sources(self.files, self._us(), os.path.join(os.getcwdb(), os.fsencode(target)))
        kept: dict[str, Mount] = {}
        try:
            for path in excepted:
                kept[path] = self._kept(before, path)
            self.mount_source(source, target, options)
        except BaseException:
            for mount in kept.values():
                mounting.discard(mount)
            raise
        for path, mount in kept.items():
            self.mount(mount, os.path.join(os.fsencode(target), os.fsencode(path)))

    def _kept(self, before: Sources, path: str) -> Mount:
        try:
            return self.files.mounting.bind(before.inside(path), before, recursive=True)
        except OSError as error:
            raise UsageError(f"cannot leave out {path}: {_reason(error)}") from None

    def open_for_us(self, path: str) -> int:
        """A descriptor of a file of the view, for reading; `OSError`."""
        return Sources(self.files, self._us()).open(path)

    def unmount(self, target: str | bytes | os.PathLike[str], *, lazy: bool = False) -> None:
        """Take away the topmost mount on a path; `UsageError` if it is in use, unless `lazy`."""
        sources = Sources(self.files, self._us(), os.getcwdb())
        try:
            self.files.mounting.unmount(self.files.tree, sources.find(os.fsencode(target)), lazy=lazy)
        except OSError as error:
            code = error.errno or errno.EINVAL
            what = "nothing is mounted there" if code == errno.EINVAL else _reason(error)
            raise UsageError(f"cannot unmount {os.fsdecode(target)}: {what}", code) from None

    def _move(
        self,
        sources: Sources,
        source: str | os.PathLike[str],
        target: str | bytes | os.PathLike[str],
        options: Sequence[str],
    ) -> None:
        if len(options) > 1:
            raise UsageError(f"cannot move {source}: no other option goes with that")
        place = self._target(os.path.join(os.getcwdb(), os.fsencode(target)))
        if place.missing:
            raise UsageError(f"cannot move {source} to {os.fsdecode(target)}: no such file or directory")
        try:
            self.files.mounting.move(self.files.tree, sources.find(os.fspath(source)), place)
        except OSError as error:
            what = "nothing is mounted there" if error.errno == errno.EINVAL else _reason(error)
            raise UsageError(f"cannot move {source}: {what}") from None

    def _sources(self) -> Sources:
        tree, us = self.files.tree, self._us()
        if tree.base is tree.root:
            return Sources(self.files, us, os.getcwdb())
        caller = Task(os.getpid(), os.getpid(), Context(tree.root.root, tree.root, tree))
        return Sources(self.files, caller, os.getcwdb(), other=us)

    def _us(self) -> Task:
        tree = self.files.tree
        return Task(os.getpid(), os.getpid(), Context(tree.base.root, tree.base, tree))

    def _target(self, path: bytes) -> Place:
        files, us = self.files, self._us()
        try:
            return files.resolver.resolve(us, us.root, path, follow=not names_itself(files.tree, path))
        except ResolutionError as error:
            raise UsageError(f"cannot mount on {os.fsdecode(path)}: {_reason(error)}") from None

    def _make_above(self, path: bytes, implicit: Callable[[bytes], Mount]) -> None:
        """Mount directories where some are missing above a path."""
        names = [name for name in path.split(b"/") if name not in (b"", b".")]
        for count in range(1, len(names)):
            place = self._target(b"/" + b"/".join(names[:count]))
            if place.missing and b".." not in names[count:]:
                self._enter_in_listing(place)
                self.files.mounting.put(implicit(b"/".join(names[count:-1])), place)
                return

    def _enter_in_listing(self, place: Place) -> None:
        """There is nothing at a place, but what is about to be mounted there."""
        from diorama.dispatch.files.descriptors import LISTING

        if enter_in_listing(self.files, place) and self._sees is not None and not self._sees >= LISTING:
            name = os.fsdecode(place.view_path)
            warn_once(f"mount {name}", "no such file or directory; in no listing of running programs")

    def _kind(self, place: Place) -> int:
        return kind_of(self.files, place)

    def decider(self) -> Decider:
        """What settles calls without Python, kept up to date from now on."""
        if self._deciding is None:
            from diorama.dispatch.files.deciding import Deciding

            self._deciding = Deciding(self.files)
            self.files.mounting.on_change = self._deciding.mounted
            self.files.mounting.changing = self._deciding.changing
        else:
            self._deciding.mounted()
        return self._deciding.decider

    def ask_all(self, wanted: bool) -> None:
        """Whether nothing is to be decided in C from now on."""
        self.decider()
        assert self._deciding is not None
        self._deciding.ask_all(wanted)

    def close(self, has_had_enough: Callable[[], bool] = bool) -> list[str]:
        """The view has ended: save what is not saved.  What could not be, a line for each file."""
        from diorama.dispatch.files.finishing import Finishing

        self._saver.stop()
        finishing = Finishing(self.files.synthetic, has_had_enough)
        self._put_aside(finishing.run())
        self.gave_up = bool(finishing.given_up)
        self._saver.close(is_stuck=self.gave_up)
        self.files.close(finishing.given_up)
        lost, self._lost = self._lost, []
        return lost

    def _released(self, one: Backing) -> None:
        """A file system is about to be closed."""
        self._put_aside(self.files.synthetic.settle(one))
        self.files.synthetic.contents.discard(one)

    def _put_aside(self, failures: Iterable[tuple[Content, OSError]]) -> None:
        from diorama.dispatch.files.saving import rescue

        for content, error in failures:
            place = self.files.inodes.find(os.fstat(content.fd)) or content.place
            copy = rescue(content, os.path.basename(place.path))
            where = "and nowhere else either: it is lost" if copy is None else f"its content is in {copy}"
            self._lost.append(f"{os.fsdecode(place.view_path)} could not be saved: {_reason(error)}; {where}")

    # -- called on guardians ------------------------------------------------------------------

    def answer(self, call: Request) -> Outcome:
        """Decide about a request."""
        task = self.files.task(call.tracee)
        self.files.begin(task)
        asks(self.files.tasks, task, call.tracee.step_aside)
        try:
            outcome = answer_owned(self.files, call) if self.files.has_owners(task) else GOES_ON
            if isinstance(outcome, GoesOn) and self.files.mapping is not None:
                outcome = answer_mapped(self.files, call, self.files.mapping)
            if not isinstance(outcome, GoesOn):
                return outcome
            return ANSWERS.get(type(call), translate)(self.files, call)
        finally:
            asked()

    def unread(self, spelling: Spelling, args: Args, tracee: Tracee, error: OSError) -> None:
        """The kernel looks for the first of two paths before it reads the second: so do we, if it is ours."""
        paths = spelling.request.PATHS
        if len(paths) != 2:
            return
        at = {arg.field: arg.index for arg in spelling.args}
        whole = list(args)
        whole[at[paths[1].field]] = args[at[paths[0].field]]
        try:
            call = spelling.decode(tuple(whole), tracee)
        except OSError:
            return
        call.bind(_Asking(tracee))
        place = self.files.find(call, paths[0], parent=is_name(call, paths[0]))
        if place is None:
            return
        if place.filesystem is not None or (place.touched and not (place.straight or place.missing)):
            raise error

    def rooted(self, tracee: Tracee) -> None:
        """The first task of a program."""
        task = self.files.enter(tracee, self.files.tasks.first(tracee.tid))
        task.is_starting = True
        self.files.changed(task)

    def found(self, tracee: Tracee) -> None:
        """A task of whose making nobody has told."""
        self.files.task(tracee).identity = self.files.tasks.identity

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """A task inherits, by these clone flags."""
        inherited = self.files.task(parent).child(child.tid, child.pid, flags)
        self.files.enter(child, inherited)
        if inherited.tree is not self.files.tree:
            self.files.mounting.divided(inherited)
        if self._deciding is None:
            return
        if parent.pid != child.pid:
            self._deciding.inherit(parent.pid, inherited)
        elif flags & _SHARED != _SHARED:
            self._deciding.divide(inherited)

    def executed(self, tracee: Tracee) -> None:
        """A task runs another program."""
        files = self.files
        task = files.task(tracee)
        files.tasks.rename(task, tracee.tid)
        calling = task.calling
        if calling is not None:
            tell_name(tracee, calling)
        task.executed()
        files.programs.end(task)
        files.auxiliary.tell(task, tracee, {} if calling is None else of_format(calling))
        files.changed(task)

    def exited(self, tracee: Tracee) -> None:
        """A task ended; its process goes on if an exec gave its thread id to another."""
        self.files.leave(tracee)
        if self._deciding is None or tracee.tid != tracee.pid or self._tell_of_heir(tracee.pid):
            return
        self._deciding.forget(tracee.pid)
        self._tell_of_heir(tracee.pid)  # it may have come just now

    def _tell_of_heir(self, pid: int) -> bool:
        heir = self.files.tasks.find(pid)
        if heir is not None:
            self.files.changed(heir)
        return heir is not None


def _reason(error: OSError) -> str:
    return (error.strerror or "not accessible").lower()
