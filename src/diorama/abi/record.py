"""Records: C structures as Python values.

A record is a *value*, with one Python attribute for each C member, and a set of *layouts*: the ways in
which the kernel lays that value out in memory. `Timespec` for example is a `struct timespec` of two longs, a
pair of 64-bit integers in the newer calls of 32-bit programs, and a `struct timeval` where a call counts
microseconds. Whoever answers a call thinks in values; the spelling of the call knows the layout.

    @record({"timespec": "long tv_sec, long tv_nsec",
             "timeval": "long tv_sec, long tv_nsec/1000"})
    class Timespec(Record):
        tv_sec: int = 0
        tv_nsec: int = 0

A layout is a list of C members, aligned as a C compiler of that ABI would align them, unless its first word
is `packed`. The name `_` is padding, `nsec/1000` says that memory holds a thousandth of the value. A layout
that differs on one ABI is given again as `name@abi`. Members that a layout lacks read as their default.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from diorama.abi.arch import Abi

__all__ = ["Frozen", "Layout", "Record", "record"]

R = TypeVar("R", bound="type[Record]")


class FrozenType(type):
    """Gives a class a slot for each annotated name, before the class is made.

    `dataclass(slots=True)` does that by making each class twice and executing generated source, which for the
    hundreds of classes of the catalogue is the start-up time of the program.
    """

    FIELD_NAMES: tuple[str, ...]
    DEFAULTS: dict[str, Any]

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> FrozenType:
        if "__slots__" not in body:
            names = body["__slots__"] = tuple(body.get("__annotations__", ()))
            body["FIELD_NAMES"] = names
            body["DEFAULTS"] = {name: body.pop(name) for name in names if name in body}
        return super().__new__(mcs, name, bases, body)


class Frozen(metaclass=FrozenType):
    """A value with named fields that cannot be assigned."""

    __slots__ = ()
    FIELD_NAMES: ClassVar[tuple[str, ...]] = ()
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    _setters: ClassVar[tuple[Callable[[Any, Any], None], ...]]

    def __init__(self, *values: Any, **named: Any) -> None:
        if len(values) == len(self.FIELD_NAMES) and not named:
            self._set(values)
            return
        names = self.FIELD_NAMES
        given = dict(zip(names, values, strict=False))
        if len(values) > len(names) or (named and given and given.keys() & named.keys()):
            raise TypeError(f"{type(self).__name__}: too many arguments")
        given = {**self.DEFAULTS, **given, **named}
        if len(given) != len(names) or given.keys() != set(names):
            wrong = ", ".join(sorted(given.keys() ^ set(names)))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {wrong}")
        # Where all have defaults they are in their order already.
        self._set(given.values() if len(self.DEFAULTS) == len(names) else [given[name] for name in names])

    @classmethod
    def of(cls, values: Iterable[Any]) -> Self:
        """The one with these values, of all fields and in their order, which is not checked."""
        made = object.__new__(cls)
        made._set(values)
        return made

    def _set(self, values: Iterable[Any]) -> None:
        cls = type(self)
        setters = cls.__dict__.get("_setters")
        if setters is None:
            setters = cls._setters = tuple([getattr(cls, name).__set__ for name in cls.FIELD_NAMES])
        for assign, value in zip(setters, values, strict=False):
            assign(self, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; use replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def values(self) -> tuple[Any, ...]:
        """The values of the fields, in their order."""
        return tuple([getattr(self, name) for name in self.FIELD_NAMES])

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Frozen) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.FIELD_NAMES])
        return f"{type(self).__name__}({shown})"


_TYPES = {"s8": "b", "u8": "B", "s16": "h", "u16": "H", "s32": "i", "u32": "I", "s64": "q", "u64": "Q"}
_TYPES.update({"char": "s", "uid16": "H", "low32": "I", "time32": "i"})
_BY_WORD = {"long": {4: "i", 8: "q"}, "ulong": {4: "I", 8: "Q"}, "pointer": {4: "I", 8: "Q"}}
_MEMBER = re.compile(r"(\w+)(?:\[(\d+)\])? (\w+)(?:/(\d+))?")

_OVERFLOW_UID = 65534
_WRAPS: dict[str, Callable[[int], int]] = {
    # As the kernel's high2lowuid(): an id that does not fit is shown as "nobody".
    "uid16": lambda value: value if 0 <= value <= 0xFFFF else _OVERFLOW_UID,
    # The first inode number of `struct stat64`, which the second one, of 64 bits, overrules.
    "low32": lambda value: value & 0xFFFFFFFF,
    # As cp_compat_stat(): times past 2038 wrap silently.
    "time32": lambda value: (value + 2**31) % 2**32 - 2**31,
}


class Layout:
    """One way of laying a record out in memory, for one ABI."""

    __slots__ = ("_get", "_is_plain", "_scales", "_strings", "_struct", "_wraps", "names", "offsets")

    def __init__(self, text: str, abi: Abi) -> None:
        packed = text.startswith("packed ")
        self.names: list[str] = []
        self.offsets: dict[str, int] = {}
        self._scales: dict[int, int] = {}
        self._wraps: dict[int, Callable[[int], int]] = {}
        self._strings: dict[int, int] = {}
        form, offset, widest = "<", 0, 1
        for kind, count, name, scale in _MEMBER.findall(text.removeprefix("packed ")):
            code = _TYPES.get(kind) or _BY_WORD[kind][abi.word]
            size = struct.calcsize("<" + code)
            align = 1 if packed else min(size, abi.wide_alignment)
            gap = -offset % align
            length = size * int(count or 1)
            if name == "_":
                form += f"{gap + length}x"
            else:
                form += f"{gap}x{count}{code}"
                self._add(name, offset + gap, kind, int(scale or count or 1))
            offset += gap + length
            widest = max(widest, align)
        self._struct = struct.Struct(f"{form}{-offset % widest}x")
        self._get = _getter(self.names)
        self._is_plain = not (self._scales or self._wraps or self._strings)

    def _add(self, name: str, offset: int, kind: str, factor: int) -> None:
        index = len(self.names)
        if kind == "char":
            self._strings[index] = factor
        elif factor > 1:
            self._scales[index] = factor
        if kind in _WRAPS:
            self._wraps[index] = _WRAPS[kind]
        self.names.append(name)
        self.offsets[name] = offset

    @property
    def size(self) -> int:
        """The size in memory, in bytes."""
        return self._struct.size

    def pack(self, value: Frozen) -> bytes:
        """The bytes of a value; OSError(EOVERFLOW) when a member is too narrow, as the kernel has it."""
        try:
            return self._struct.pack(*(self._get(value) if self._is_plain else self._in_memory(value)))
        except struct.error as error:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW)) from error

    def packed(self, *values: Any) -> bytes:
        """The bytes of the values of all members, in their order, of which none is another in memory."""
        return self._struct.pack(*values)

    def _in_memory(self, value: Frozen) -> list[Any]:
        members = list(self._get(value))
        for index, scale in self._scales.items():
            members[index] //= scale
        for index, wrap in self._wraps.items():
            members[index] = wrap(members[index])
        for index, length in self._strings.items():
            members[index] = members[index][: length - 1]
        return members

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Member names and values; what is missing at the end of the bytes reads as zero."""
        return dict(zip(self.names, self.members(data), strict=True))

    def members(self, data: bytes) -> Sequence[Any]:
        """As `unpack`, the values alone."""
        size = self._struct.size
        found = self._struct.unpack(data if len(data) == size else data[:size].ljust(size, b"\0"))
        if self._is_plain:
            return found
        members = list(found)
        for index, scale in self._scales.items():
            members[index] *= scale
        for index in self._strings:
            members[index] = members[index].partition(b"\0")[0]
        return members


