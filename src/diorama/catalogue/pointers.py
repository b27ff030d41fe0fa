"""Pointers: the kinds of arguments that are handles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from diorama.abi.io import IoVec, PollFd
from diorama.abi.record import Record
from diorama.catalogue import handles
from diorama.catalogue.handles import Handle
from diorama.catalogue.kinds import Kind
from diorama.catalogue.names import quote
from diorama.catalogue.structures import address_text, record_data, record_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.catalogue.forms import Arg
    from diorama.catalogue.kinds import Reader, Shown
    from diorama.catalogue.model import Memory

IN = "in"
OUT = "out"

_SHOWN_BYTES = 32
_SHOWN_ITEMS = 16


def _place(data: bytes | None, memory: Memory) -> int:
    return 0 if data is None else memory.place(data)


class HandleKind(Kind):
    """What all handles have in common: an address is passed on, NULL shown by name, EFAULT by the address."""

    __slots__ = ()
    signed = False

    def encode(self, value: Any, arg: Arg, memory: Memory) -> int:
        if isinstance(value, Handle):
            return value.address
        return value if isinstance(value, int) else _place(self.packed(value, arg, memory), memory)

    def packed(self, value: Any, arg: Arg, memory: Memory) -> bytes | None:
        """The bytes to place for data that was given instead of a handle."""
        return None if value is None else bytes(value)

    def fits(self, value: Any, arg: Arg) -> bool:
        return True

    def text(self, value: Any, shown: Shown) -> str:
        if isinstance(value, Handle):
            if not value:
                return "NULL"
            try:
                return self.content(value, shown)
            except OSError:
                return hex(value.address)
        return "NULL" if value is None else self.given(value)

    def content(self, value: Any, shown: Shown) -> str:
        """What the handle points to."""
        return hex(value.address)

    def given(self, value: Any) -> str:
        """Data that was given instead of a handle."""
        if isinstance(value, int):
            return hex(value) if value else "NULL"
        return quote(value, _SHOWN_BYTES) if isinstance(value, bytes) else str(value)

    def data(self, value: Any, shown: Shown) -> Any:
        return self.text(value, shown)


class BufferKind(HandleKind):
    """Bytes, with their number in another field."""

    __slots__ = ("direction", "needs", "title")

    def __init__(self, direction: str, size: str = "size") -> None:
        self.direction = direction
        self.needs = size
        self.title = f"{direction} bytes[{size}]"

    def reader(self, arg: Arg) -> Reader:
        size = self.needs
        return lambda raw, memory, request: handles.Buffer(raw, getattr(request, size), memory)

    def content(self, value: handles.Buffer, shown: Shown) -> str:
        if self.direction == IN:
            size = value.size
        elif shown.result is not None and shown.is_done:
            size = min(value.size, shown.result)
        else:
            return hex(value.address)
        shortened = "..." if size > _SHOWN_BYTES else ""
        return quote(handles.Buffer(value.address, size, value.memory).read(_SHOWN_BYTES)) + shortened


def _points(value: Any) -> bool:
    return isinstance(value, Handle) and bool(value)


class PointerKind(HandleKind):
    """One structure."""

    __slots__ = ("handle", "record", "title")

    def __init__(self, handle: type[handles.Pointer[Any]], record: type[Record]) -> None:
        self.handle = handle
        self.record = record
        self.title = f"{handle.__name__.lower()} {record.__name__}"

    def reader(self, arg: Arg) -> Reader:
        handle, record, abi, layout = self.handle, self.record, arg.abi, arg.layout
        return lambda raw, memory, request: handle(raw, record, abi, layout, memory)

    def encode(self, value: Any, arg: Arg, memory: Memory) -> int:
        if _points(value) and not self._same_layout(value, arg):
            return super().encode(value.read(), arg, memory)
        return super().encode(value, arg, memory)

    def packed(self, value: Any, arg: Arg, memory: Memory) -> bytes | None:
        if isinstance(value, Record):
            return value.pack(arg.abi, arg.layout)
        return super().packed(value, arg, memory)

    def fits(self, value: Any, arg: Arg) -> bool:
        return not _points(value) or isinstance(value, handles.In) or self._same_layout(value, arg)

    def _same_layout(self, value: handles.Pointer[Any], arg: Arg) -> bool:
        return self.record.layout(value.abi, value.layout) is self.record.layout(arg.abi, arg.layout)

    def content(self, value: handles.Pointer[Any], shown: Shown) -> str:
        if self.handle is handles.Out and not shown.is_done:
            return hex(value.address)
        return record_text(value.read())

    def given(self, value: Any) -> str:
        return record_text(value) if isinstance(value, Record) else super().given(value)

    def data(self, value: Any, shown: Shown) -> Any:
        if isinstance(value, Record):
            return record_data(value)
        if not value or (self.handle is handles.Out and not shown.is_done):
            return self.text(value, shown)
        try:
            return record_data(value.read())
        except OSError:
            return hex(value.address)


class ArrayKind(HandleKind):
    """Several structures, their number in another field."""

    __slots__ = ("direction", "needs", "record", "title")
    handle: type[handles.Array[Any]] = handles.Array

    def __init__(self, direction: str, record: type[Record], count: str = "count") -> None:
        self.direction = direction
        self.record = record
        self.needs = count
        self.title = f"{direction} {record.__name__}[{count}]"

    def reader(self, arg: Arg) -> Reader:
        handle, record, abi, layout, count = self.handle, self.record, arg.abi, arg.layout, self.needs
        return lambda raw, memory, request: handle(raw, getattr(request, count), record, abi, layout, memory)

    def packed(self, value: Any, arg: Arg, memory: Memory) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        return b"".join([item.pack(arg.abi, arg.layout) for item in value])

    def content(self, value: handles.Array[Any], shown: Shown) -> str:
        if self.direction == OUT and not shown.is_done:
            return hex(value.address)
        count = min(value.count, shown.result or 0) if self.direction == OUT else value.count
        parts = [record_text(item) for item in value.read_all(min(count, _SHOWN_ITEMS))]
        return f"[{', '.join(parts + ['...'] * (count > _SHOWN_ITEMS))}]"


class IoVecsKind(ArrayKind):
    """The pieces of memory of a vectored call."""

    __slots__ = ()
    handle = handles.IoVecs

    def __init__(self, direction: str, count: str = "count") -> None:
        super().__init__(direction, IoVec, count)

    def packed(self, value: Any, arg: Arg, memory: Memory) -> bytes | None:
        pieces = [IoVec(memory.place(item), len(item)) if isinstance(item, bytes) else item for item in value]
        return super().packed(pieces, arg, memory)

    def content(self, value: Any, shown: Shown) -> str:
        left = shown.result or 0 if shown.is_done else 0
        parts: list[str] = []
        for piece in value.read_all(_SHOWN_ITEMS):
            size = piece.iov_len if self.direction == IN else min(piece.iov_len, left)
            parts.append(self._piece(piece, size, value.memory))
            left -= size
        return f"[{', '.join(parts + ['...'] * (value.count > _SHOWN_ITEMS))}]"

    def _piece(self, piece: IoVec, size: int, memory: Memory | None) -> str:
        base = hex(piece.iov_base)
        if size:
            part = handles.Buffer(piece.iov_base, size, memory)
            base = quote(part.read(_SHOWN_BYTES)) + ("..." if size > _SHOWN_BYTES else "")
        return f"{{iov_base={base}, iov_len={piece.iov_len}}}"


class StringsKind(HandleKind):
    """A vector of strings that ends with NULL."""

    __slots__ = ("brief",)
    title = "strings"

    def __init__(self, *, brief: bool = False) -> None:
        self.brief = brief

    def reader(self, arg: Arg) -> Reader:
        abi = arg.abi
        return lambda raw, memory, request: handles.Strings(raw, abi, memory)

    def packed(self, value: Any, arg: Arg, memory: Memory) -> bytes | None:
        word = arg.abi.word
        pointers = [memory.place(item + b"\0") for item in value]
        return b"".join([pointer.to_bytes(word, "little") for pointer in [*pointers, 0]])

    def content(self, value: handles.Strings, shown: Shown) -> str:
        if self.brief:
            return f"{value.address:#x} /* {len(value.pointers())} vars */"
        return _strings_text(value.read(_SHOWN_ITEMS + 1))

    def given(self, value: Any) -> str:
        return super().given(value) if isinstance(value, int) else _strings_text(value)

    def data(self, value: Any, shown: Shown) -> Any:
        if self.brief or not isinstance(value, handles.Strings):
            return self.text(value, shown)
        try:
            return [item.decode("utf-8", "backslashreplace") for item in value.read()]
        except OSError:
            return hex(value.address)


def _strings_text(strings: Sequence[bytes]) -> str:
    parts = [quote(item, _SHOWN_BYTES) for item in strings[:_SHOWN_ITEMS]]
    return f"[{', '.join(parts + ['...'] * (len(strings) > _SHOWN_ITEMS))}]"


class SockAddrKind(BufferKind):
    """A socket address that the call reads."""

    __slots__ = ()

    def __init__(self, size: str = "address_size") -> None:
        super().__init__(IN, size)
        self.title = f"in address[{size}]"

    def reader(self, arg: Arg) -> Reader:
        size = self.needs
        return lambda raw, memory, request: handles.SockAddr(raw, getattr(request, size), memory)

    def content(self, value: Any, shown: Shown) -> str:
        return address_text(value.parse())


class SizedBufferKind(HandleKind):
    """Bytes that the call fills; the room for them is pointed to by another field."""

    __slots__ = ("needs", "title")
    handle: type[handles.SizedBuffer] = handles.SizedBuffer

    def __init__(self, size: str) -> None:
        self.needs = size
        self.title = f"out bytes[*{size}]"

    def reader(self, arg: Arg) -> Reader:
        size, handle = self.needs, self.handle
        return lambda raw, memory, request: handle(raw, getattr(request, size).address, memory)

    def content(self, value: Any, shown: Shown) -> str:
        return quote(value.read(_SHOWN_BYTES + 1), _SHOWN_BYTES) if shown.is_done else hex(value.address)


class SockAddrOutKind(SizedBufferKind):
    """A socket address that the call fills."""

    __slots__ = ()
    handle = handles.SockAddrOut

    def __init__(self, size: str = "address_size") -> None:
        super().__init__(size)
        self.title = f"out address[*{size}]"

    def content(self, value: Any, shown: Shown) -> str:
        from diorama.abi.socket import parse_address

        return address_text(parse_address(value.read())) if shown.is_done else hex(value.address)


InBuffer = Annotated[handles.Buffer, BufferKind(IN)]
"""`size` bytes that the call reads."""

OutBuffer = Annotated[handles.Buffer, BufferKind(OUT)]
"""Room of `size` bytes that the call fills."""

InIoVecs = Annotated[handles.IoVecs, IoVecsKind(IN)]
"""`count` pieces of memory that the call reads."""

OutIoVecs = Annotated[handles.IoVecs, IoVecsKind(OUT)]
"""`count` pieces of memory that the call fills."""

PollFds = Annotated[handles.Array[PollFd], ArrayKind("inout", PollFd)]
"""`count` descriptors to watch."""

Argv = Annotated[handles.Strings, StringsKind()]
Envp = Annotated[handles.Strings, StringsKind(brief=True)]
InSockAddr = Annotated[handles.SockAddr, SockAddrKind()]
OutSockAddr = Annotated[handles.SockAddrOut, SockAddrOutKind()]
