"""Kinds: how one argument of a call is read, written and shown.

A field of a request is annotated with its Python type and its kind in one: `Fd` is
`Annotated[int, FdKind()]`, so a type checker sees an int and `@request` sees the kind. Values are plain ints
and bytes; arguments that point to memory which is not read when the call is decoded are handles (see
`handles`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from diorama.abi import fcntl, signal, stat
from diorama.catalogue.names import Names, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.catalogue.forms import Arg
    from diorama.catalogue.model import Memory, Request

    Reader = Callable[[int, Memory, Any], Any]
    Test = Callable[[Any], bool]

_SHOWN = 32


class Shown(NamedTuple):
    """What is being shown: a request, with its result once it has been made."""

    request: Request | None
    result: int | None

    @property
    def is_done(self) -> bool:
        """The call has been made and did not fail, so what it writes to memory is there."""
        return self.result is not None and self.result >= 0


class Kind:
    """How one argument is read, written and shown. The default is a 32-bit signed integer."""

    __slots__ = ()
    title: str = "int"
    needs: str = ""
    signed: bool = True

    def reader(self, arg: Arg) -> Reader:
        """What turns the raw argument into the field's value."""
        return _signed(32)

    def encode(self, value: Any, arg: Arg, memory: Memory) -> int:
        """The raw argument for a value; data that it points to is placed in the tracee's memory."""
        return int(value)

    def fits(self, value: Any, arg: Arg) -> bool:
        """Whether the argument of that spelling can express the value."""
        if arg.is_wide or arg.abi.word == 8 or not isinstance(value, int):
            return True
        return -(1 << 31) <= value < 1 << (31 if self.signed else 32)

    def text(self, value: Any, shown: Shown) -> str:
        """The value as strace(1) would show it."""
        return str(value)

    def data(self, value: Any, shown: Shown) -> Any:
        """The value as JSON can hold it."""
        return value


def _signed(bits: int) -> Reader:
    mask, sign = (1 << bits) - 1, 1 << (bits - 1)
    return lambda raw, memory, request: ((raw & mask) ^ sign) - sign


def _unsigned(bits: int) -> Reader:
    mask = (1 << bits) - 1
    return lambda raw, memory, request: raw & mask


def _same(raw: int, memory: Memory, request: Any) -> int:
    return raw


class UIntKind(Kind):
    """A 32-bit unsigned integer."""

    __slots__ = ()
    title = "unsigned int"
    signed = False

    def reader(self, arg: Arg) -> Reader:
        return _unsigned(32)


class LongKind(Kind):
    """A signed integer of a word, or of 64 bits where the spelling has them."""

    __slots__ = ()
    title = "long"

    def reader(self, arg: Arg) -> Reader:
        return _signed(64 if arg.is_wide else 8 * arg.abi.word)


class ULongKind(Kind):
    """An unsigned integer of a word, or of 64 bits where the spelling has them."""

    __slots__ = ()
    title = "unsigned long"
    signed = False

    def reader(self, arg: Arg) -> Reader:
        return _same


class AddressKind(ULongKind):
    """An address in the tracee's memory that is not looked at."""

    __slots__ = ()
    title = "address"

    def text(self, value: Any, shown: Shown) -> str:
        return hex(value) if value else "NULL"


class IdKind(Kind):
    """A user or group id; -1 stands for "leave as it is"."""

    __slots__ = ()
    title = "id"
    signed = False

    def reader(self, arg: Arg) -> Reader:
        mask = 0xFFFF if arg.modifier == "16" else 0xFFFFFFFF
        return lambda raw, memory, request: -1 if raw & mask == mask else raw & mask

    def fits(self, value: Any, arg: Arg) -> bool:
        return arg.modifier != "16" or -1 <= value < 0xFFFF


class FdKind(Kind):
    """A file descriptor."""

    __slots__ = ()
    title = "fd"


class DirFdKind(FdKind):
    """A file descriptor at which a relative path begins, or AT_FDCWD."""

    __slots__ = ()
    title = "dirfd"

    def text(self, value: Any, shown: Shown) -> str:
        return "AT_FDCWD" if value == fcntl.AT_FDCWD else str(value)


