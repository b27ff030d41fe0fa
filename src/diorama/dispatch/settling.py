"""Settling: what the native library needs to know to decide about calls by itself.

From the catalogue: for each spelling, where its paths and descriptors stand and how they are resolved.  A
request has a line here only if it is not simply one that names files.  What has no rule is asked: a request
that means more than its paths (a mount, a change of namespace), a spelling whose arguments stand in memory.

The answers in `diorama.dispatch.files` are the other side of this table: what runs here is what they let run.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue import (
    dirs,
    files,
    index,
    io,
    memory,
    mounts,
    paths,
    polling,
    processes,
    signals,
    sockets,
    xattr,
)
from diorama.catalogue.files import OpenFollows
from diorama.catalogue.kinds import FlagTest, always, never
from diorama.dispatch.clock.settling import decision_of_clock
from diorama.engine.decider import NO_ARG, Decision, Do, Follow, Mounted, Needs, Owning, PathUse, Settle
from diorama.view.mounts import below

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diorama.catalogue.kinds import Test
    from diorama.catalogue.model import PathRule, Request, Spelling
    from diorama.view.layers import Stack
    from diorama.view.mounts import Mount, MountTree

__all__ = ["Numbers", "decision_of", "settle_calls", "settle_mounts", "stack_of", "system_files"]

_ASKED: Final = frozenset[type["Request"]]({
    files.NameToHandleAt,
    files.OpenAt2,
    mounts.FsMount,
    mounts.FsPick,
    mounts.Mount,
    mounts.MountSetAttr,
    mounts.MoveMount,
    mounts.OpenTree,
    mounts.OpenTreeAttr,
    mounts.PivotRoot,
    mounts.Umount2,
    paths.ChRoot,
})
"""Requests with paths that Python must answer wherever they lead."""

_BY_DESCRIPTOR: Final[dict[type[Request], Needs]] = {
    io.CopyFileRange: Needs.NOTHING,
    io.LLSeek: Needs.NOTHING,
    io.LSeek: Needs.NOTHING,
    io.PRead64: Needs.NOTHING,
    io.PReadV2: Needs.NOTHING,
    io.Read: Needs.NOTHING,
    io.ReadV: Needs.NOTHING,
    io.SendFile: Needs.NOTHING,
    io.Splice: Needs.NOTHING,
    memory.MMap: Needs.NOT_OPENED,
    io.FAllocate: Needs.NOTHING,
    io.Fcntl: Needs.NOTHING,
    io.Flock: Needs.NOTHING,
    io.Ioctl: Needs.NOT_OPENED,
    io.PWrite64: Needs.NOTHING,
    io.PWriteV2: Needs.NOTHING,
    io.Write: Needs.NOTHING,
    io.WriteV: Needs.NOTHING,
    dirs.GetDents: Needs.UNCHANGED,
    dirs.GetDents64: Needs.UNCHANGED,
    dirs.ReadDir: Needs.UNCHANGED,
    files.Close: Needs.NO_WRITER,
    files.Dup: Needs.NOTHING,
    files.FTruncate: Needs.NOTHING,
    files.Dup2: Needs.NO_WRITER,
    files.Dup3: Needs.NO_WRITER,
    files.FChMod: Needs.NOT_OPENED,
    files.FChOwn: Needs.NOT_OPENED,
    files.FStat: Needs.NOTHING,
    io.FDataSync: Needs.NOTHING,
    io.FSync: Needs.NOTHING,
    io.SyncFs: Needs.NOTHING,
    mounts.FStatfs: Needs.NOT_OPENED,
    mounts.FStatfs64: Needs.NOT_OPENED,
    paths.FChDir: Needs.PLAIN_CWD | Needs.NOT_OPENED,
    xattr.FGetXattr: Needs.NOTHING,
    xattr.FListXattr: Needs.NOTHING,
    xattr.FRemoveXattr: Needs.NOT_OPENED,
    xattr.FSetXattr: Needs.NOT_OPENED,
}
"""Requests that concern the view only if their descriptor does."""

_BY_PATH: Final[dict[type[Request], Needs]] = {
    files.FAccessAt2: Needs.NOT_OPENED,
    files.FChModAt2: Needs.NOT_OPENED,
    files.FChOwnAt: Needs.NOT_OPENED,
    files.FileSetAttr: Needs.NOT_OPENED,
    files.UTimeNsAt: Needs.NOT_OPENED,
    paths.ChDir: Needs.PLAIN_CWD,
    paths.RenameAt2: Needs.NO_POINTS,
    paths.UnlinkAt: Needs.NO_POINTS,
    xattr.RemoveXattrAt: Needs.NOT_OPENED,
    xattr.SetXattrAt: Needs.NOT_OPENED,
}
"""What requests that name files need besides."""

_HARMLESS: Final = frozenset[type["Request"]]({
    files.FStatAt,
    files.Statx,
    polling.InotifyAddWatch,
    paths.ChDir,
    paths.ReadLinkAt,
    xattr.GetXattr,
    xattr.LGetXattr,
    xattr.LListXattr,
    xattr.ListXattr,
})
"""Requests that change nothing of a file that is named, and find it as it is below a layer."""

_DONE: Final[dict[type[Request], Do]] = {
    files.FAccessAt2: Do.ACCESS,
    files.FStatAt: Do.STAT,
    files.OpenAt: Do.OPEN,
    files.Statx: Do.STATX,
    paths.ReadLinkAt: Do.READLINK,
}
"""What can be done in the place of the program."""

_DONE_BY_DESCRIPTOR: Final[dict[type[Request], Do]] = {dirs.GetDents64: Do.LIST, files.FStat: Do.STAT}
"""The same of requests about descriptors."""

_BY_ADDRESS: Final[dict[type[Request], Follow]] = {
    sockets.Bind: Follow.NEVER,
    sockets.Connect: Follow.ALWAYS,
    sockets.SendTo: Follow.ALWAYS,
}


_MAKING: Final = frozenset[type["Request"]](
    {processes.Clone, processes.Clone3, processes.Fork, processes.VFork}
)
"""Requests that make a child, which inherits what is remembered of its parent."""

_WORD: Final = 8


class _Unknown(Exception):
    """There is no rule for a spelling."""


_NAMING: Final = frozenset[type["Request"]](
    {sockets.Accept4, sockets.GetPeerName, sockets.GetSockName, sockets.RecvFrom}
)
"""Requests that tell addresses of sockets."""

_LISTING: Final = frozenset[type["Request"]]({dirs.GetDents, dirs.GetDents64, dirs.ReadDir})
_ASKED_OF_OWNED: Final = frozenset[type["Request"]]({
    files.FChMod,
    files.FChOwn,
    files.UTimeNsAt,
    xattr.FGetXattr,
    xattr.FListXattr,
    xattr.FRemoveXattr,
    xattr.FSetXattr,
})
"""Requests about descriptors that Python must answer where a tree remembers who owns what."""
_ASKED_IN_LAYERS: Final = _ASKED_OF_OWNED | _LISTING | {io.Ioctl}
"""Requests about descriptors that Python must answer where there are layers: the kernel holds one of them."""


def settle_calls(
    *,
    named: bool = False,
    layered: bool = False,
    merged: bool = False,
    execs: bool = False,
    owned: bool = False,
    mapped: bool = False,
    networked: bool = False,
) -> list[Decision]:
    """A decision for every system call number of every ABI of this machine that has a spelling.

    `named`: there are sockets whose address is not what the kernel knows.  `layered`: there are mounts of
    layers; `merged`: only the one on the root, with what it has below as the native library knows it.
    `execs`: Python must see every exec.  `owned`: there are mounts that remember who owns what.
    `mapped`: owners of the host are shown as others.  `networked`: there are networks, who see to messages.
    """
    spellings = [one for abi in Abi.native() for one in index.spellings(abi).values()]
    asked = _ASKED_IN_LAYERS if layered else frozenset[type["Request"]]()
    if merged:
        asked -= _LISTING
    if execs:
        asked |= {processes.ExecveAt}
    if owned:
        asked |= _ASKED_OF_OWNED
    if mapped:
        asked |= {files.FChOwn, files.FChOwnAt}
    return [
        Decision(one.abi.audit, one.number)
        if one.request in asked
        else _bare(one)
        if networked and one.request in (sockets.SendMsg, sockets.RecvMsg)
        else decision_of(one)
        if named
        else _unnamed(one)
        for one in spellings
    ]


def _unnamed(spelling: Spelling) -> Decision:
    if spelling.request not in _NAMING or spelling.is_multiplexed:
        return decision_of(spelling)
    return Decision(spelling.abi.audit, spelling.number, Settle.RUN)


def _bare(spelling: Spelling) -> Decision:
    """A message is for its socket's network to see, unless it has neither an address nor control data."""
    abi, nr = spelling.abi.audit, spelling.number
    if spelling.is_multiplexed:
        return Decision(abi, nr)
    at, flags = _position(spelling, "message"), _position(spelling, "flags")
    fd = _position(spelling, "fd") if spelling.request is sockets.SendMsg else NO_ARG
    return Decision(abi, nr, Settle.BARE, arg=at, arg2=fd, flags_arg=flags)


