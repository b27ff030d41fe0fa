"""Wire: what stands around every message, and the structures that several of them share.

All structures of the protocol are padded to 64 bits by their own members, and so are alike on every
architecture.  Each has the C name of its layout, as in `<linux/fuse.h>`.  One that contains another is two
records here, one behind the other: `fuse_entry_out` is `EntryOut` and `Attr`.  What an older version of the
protocol left out at the end of a structure is a layout of its own, `short`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar, dataclass_transform

from diorama.abi.arch import Abi
from diorama.abi.record import Frozen, Layout

if TYPE_CHECKING:
    W = TypeVar("W", bound="type[Wire]")

__all__ = [
    "Attr",
    "AttrOut",
    "BatchForgetIn",
    "DirEnt",
    "EntryOut",
    "ExtHeader",
    "ForgetIn",
    "ForgetOne",
    "InHeader",
    "InitIn",
    "InitOut",
    "InterruptIn",
    "OutHeader",
    "Wire",
    "record",
]


class Wire(Frozen):
    """The base of the records of this protocol; layouts are written as in `diorama.abi.record`."""

    __slots__ = ()
    LAYOUTS: ClassVar[Mapping[str, Layout]] = {}
    FIRST: ClassVar[Layout]
    WHOLE: ClassVar[frozenset[Layout]] = frozenset()
    """The layouts that have all fields, in their order."""

    @classmethod
    def width(cls, layout: str = "") -> int:
        """The size, in bytes."""
        return cls._layout(layout).size

    @classmethod
    def decode(cls, data: bytes | memoryview, layout: str = "") -> Self:
        """The value of these bytes; what is missing at their end reads as zero."""
        found = cls._layout(layout)
        if found in cls.WHOLE:
            return cls.of(found.members(bytes(data)))
        return cls(**found.unpack(bytes(data)))

    def encode(self, layout: str = "") -> bytes:
        """The bytes; OSError(EOVERFLOW) when a member is too narrow for its value."""
        return self._layout(layout).pack(self)

    @classmethod
    def _layout(cls, name: str) -> Layout:
        return cls.LAYOUTS[name] if name else cls.FIRST


@dataclass_transform(frozen_default=True)
def record(layouts: Mapping[str, str]) -> Callable[[W], W]:
    """Make a class of fields with defaults into a structure with these layouts."""

    def declare(cls: W) -> W:
        abi = Abi.native()[0]
        cls.LAYOUTS = {name: Layout(text, abi) for name, text in layouts.items()}
        cls.FIRST = next(iter(cls.LAYOUTS.values()))
        cls.WHOLE = frozenset([one for one in cls.LAYOUTS.values() if tuple(one.names) == cls.FIELD_NAMES])
        return cls

    return declare


# -- around every message -------------------------------------------------------------------------


@record({
    "fuse_in_header": "u32 len, u32 opcode, u64 unique, u64 nodeid, u32 uid, u32 gid, u32 pid, "
    "u16 total_extlen, u16 _"
})
class InHeader(Wire):
    """Before every request; `total_extlen` counts 8 bytes, `len` includes the header."""

    len: int = 0
    opcode: int = 0
    unique: int = 0
    nodeid: int = 0
    uid: int = 0
    gid: int = 0
    pid: int = 0
    total_extlen: int = 0


@record({"fuse_out_header": "u32 len, s32 error, u64 unique"})
class OutHeader(Wire):
    """Before every reply (`error` is 0 or a negative errno) and, with `unique` 0, every notification."""

    len: int = 0
    error: int = 0
    unique: int = 0


@record({"fuse_ext_header": "u32 size, u32 type"})
class ExtHeader(Wire):
    """Before every extension of a request."""

    size: int = 0
    type: int = 0


# -- shared by several ----------------------------------------------------------------------------


@record({
    "fuse_attr": "u64 ino, u64 size, u64 blocks, u64 atime, u64 mtime, u64 ctime, u32 atimensec, "
    "u32 mtimensec, u32 ctimensec, u32 mode, u32 nlink, u32 uid, u32 gid, u32 rdev, u32 blksize, u32 flags"
})
class Attr(Wire):
    """The status of an inode; `blocks` counts 512 bytes, times are seconds and nanoseconds."""

    ino: int = 0
    size: int = 0
    blocks: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    atimensec: int = 0
    mtimensec: int = 0
    ctimensec: int = 0
    mode: int = 0
    nlink: int = 0
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    blksize: int = 0
    flags: int = 0


@record({
    "fuse_entry_out": "u64 nodeid, u64 generation, u64 entry_valid, u64 attr_valid, u32 entry_valid_nsec, "
    "u32 attr_valid_nsec"
})
class EntryOut(Wire):
    """A name that was found or made, before its `Attr`; how long name and attributes hold.

    `nodeid` 0 says that there is none of that name, for as long.
    """

    nodeid: int = 0
    generation: int = 0
    entry_valid: int = 0
    attr_valid: int = 0
    entry_valid_nsec: int = 0
    attr_valid_nsec: int = 0


@record({"fuse_attr_out": "u64 attr_valid, u32 attr_valid_nsec, u32 _"})
class AttrOut(Wire):
    """How long the `Attr` behind it holds."""

    attr_valid: int = 0
    attr_valid_nsec: int = 0


@record({"fuse_dirent": "u64 ino, u64 off, u32 namelen, u32 type"})
class DirEnt(Wire):
    """One name in a directory, before its bytes; each begins at a multiple of 8."""

    ino: int = 0
    off: int = 0
    namelen: int = 0
    type: int = 0


# -- the connection -------------------------------------------------------------------------------


@record({
    "fuse_init_in": "u32 major, u32 minor, u32 max_readahead, u32 flags, u32 flags2, u32[11] _",
    "short": "u32 major, u32 minor, u32 max_readahead, u32 flags",
})
class InitIn(Wire):
    """What the kernel can do; `short` before 7.36."""

    major: int = 0
    minor: int = 0
    max_readahead: int = 0
    flags: int = 0
    flags2: int = 0


@record({
    "fuse_init_out": "u32 major, u32 minor, u32 max_readahead, u32 flags, u16 max_background, "
    "u16 congestion_threshold, u32 max_write, u32 time_gran, u16 max_pages, u16 map_alignment, u32 flags2, "
    "u32 max_stack_depth, u16 request_timeout, u16[11] _",
    "short": "u32 major, u32 minor, u32 max_readahead, u32 flags, u16 max_background, "
    "u16 congestion_threshold, u32 max_write",
})
class InitOut(Wire):
    """What the server wants; `short` before 7.23."""

    major: int = 0
    minor: int = 0
    max_readahead: int = 0
    flags: int = 0
    max_background: int = 0
    congestion_threshold: int = 0
    max_write: int = 0
    time_gran: int = 0
    max_pages: int = 0
    map_alignment: int = 0
    flags2: int = 0
    max_stack_depth: int = 0
    request_timeout: int = 0


@record({"fuse_interrupt_in": "u64 unique"})
class InterruptIn(Wire):
    """The request that nobody waits for any more."""

    unique: int = 0


@record({"fuse_forget_in": "u64 nlookup"})
class ForgetIn(Wire):
    """How many of the references to an inode are given back."""

    nlookup: int = 0


@record({"fuse_batch_forget_in": "u32 count, u32 _"})
class BatchForgetIn(Wire):
    """How many `ForgetOne` follow."""

    count: int = 0


@record({"fuse_forget_one": "u64 nodeid, u64 nlookup"})
class ForgetOne(Wire):
    """References to one inode."""

    nodeid: int = 0
    nlookup: int = 0
