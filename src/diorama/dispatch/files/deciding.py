"""Deciding: keeps the native library's decider told of what the file tree knows.

What it must know before a program can make its next call: the mounts of the first namespace (who lives in
another is asked about all it does), what is remembered of each process that is not plain, and the real
objects that stand for virtual ones.  What was opened through a mount is remembered there only, because the
decider itself opens directories for programs.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.keeping import Keeping
from diorama.dispatch.files.numbered import answers_numbers
from diorama.dispatch.files.standing import Standing
from diorama.dispatch.settling import Numbers, settle_calls, stack_of, system_files
from diorama.engine.decider import Checked, Decider, Decision, Mounted
from diorama.view.opened import Opened

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.host import Status
    from diorama.view.mounts import Mount, Place
    from diorama.view.task import ObjectId, Task

__all__ = ["Deciding"]

_THE_HOST: Final = Mounted(parent=-1, point=b"", host=b"")


class _DecidersOpened(Opened):
    """As `Opened`, by process, in the decider."""

    def __init__(self, decider: Decider, numbers: Numbers) -> None:
        super().__init__()
        self._decider = decider
        self._numbers = numbers

    def find(self, task: Task, identity: ObjectId) -> Mount | None:
        number = self._decider.opened_through(task.pid, *identity)
        return None if number is None else self._numbers.mount(number)

    def add(self, task: Task, identity: ObjectId, mount: Mount) -> None:
        self._decider.opened(task.pid, *identity, self._numbers.of(mount))

    def drop(self, task: Task, identity: ObjectId) -> None:
        self._decider.opened(task.pid, *identity, 0 if identity in self.passed else -1)

    def reach(self, identity: ObjectId, mount: Mount) -> None:
        self._decider.reach(*identity, self._numbers.of(mount))

    def reached(self, identity: ObjectId) -> Mount | None:
        number = self._decider.reached(*identity)
        return None if number is None else self._numbers.mount(number)

    def send(self, identity: ObjectId, mount: Mount) -> None:
        super().send(identity, mount)
        self._decider.opened(0, *identity, self._numbers.of(mount))

    def has_own(self, task: Task) -> bool:
        return self._decider.has_opened(task.pid)


def _concerns_exec(task: Task) -> bool:
    """Whether something is to be forgotten when it executes a program."""
    return task.is_starting or any(one is not None for one in (task.pending, task.executable, task.calling))


class Deciding:
    """The decider of one view."""

    def __init__(self, files: Files) -> None:
        self.decider = Decider()
        self._files = files
        self._calls: dict[tuple[bool, bool, bool, bool, bool, bool], list[Decision]] = {}
        self._divided: set[int] = set()
        self._numbers = Numbers()
        self._loading = threading.Lock()
        self._is_changing = False
        self._networked = False
        self._plain = False
        self._asks_all = False
        mapping = files.mapping
        if mapping is not None:
            self.decider.show_as(mapping.host_uid, mapping.uid, mapping.host_gid, mapping.gid)
        keeping = Keeping(self.decider, files.inodes, self._numbers, self._gives, files.standins.adopt)
        files.synthetic.contents.holding.keeper = keeping
        self._standing = Standing(self.decider, self._numbers, lambda: files.tasks.identity is None)
        files.standins.native = self._standing
        self.mounted()
        files.tasks.opened = _DecidersOpened(self.decider, self._numbers)
        files.inodes.on_add = self._identify
        files.lockers.on_locked = self._identify_one
        files.lazy.on_add = self._identify_one
        for status in files.points:
            self._identify(status)
        files.on_change = self._remember
        files.on_restriction = self.mounted
        files.addresses.on_first = self.mounted
        files.on_strangers = self.decider.strangers
        files.tasks.are_alike = self.decider.are_alike
        files.on_division = self.divide

    def _gives(self) -> bool:
        """Whether programs can be given descriptors, or open ours, and are who the kernel says."""
        files = self._files
        return files.tasks.identity is None and not (files.tells_execs and files.is_confined)

    def mounted(self) -> None:
        """Something was mounted, or may be done by us no longer."""
        files = self._files
        self._welcome()
        virtual = any(mount.filesystem is not None for mount in files.tree.mounts)
        # Who stands in what is mounted no longer is still asked about.
        privates = files.standins.homes() if virtual or len(files.inodes) else ()
        if privates:
            self._standing.make(privates[0])
        base = files.tree.base
        layered = [mount for mount in files.tree.mounts if mount.layers is not None]
        merged = layered == [base] and stack_of(base) is not None
        owned = any(mount.owners is not None for mount in files.tree.mounts)
        execs = files.has_formats or (bool(files.auxiliary) and not files.tells_execs)
        # Also one that is mounted no longer, or in another namespace only, may have sockets that are given.
        found = [getattr(mount.filesystem, "network", None) for mount in files.tree.mounts]
        self._plain = not files.grows and all(network is None or network.is_plain for network in found)
        self._networked |= not self._plain and (files.tasks.has_chosen_stacks or any(found))
        networked = self._networked
        key = len(files.addresses) > 0, bool(layered), merged, execs, owned, networked
        calls = self._calls.get(key)
        if calls is None:
            named, has_layers, *_ = key
            calls = settle_calls(
                named=named,
                layered=has_layers,
                merged=merged,
                execs=execs,
                owned=owned,
                mapped=files.mapping is not None,
                networked=networked,
            )
            self._calls[key] = calls
        for mount in layered:
            if mount.layers is not None:
                mount.layers.whole(b"")[0].on_identity = self._identify_one
        with self._loading:
            if self._asks_all or answers_numbers(files.tree):
                self.decider.load([], [_THE_HOST])
            elif not self._is_changing:
                mounts = self._numbers.settle(files.tree)
                mounts += system_files(mounts, files.system)
                status = files.tasks.cpus is not None or files.tasks.identity is not None
                checked = owned and not self._are_mighty()
                self.decider.load(
                    calls, mounts, privates, on_behalf=files.acts, status=status, checked=checked
                )

    def _welcome(self) -> None:
        """Files of servers may be opened natively from now on."""
        self.decider.opens(gives=self._gives())
        for mount in self._files.tree.mounts:
            if mount.filesystem is not None and mount.filesystem.told is not None:
                self._files.synthetic.contents.welcome(mount.filesystem)

    @contextmanager
    def changing(self) -> Generator[None, None, None]:
        """While the mounts change, Python is asked about every call.

        A program that has seen a new mount in /proc/self/mounts must not be let past it to the host.
        """
        with self._loading:
            self._is_changing = True
            self.decider.load([], [_THE_HOST])
        try:
            yield
        finally:
            self._is_changing = False
            self.mounted()

    def ask_all(self, wanted: bool) -> None:
        """Whether Python is to be asked about every call from now on."""
        self._asks_all = wanted
        self.mounted()

    def inherit(self, parent: int, child: Task) -> None:
        """A process was made."""
        self.decider.inherit(parent, child.pid)
        self._remember(child)

    def forget(self, pid: int) -> None:
        """A process has ended."""
        self._divided.discard(pid)
        self.decider.forget(pid)

    def divide(self, task: Task) -> None:
        """The threads of its process do not share all from now on: only here is known who has what."""
        self._divided.add(task.pid)
        self._remember(task)

    def _identify(self, status: Status, place: Place | None = None) -> None:
        # All memfds are on one device, and nothing that has a path is.
        is_file = stat.S_ISREG(status.st_mode)
        if place is not None and place.filesystem is not None and place.filesystem.told is not None:
            self.decider.stands(status.st_dev, status.st_ino, self._numbers.of(place.mount), place.inode)
        self.decider.identity(status.st_dev, 0 if is_file else status.st_ino)

    def _identify_one(self, status: Status) -> None:
        self.decider.identity(status.st_dev, status.st_ino)

    def _remember(self, task: Task) -> None:
        if self._files.tasks.has_chosen_stacks and not (self._networked or self._plain):
            self.mounted()
        mount = task.context.cwd_mount
        in_mount = mount is not task.tree.base
        is_elsewhere = task.tree is not self._files.tree
        has_own = self._files.tasks.has_own(task)
        has_owners = self._files.has_owners(task)
        self.decider.process(
            task.pid,
            cwd_mount=self._numbers.of(mount) if in_mount else -1,
            ask_all=is_elsewhere or task.is_confined or task.pid in self._divided or bool(task.tags),
            ask_exec=_concerns_exec(task),
            checked=self._checked(task) if has_owners else Checked.AS_ALL,
            ask_clone=in_mount or task.is_confined or has_own or task.executable is not None,
            clock=0 if task.clock is None else task.clock.number,
        )

    def _are_mighty(self) -> bool:
        """Whether tasks of which nothing is known may do everything with files of whatever owner."""
        tasks = self._files.tasks
        return tasks.credentials(tasks.stranger(os.getpid(), os.getpid())).is_mighty

    def _checked(self, task: Task) -> Checked:
        """Whether any thread of its process is kept from something where owners are remembered."""
        tasks = self._files.tasks
        threads = [one for one in tasks.all() if one.pid == task.pid] or [task]
        is_mighty = all(tasks.credentials(one).is_mighty for one in threads)
        if is_mighty == self._are_mighty():
            return Checked.AS_ALL
        return Checked.NO if is_mighty else Checked.YES