class Numbers:
    """Numbers for mounts, as the native library has them: in order, from the bottom of a namespace.

    A number belongs to its mount for ever.  One that was moved below a later one gets a second, since parents
    stand before their children; what is in the namespace no longer, or is in another, keeps its own, where no
    path leads and Python is asked.  Any thread, one at a time.
    """

    def __init__(self) -> None:
        self._mounts: list[Mount] = []
        self._last: dict[Mount, int] = {}

    def of(self, mount: Mount) -> int:
        """The number of a mount, given now if it has none."""
        number = self._last.get(mount)
        return self._add(mount) if number is None else number

    def mount(self, number: int) -> Mount:
        """Whose number it is."""
        return self._mounts[number]

    def settle(self, tree: MountTree) -> list[Mounted]:
        """All of them, as they are in a namespace now."""
        here = set(below(tree.root))
        for mount in below(tree.root):
            point = mount.point
            if self.of(mount) < (0 if point is None else self.of(point.mount)):
                self._add(mount)
        return [
            self._settled(mount, tree) if mount in here and self._last[mount] == number else _UNREACHABLE
            for number, mount in enumerate(self._mounts)
        ]

    def _add(self, mount: Mount) -> int:
        self._last[mount] = len(self._mounts)
        self._mounts.append(mount)
        return self._last[mount]

    def _settled(self, mount: Mount, tree: MountTree) -> Mounted:
        point = mount.point
        stack = stack_of(mount) if mount is tree.base else None
        told = None if mount.filesystem is None else mount.filesystem.told
        if told is not None and point is not None:
            return Mounted(
                parent=self._last[point.mount],
                point=point.path,
                host=None,
                read_only=mount.read_only,
                no_exec=mount.no_exec,
                directory=stat.S_ISDIR(mount.kind),
                told=told.handle,
                inode=mount.inode,
                device=mount.st_dev,
                id=mount.id,
            )
        return Mounted(
            parent=-1 if point is None else self._last[point.mount],
            point=b"" if point is None else point.path,
            host=mount.host if stack is None else stack.lower,
            read_only=mount.read_only,
            no_exec=mount.no_exec,
            directory=stat.S_ISDIR(mount.kind),
            owned=owned_of(mount),
            notes=None if mount.owners is None else mount.owners.notes,
            upper=None if stack is None else stack.upper,
            hidden=None if stack is None else stack.hidden,
        )