class PidKind(Kind):
    """A process, thread or process group id."""

    __slots__ = ()
    title = "pid"


class SignalKind(Kind):
    """A signal number."""

    __slots__ = ()
    title = "signal"

    def text(self, value: Any, shown: Shown) -> str:
        return signal.signal_name(value)


class ModeKind(Kind):
    """File permission bits, with the type bits for mknod(2)."""

    __slots__ = ()
    title = "mode"
    signed = False

    def reader(self, arg: Arg) -> Reader:
        return _unsigned(32)

    def text(self, value: Any, shown: Shown) -> str:
        return mode_text(value)


class DeviceKind(Kind):
    """A device number as `diorama.abi.stat.make_device` makes it."""

    __slots__ = ()
    title = "device"
    signed = False

    def reader(self, arg: Arg) -> Reader:
        return _unsigned(32)

    def text(self, value: Any, shown: Shown) -> str:
        return device_text(value)


class Choice(Kind):
    """One of a set of named constants."""

    __slots__ = ("names", "title")

    def __init__(self, names: Names) -> None:
        self.names = names
        self.title = names.title

    def text(self, value: Any, shown: Shown) -> str:
        return self.names.one(value)

    def data(self, value: Any, shown: Shown) -> Any:
        return self.text(value, shown)


class UChoice(Choice):
    """One of a set of named constants that are unsigned."""

    __slots__ = ()
    signed = False

    def reader(self, arg: Arg) -> Reader:
        return _unsigned(32)


class Flags(UChoice):
    """A combination of named bits."""

    __slots__ = ()

    def reader(self, arg: Arg) -> Reader:
        return _unsigned(32)

    def text(self, value: Any, shown: Shown) -> str:
        return self.names.many(value)


class WideFlags(Flags):
    """A combination of named bits in a whole word, or in 64 bits where the spelling has them."""

    __slots__ = ()

    def reader(self, arg: Arg) -> Reader:
        return _same


class OpenFlagsKind(Flags):
    """Flags of open(2): an access mode and bits."""

    __slots__ = ()

    def text(self, value: Any, shown: Shown) -> str:
        return open_flags_text(value)


class OpenModeKind(ModeKind):
    """The mode of a file that open(2) makes; not shown when it makes none."""

    __slots__ = ()

    def text(self, value: Any, shown: Shown) -> str:
        flags: int = getattr(shown.request, "flags", fcntl.O_CREAT)
        makes = flags & fcntl.O_CREAT or flags & fcntl.O_TMPFILE == fcntl.O_TMPFILE
        return mode_text(value) if makes else ""


class TextKind(Kind):
    """A string that is not a path, read when the call is decoded; NULL reads as None where it may be."""

    __slots__ = ("nullable",)
    title = "string"

    def __init__(self, *, nullable: bool = False) -> None:
        self.nullable = nullable

    def reader(self, arg: Arg) -> Reader:
        if self.nullable:
            return lambda raw, memory, request: memory.read_string(raw) if raw else None
        return lambda raw, memory, request: memory.read_string(raw)

    def encode(self, value: Any, arg: Arg, memory: Memory) -> int:
        if isinstance(value, int):
            return value
        return 0 if value is None else memory.place(value + b"\0")

    def text(self, value: Any, shown: Shown) -> str:
        return "NULL" if value is None else quote(value, _SHOWN)

    def data(self, value: Any, shown: Shown) -> Any:
        return None if value is None else value.decode("utf-8", "backslashreplace")


def always(request: Any) -> bool:
    """A test that holds for every request."""
    return True


def never(request: Any) -> bool:
    """A test that holds for none."""
    return False


class FlagTest(NamedTuple):
    """A test whether some flag of a field is set."""

    field: str
    flag: int
    expected: bool

    def __call__(self, request: Any) -> bool:
        return bool(getattr(request, self.field) & self.flag) is self.expected


def given(field: str, flag: int) -> FlagTest:
    """Whether a flag of a field is set."""
    return FlagTest(field, flag, expected=True)


def lacking(field: str, flag: int) -> FlagTest:
    """Whether a flag of a field is not set."""
    return FlagTest(field, flag, expected=False)


