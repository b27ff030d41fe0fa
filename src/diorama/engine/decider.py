"""Decider: calls settled without Python, by `native/decide.c`.

It is told what is mounted, and what about each call can concern a mount; engines ask it before they ask
Python.  What changes while programs run (a current directory in a mount, a directory opened through one, the
real objects that stand for virtual ones) must be told *before* the program can make its next call.

Any thread may use it.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from math import lcm
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import PATH_MAX
from diorama.engine import _native, _told

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from diorama.view.clock import Course

__all__ = [
    "NO_ARG",
    "Checked",
    "Decider",
    "Decision",
    "Do",
    "Follow",
    "Mounted",
    "Needs",
    "Owning",
    "PathUse",
    "Settle",
    "TimeForm",
    "Verdict",
    "VerdictKind",
    "Wait",
    "to_native",
]

NO_ARG: Final = _native.NO_ARG
"""In the place of the index of an argument: there is none."""


class Settle(IntEnum):
    """How the verdict on a call is found, see `enum dio_settle`."""

    ASK, RUN, PATHS, FD, CWD, ADDRESS, EXEC, MESSAGE, CLONE, SIGNAL, ANY_FD, TIME, WAIT, BARE = range(14)


class Do(IntEnum):
    """What is done for the program where its path leads to a host file through a mount.

    LIST: a directory is listed, of a FUSE server.
    """

    NOTHING, OPEN, STAT, STATX, ACCESS, READLINK, LIST = range(7)


class Follow(IntEnum):
    """When a symbolic link in the last component is followed."""

    NEVER, ALWAYS, UNLESS_FLAG, IF_FLAG, OPEN = range(5)


class Needs(IntFlag):
    """What must also hold for a call to run: see `enum dio_needs`."""

    NOTHING = 0
    NO_WRITER = 64
    PLAIN_CWD = 1
    NOT_OPENED = 2
    NO_POINTS = 4
    UNCHANGED = 8
    CHANGES_NOTHING = 16


class Owning(IntEnum):
    """Whether a mount remembers who owns what, and where: in attributes, or where only Python finds it."""

    PLAIN, NOTED, ASKED = range(3)


class Checked(IntEnum):
    """What a process may do in mounts that remember: as all others, what Python says, or everything."""

    AS_ALL, YES, NO = range(3)


class VerdictKind(IntEnum):
    """What is to become of a call: ask Python, let it run, give it a result, a descriptor or another path."""

    ASK = _native.VERDICT_ASK
    RUN = _native.VERDICT_RUN
    VALUE = _native.VERDICT_VALUE
    GIVE = _native.VERDICT_GIVE
    PATH = _native.VERDICT_PATH


@dataclass(frozen=True, slots=True)
class PathUse:
    """One path of a call: the arguments that have it, and the rules for its last component.

    `flag` and `empty_flag` are bits in the argument `flags_arg`; `ALWAYS_EMPTY` as `empty_flag` needs none.
    """

    path_arg: int
    dirfd_arg: int = NO_ARG
    follow: Follow = Follow.ALWAYS
    flags_arg: int = NO_ARG
    flag: int = 0
    empty_flag: int = 0

    ALWAYS_EMPTY = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Decision:
    """What there is to know of one system call number; arguments by their index."""

    abi: int
    nr: int
    settle: Settle = Settle.ASK
    op: Do = Do.NOTHING
    paths: tuple[PathUse, ...] = ()
    arg: int = NO_ARG
    arg2: int = NO_ARG
    needs: Needs = Needs.NOTHING
    flags_arg: int = NO_ARG
    buffer_arg: int = NO_ARG
    size_arg: int = NO_ARG
    mode_arg: int = NO_ARG
    mask_arg: int = NO_ARG
    fixed_flags: int = 0


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount: the index of its parent, its place in that, and its root on the host (None if not there).

    `owned`: whether it remembers who owns what, in `notes` too if that file is there.  `upper`: the writable
    layer over that, for the mount on the root alone, in which `hidden` is not seen.  `told`: the native
    object with what is known of a file system that is not on the host (`Told.handle`), the inode of its root
    there, and the numbers of `stat` and `statx` for device and mount.
    """

    parent: int
    point: bytes
    host: bytes | None
    read_only: bool = False
    no_exec: bool = False
    directory: bool = True
    owned: Owning = Owning.PLAIN
    notes: bytes | None = None
    upper: bytes | None = None
    hidden: bytes | None = None
    told: int | None = None
    inode: int = 0
    device: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a call; `fd`, a descriptor of ours, is the receiver's to close.

    With PATH the argument `value` is to be `path`.
    """

    kind: VerdictKind
    value: int = 0
    fd: int = -1
    close_on_exec: bool = False
    path: bytes = b""


class TimeForm(IntEnum):
    """In which form a clock is told, see `enum dio_time_form`."""

    SPEC, SPEC_32, VALUE, VALUE_32, SECONDS, SECONDS_32 = range(6)


class Wait(IntEnum):
    """What a call waits for, see `enum dio_wait`."""

    DURATION, MILLISECONDS, FUTEX, CLOCK, TIMER, WALL = range(6)


def to_native(course: Course) -> _native.Course:
    """A course of time as the native library has it."""
    unit = lcm(course.rate.denominator, course.pace.denominator)
    return _native.Course(
        (ctypes.c_int64 * 4)(*course.real),
        (ctypes.c_int64 * 4)(*course.shown),
        int(course.rate * unit),
        int(course.pace * unit),
        unit,
        course.step,
    )


class Decider:
    """The decisions of one view."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle = ctypes.c_void_p()
        _native.check(_native.lib.dio_decider_new(ctypes.byref(self._handle)))

    def __del__(self) -> None:
        if self._handle:
            _native.lib.dio_decider_free(self._handle)

    @property
    def handle(self) -> ctypes.c_void_p:
        """The native object; keep the decider while engines use it."""
        return self._handle

    def load(
        self,
        decisions: Sequence[Decision],
        mounts: Sequence[Mounted],
        privates: Sequence[bytes] = (),
        *,
        on_behalf: bool = False,
        crawl: bool = False,
        status: bool = False,
        checked: bool = False,
    ) -> None:
        """Replace decisions, mounts, and the directories of stand-ins, at a stroke.

        The first mount is the host's root, and parents stand before their children (else EINVAL).
        `on_behalf`: do what leads to the host through a mount.  `crawl`: do without
        openat2(2), as on a kernel that lacks it.  `status`: /proc/PID/status is that of the view.  `checked`:
        all processes are, unless `process` says more.
        """
        array = (_native.Decision * max(1, len(decisions)))()
        for native, decision in zip(array, decisions, strict=False):
            _fill(native, decision)
        places = (_native.Mounted * max(1, len(mounts)))()
        for place, mount in zip(places, mounts, strict=False):
            place.parent, place.point, place.host = mount.parent, mount.point, mount.host
            place.read_only, place.directory = mount.read_only, mount.directory
            place.no_exec, place.upper, place.hidden = mount.no_exec, mount.upper, mount.hidden
            place.owned, place.notes = mount.owned, mount.notes
            place.told, place.inode, place.device, place.id = mount.told, mount.inode, mount.device, mount.id
        flags = on_behalf * _native.DECIDE_ON_BEHALF
        flags |= crawl * _native.DECIDE_CRAWL | status * _native.DECIDE_STATUS
        flags |= checked * _native.DECIDE_CHECKED
        private = (ctypes.c_char_p * (len(privates) + 1))(*privates)
        _native.check(
            _native.lib.dio_decider_load(
                self._handle, array, len(decisions), places, len(mounts), private, flags
            )
        )

    def process(
        self,
        pid: int,
        *,
        cwd_mount: int = -1,
        ask_all: bool = False,
        ask_exec: bool = False,
        ask_clone: bool = False,
        checked: Checked = Checked.AS_ALL,
        clock: int = 0,
    ) -> None:
        """What is special about a process; by default nothing.

        `cwd_mount` is the index of the mount that its current directory was entered by.  `checked`: what it
        may do where somebody remembers who owns what is for Python to say.  `clock`: the number of its clock.
        """
        process = _native.Process(cwd_mount, ask_all, ask_exec, ask_clone, checked, clock)
        _native.check(_native.lib.dio_decider_process(self._handle, pid, ctypes.byref(process)))

    @contextmanager
    def no_clock_read(self) -> Generator[None, None, None]:
        """Until the end no clock is read: the place for `clock`."""
        _native.lib.dio_decider_clocks_hold(self._handle)
        try:
            yield
        finally:
            _native.lib.dio_decider_clocks_release(self._handle)

    def clock(self, number: int, course: Course | None) -> None:
        """The course of a clock from now on; None: there is no such clock any more."""
        native = None if course is None else ctypes.byref(to_native(course))
        _native.check(_native.lib.dio_decider_clock(self._handle, number, native))

    def time(self, number: int, clock: int) -> int | None:
        """What a clock id shows by a clock, in nanoseconds; None if that is the kernel's to say."""
        shown = ctypes.c_int64()
        error = _native.lib.dio_decider_time(self._handle, number, clock, ctypes.byref(shown))
        return None if error else shown.value

    def opened(self, pid: int, dev: int, ino: int, mount: int) -> None:
        """A process has opened this through a mount (by its index); -1 when it has done so plainly since.

        Process 0 stands for those with no note of their own, and mount 0 for one that did so plainly.
        """
        _native.check(_native.lib.dio_decider_opened(self._handle, pid, dev, ino, mount))

    def opened_through(self, pid: int, dev: int, ino: int) -> int | None:
        """The index of the mount that a process has opened this through; None if plainly."""
        number = int(_native.lib.dio_decider_opened_through(self._handle, pid, dev, ino))
        return number if number > 0 else None

    def reach(self, dev: int, ino: int, mount: int) -> None:
        """A file was reached through a mount (by its index); 0 when plainly.  Old notes are forgotten."""
        _native.check(_native.lib.dio_decider_reach(self._handle, dev, ino, mount))

    def reached(self, dev: int, ino: int) -> int | None:
        """The index of the mount that a file was reached through last, as far as that is remembered."""
        number = int(_native.lib.dio_decider_reached(self._handle, dev, ino))
        return number if number > 0 else None

    def has_opened(self, pid: int) -> bool:
        """Whether a process has opened anything through a mount."""
        return int(_native.lib.dio_decider_opened_through(self._handle, pid, 0, 0)) >= 0

    def inherit(self, parent: int, child: int) -> None:
        """A child has what its parent has opened."""
        _native.check(_native.lib.dio_decider_inherit(self._handle, parent, child))

    def show_as(self, host_uid: int, uid: int, host_gid: int, gid: int) -> None:
        """Show owner and group of files of the host, ours, as others; before programs run."""
        _native.lib.dio_decider_map(self._handle, host_uid, uid, host_gid, gid)

    def strangers(self) -> None:
        """There may be processes with namespaces of their own from now on."""
        _native.lib.dio_decider_strangers(self._handle)

    def are_alike(self) -> bool:
        """Whether every process has our identity, and can have no other."""
        return bool(_native.lib.dio_decider_alike(self._handle))

    def forget(self, pid: int) -> None:
        """A process has ended: nothing is known of it any more."""
        _native.lib.dio_decider_forget(self._handle, pid)

    def identity(self, dev: int, ino: int = 0) -> None:
        """A real object stands for a virtual one; without `ino`, all of the device do."""
        _native.check(_native.lib.dio_decider_identity(self._handle, dev, ino))

    def stands(self, dev: int, ino: int, mount: int, inode: int) -> None:
        """A real object stands for an inode of a mount (by its index)."""
        _native.check(_native.lib.dio_decider_stands(self._handle, dev, ino, mount, inode))

    def standin(self, mount: int, inode: int, path: bytes, real: bytes) -> None:
        """Who opens a directory of a mount by the same path, in that, gets the same real one."""
        _native.lib.dio_decider_standin(self._handle, mount, inode, path, real)

    def hold_standins(self) -> None:
        """Until `forget_standins` none is made natively; what was can be adopted."""
        _native.lib.dio_decider_standins_hold(self._handle)

    def forget_standins(self) -> None:
        """Paths are others now."""
        _native.lib.dio_decider_standins_forget(self._handle)

    def make_standins(self, home: bytes | None) -> None:
        """Whoever opens a directory first has it made natively in this one; None: not any more."""
        _native.check(_native.lib.dio_decider_standins_make(self._handle, home))

    @property
    def standins_made(self) -> ctypes.c_uint32:
        """How many were made natively that are not adopted; it counts by itself."""
        return ctypes.c_uint32.from_address(_native.lib.dio_decider_standins_made(self._handle))

    def adopt_standin(self, made: _told.Standin) -> bool:
        """Take the next of them; whether there is one."""
        return not _native.lib.dio_decider_standin_adopt(self._handle, ctypes.byref(made))

    def claim_standin(self, mount: int, inode: int) -> None:
        """None is made natively for a directory from now on; what was can be adopted."""
        _native.lib.dio_decider_standin_claim(self._handle, mount, inode)

    def drop_standin(self, mount: int, inode: int) -> None:
        """A directory has no name any more, which the view knows better, or is forgotten."""
        _native.lib.dio_decider_standin_drop(self._handle, mount, inode)

    def opens(self, *, gives: bool) -> None:
        """Whether programs may be given descriptors of files that are opened natively first."""
        _native.lib.dio_decider_opens(self._handle, gives)

    def decide(
        self,
        tid: int,
        abi: int,
        nr: int,
        args: Sequence[int],
        *,
        may_give: bool = False,
        may_lead: bool = False,
    ) -> Verdict:
        """The verdict on a call that thread `tid` waits in; who asks can give it a descriptor, or a path."""
        asked = _native.Asked(tid, abi, nr, _native.Six(*args), may_give)
        path = ctypes.create_string_buffer(PATH_MAX)
        asked.path = ctypes.addressof(path) if may_lead else None
        found = _native.Verdict()
        _native.check(_native.lib.dio_decide(self._handle, ctypes.byref(asked), ctypes.byref(found)))
        return Verdict(VerdictKind(found.kind), found.value, found.fd, bool(found.fd_flags), path.value)


def _fill(native: _native.Decision, decision: Decision) -> None:
    native.abi, native.nr, native.settle, native.op = decision.abi, decision.nr, decision.settle, decision.op
    native.arg, native.arg2, native.needs = decision.arg, decision.arg2, decision.needs
    native.flags_arg, native.fixed_flags = decision.flags_arg, decision.fixed_flags
    native.buffer_arg, native.size_arg = decision.buffer_arg, decision.size_arg
    native.mode_arg, native.mask_arg = decision.mode_arg, decision.mask_arg
    native.path_count = len(decision.paths)
    for index in range(2):
        used = decision.paths[index] if index < len(decision.paths) else PathUse(NO_ARG)
        native.paths[index] = _native.PathUse(
            used.path_arg, used.dirfd_arg, used.follow, used.flags_arg, used.flag, used.empty_flag
        )