def owned_of(mount: Mount) -> Owning:
    """How the native library finds out who owns what in a mount."""
    if mount.owners is None:
        return Owning.PLAIN
    return Owning.NOTED if mount.owners.in_xattrs else Owning.ASKED


def stack_of(mount: Mount) -> Stack | None:
    """The two directories that a mount of layers is made of, if it is no more than that."""
    return None if mount.layers is None else mount.layers.stack()


def system_files(mounts: Sequence[Mounted], paths: Iterable[bytes]) -> list[Mounted]:
    """In the place of files that are made when they are opened, wherever these are: no walk leads through."""
    return [
        Mounted(number, path.removeprefix(mount.host), None, directory=False)
        for path in paths
        for number, mount in enumerate(mounts)
        if mount.host is not None and path.startswith(mount.host + b"/")
    ]


_UNREACHABLE: Final = Mounted(parent=0, point=b"/..", host=None)
"""In the place of a mount: no walk looks for such a name, and what is said to be in it is asked about."""


def settle_mounts(tree: MountTree) -> list[Mounted]:
    """The mounts of a tree; the index of each is that in `tree.mounts`, unless some were moved."""
    numbers = Numbers()
    for mount in tree.mounts:
        numbers.of(mount)
    return numbers.settle(tree)


def decision_of(spelling: Spelling) -> Decision:
    """How a call of this number is settled."""
    abi, nr = spelling.abi.audit, spelling.number
    if spelling.is_multiplexed or not spelling.is_direct:
        return Decision(abi, nr)
    try:
        return _by_rule(spelling)
    except _Unknown:
        return Decision(abi, nr)