class PathKind(TextKind):
    """The path of a file, read when the call is decoded, with the rules of its resolution.

    `follow`: a symbolic link in its last component is followed. `missing`: its last component may not exist
    yet. `empty`: when it is empty it stands for what the directory descriptor itself refers to; where a flag
    allows that, Linux 6.11 and later take NULL for an empty path, and so is it read. `applies`: it is a path
    at all.
    """

    __slots__ = ("applies", "empty", "follow", "missing", "needs")
    title = "path"

    def __init__(
        self,
        follow: Test = always,
        missing: Test = never,
        empty: Test = never,
        applies: Test = always,
        *,
        nullable: bool = False,
    ) -> None:
        super().__init__(nullable=nullable)
        self.follow = follow
        self.missing = missing
        self.empty = empty
        self.applies = applies
        self.needs = empty.field if isinstance(empty, FlagTest) else ""

    def reader(self, arg: Arg) -> Reader:
        if self.nullable or not self.needs:
            return super().reader(arg)
        empty = self.empty

        def read(raw: int, memory: Memory, request: Any) -> bytes:
            return b"" if not raw and empty(request) else memory.read_string(raw)

        return read

    def text(self, value: Any, shown: Shown) -> str:
        return "NULL" if value is None else quote(value)


def mode_text(mode: int) -> str:
    """A mode in octal, its file type by name: `S_IFREG|0644`."""
    kind = mode & stat.S_IFMT
    bits = f"{mode & ~stat.S_IFMT:#05o}".replace("0o", "0")
    return f"{_FILE_TYPES.one(kind)}|{bits}" if kind else bits


def device_text(device: int) -> str:
    """A device number by its parts."""
    major, minor = stat.split_device(device)
    return f"makedev({major:#x}, {minor:#x})"


def open_flags_text(flags: int) -> str:
    """Flags of open(2) by name, the access mode first."""
    rest = flags & ~fcntl.O_ACCMODE
    access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[flags & fcntl.O_ACCMODE]
    return f"{access}|{_OPEN_FLAGS.many(rest)}" if rest else access


_FILE_TYPES = Names(stat, "S_IF", without=("S_IFMT",))
_OPEN_FLAGS = Names(fcntl, "O_", without=("O_ACCMODE", "O_RDONLY", "O_WRONLY", "O_RDWR"))

Int = Annotated[int, Kind()]
UInt = Annotated[int, UIntKind()]
Long = Annotated[int, LongKind()]
ULong = Annotated[int, ULongKind()]
Size = Annotated[int, ULongKind()]
Offset = Annotated[int, LongKind()]
Address = Annotated[int, AddressKind()]
Fd = Annotated[int, FdKind()]
DirFd = Annotated[int, DirFdKind()]
Pid = Annotated[int, PidKind()]
Uid = Annotated[int, IdKind()]
Gid = Annotated[int, IdKind()]
Signal = Annotated[int, SignalKind()]
Mode = Annotated[int, ModeKind()]
OpenMode = Annotated[int, OpenModeKind()]
Device = Annotated[int, DeviceKind()]
OpenFlags = Annotated[int, OpenFlagsKind(_OPEN_FLAGS)]
AtFlags = Annotated[int, Flags(Names(fcntl, "AT_", without=("AT_FDCWD", "AT_EACCESS", "AT_REMOVEDIR")))]
Text = Annotated[bytes, TextKind()]
MaybeText = Annotated[bytes | None, TextKind(nullable=True)]

Path = Annotated[bytes, PathKind()]
"""An existing file; a symbolic link at the end is followed."""

LinkPath = Annotated[bytes, PathKind(follow=never)]
"""An existing directory entry; a symbolic link at the end is meant itself."""

NewPath = Annotated[bytes, PathKind(follow=never, missing=always)]
"""A directory entry to be made."""

AtPath = Annotated[
    bytes,
    PathKind(
        follow=lacking("flags", fcntl.AT_SYMLINK_NOFOLLOW), empty=given("flags", fcntl.AT_EMPTY_PATH)
    ),
]
"""A file whose resolution the AT_* bits in the field `flags` rule."""