def _getter(names: list[str]) -> Callable[[Frozen], tuple[Any, ...]]:
    """The values of these fields, fast: attrgetter gives no tuple of fewer than two."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


class Record(Frozen):
    """The base of the classes made by `@record`."""

    __slots__ = ()
    LAYOUTS: ClassVar[Mapping[str, str]] = {}
    COMPILED: ClassVar[dict[tuple[Abi, str], Layout]] = {}

    @classmethod
    def layout(cls, abi: Abi, name: str = "") -> Layout:
        """The layout of this name, the first declared one by default."""
        found = cls.COMPILED.get((abi, name))
        if found is None:
            wanted = name or next(iter(cls.LAYOUTS))
            text = cls.LAYOUTS.get(f"{wanted}@{abi.title}") or cls.LAYOUTS[wanted]
            found = cls.COMPILED[abi, name] = Layout(text, abi)
        return found

    @classmethod
    def size(cls, abi: Abi, layout: str = "") -> int:
        """The size in memory, in bytes."""
        return cls.layout(abi, layout).size

    @classmethod
    def unpack(cls, abi: Abi, data: bytes, layout: str = "") -> Self:
        """The value that these bytes stand for; what is missing at their end reads as zero."""
        return cls(**cls.layout(abi, layout).unpack(data))

    def pack(self, abi: Abi, layout: str = "") -> bytes:
        """The bytes in memory; OSError(EOVERFLOW) when a member is too narrow for its value."""
        return self.layout(abi, layout).pack(self)

    def replace(self, **changes: Any) -> Self:
        """The same value with some fields changed."""
        return type(self)(**{**dict(zip(self.FIELD_NAMES, self.values(), strict=True)), **changes})


@dataclass_transform(frozen_default=True)
def record(layouts: Mapping[str, str]) -> Callable[[R], R]:
    """Make a class of fields with defaults into a C structure with these layouts."""

    def declare(cls: R) -> R:
        cls.LAYOUTS = layouts
        cls.COMPILED = {}
        return cls

    return declare