def _by_rule(spelling: Spelling) -> Decision:
    request, abi, nr = spelling.request, spelling.abi.audit, spelling.number
    timed = decision_of_clock(spelling)
    if timed is not None:
        return timed
    if request in _BY_DESCRIPTOR:
        field = next(name for name in ("in_fd", "newfd", "fd") if name in request.FIELDS)
        done = _DONE_BY_DESCRIPTOR.get(request, Do.NOTHING) if _has_our_structures(spelling) else Do.NOTHING
        buffer = _optional(spelling, "buffer" if done is Do.LIST else "status")
        size, needs = _optional(spelling, "size"), _BY_DESCRIPTOR[request]
        at, other = _position(spelling, field), _optional(spelling, "fd" if field == "newfd" else "out_fd")
        return Decision(
            abi, nr, Settle.FD, done, arg=at, arg2=other, needs=needs, buffer_arg=buffer, size_arg=size
        )
    if request is files.CloseRange:
        return Decision(abi, nr, Settle.ANY_FD)
    if request in _BY_ADDRESS:
        at, size = _position(spelling, "address"), _position(spelling, "address_size")
        path = PathUse(at, follow=_BY_ADDRESS[request])
        needs = Needs.NOTHING if request is sockets.Bind else Needs.CHANGES_NOTHING
        return Decision(abi, nr, Settle.ADDRESS, arg=at, arg2=size, paths=(path,), needs=needs)
    if request is sockets.SendMsg:
        at = _position(spelling, "message")
        return Decision(abi, nr, Settle.MESSAGE, arg=at, paths=(PathUse(at),), needs=Needs.CHANGES_NOTHING)
    if request is paths.GetCwd:
        return Decision(abi, nr, Settle.CWD, needs=Needs.CHANGES_NOTHING)
    if request in _MAKING:
        flags, arguments = _optional(spelling, "flags"), _optional(spelling, "arguments")
        return Decision(abi, nr, Settle.CLONE, flags_arg=flags, buffer_arg=arguments)
    if request is signals.RtSigAction:
        return _of_handlers(spelling)
    if not request.PATHS or request in _ASKED:
        return Decision(abi, nr)
    return _by_paths(spelling)


def _has_our_structures(spelling: Spelling) -> bool:
    """A 32-bit `struct stat` is not the one that the native library is compiled with."""
    return spelling.abi is Abi.native()[0] and spelling.abi.word >= _WORD


def _of_handlers(spelling: Spelling) -> Decision:
    """Only the main ABI of x86-64 has stubs before handlers."""
    abi, nr = spelling.abi, spelling.number
    if abi is not Abi.X86_64:
        return Decision(abi.audit, nr, Settle.RUN)
    new, old = _position(spelling, "new"), _position(spelling, "old")
    return Decision(abi.audit, nr, Settle.SIGNAL, arg=new, arg2=old)


def _by_paths(spelling: Spelling) -> Decision:
    request, abi, nr = spelling.request, spelling.abi.audit, spelling.number
    used = tuple([_path_use(spelling, rule) for rule in request.PATHS])
    if request is processes.ExecveAt:
        return Decision(abi, nr, Settle.EXEC, paths=used, needs=Needs.CHANGES_NOTHING)
    needs = _BY_PATH.get(request, Needs.NOTHING)
    if request in _HARMLESS:
        needs |= Needs.CHANGES_NOTHING
    if request not in _DONE or not _has_our_structures(spelling):
        return Decision(abi, nr, Settle.PATHS, paths=used, needs=needs)
    return Decision(
        abi,
        nr,
        Settle.PATHS,
        _DONE[request],
        used,
        needs=needs,
        flags_arg=_optional(spelling, "flags"),
        buffer_arg=_optional(spelling, "buffer" if request is paths.ReadLinkAt else "status"),
        size_arg=_optional(spelling, "size"),
        mode_arg=_optional(spelling, "mode"),
        mask_arg=_optional(spelling, "mask"),
        fixed_flags=spelling.fixed.get("flags", 0),
    )


def _path_use(spelling: Spelling, rule: PathRule) -> PathUse:
    kind = rule.kind
    if kind.applies is not always:
        raise _Unknown
    follow, flags_arg, flag = _follow(spelling, kind.follow)
    empty_arg, empty_flag = _empty(spelling, kind.empty)
    if NO_ARG not in (flags_arg, empty_arg) and flags_arg != empty_arg:
        raise _Unknown
    return PathUse(
        _position(spelling, rule.field),
        _directory(spelling, rule),
        follow,
        empty_arg if flags_arg == NO_ARG else flags_arg,
        flag,
        empty_flag,
    )


def _directory(spelling: Spelling, rule: PathRule) -> int:
    """The argument with the descriptor at which a path begins."""
    if rule.anchor is None:
        return NO_ARG
    if rule.anchor not in spelling.fixed:
        return _position(spelling, rule.anchor)
    if spelling.fixed[rule.anchor] != AT_FDCWD:
        raise _Unknown
    return NO_ARG


def _follow(spelling: Spelling, test: Test) -> tuple[Follow, int, int]:
    """When a link at the end is followed: the rule, the argument with flags, and the flag."""
    if test is always or test is never:
        return (Follow.ALWAYS if test is always else Follow.NEVER), NO_ARG, 0
    if isinstance(test, OpenFollows):
        if test.field in spelling.fixed:
            return Follow.OPEN, NO_ARG, spelling.fixed[test.field]
        return Follow.OPEN, _position(spelling, test.field), 0
    if not isinstance(test, FlagTest):
        raise _Unknown
    if test.field in spelling.fixed:
        return (Follow.ALWAYS if _holds(spelling, test) else Follow.NEVER), NO_ARG, 0
    rule = Follow.IF_FLAG if test.expected else Follow.UNLESS_FLAG
    return rule, _position(spelling, test.field), test.flag


def _empty(spelling: Spelling, test: Test) -> tuple[int, int]:
    """When an empty path means the descriptor: the argument with flags, and the flag."""
    if test is always or test is never:
        return NO_ARG, PathUse.ALWAYS_EMPTY if test is always else 0
    if not isinstance(test, FlagTest) or not test.expected:
        raise _Unknown
    if test.field in spelling.fixed:
        return NO_ARG, PathUse.ALWAYS_EMPTY if _holds(spelling, test) else 0
    return _position(spelling, test.field), test.flag


def _holds(spelling: Spelling, test: FlagTest) -> bool:
    return bool(spelling.fixed[test.field] & test.flag) is test.expected


def _position(spelling: Spelling, field: str) -> int:
    found = spelling.position(field)
    if found is None:
        raise _Unknown
    return found


def _optional(spelling: Spelling, field: str) -> int:
    found = spelling.position(field)
    return NO_ARG if found is None else found
