"""Handles: arguments that point to memory, which is read or written only when somebody asks.

`In[Stat]`, `Out[Stat]` and `InOut[Stat]` point to one structure, `Buffer` to bytes, `Array` to several
structures, `Strings` to a vector of strings. All are falsy when the program passed NULL. A field of a request
that is made or changed by hand takes the data itself instead (bytes, a record, a list): it is placed
in the tracee's memory when the request is encoded.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from diorama.abi import io, socket
from diorama.abi.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.abi.arch import Abi
    from diorama.catalogue.model import Memory

__all__ = [
    "Array",
    "Buffer",
    "Handle",
    "In",
    "InOut",
    "IoVecs",
    "Out",
    "SizedBuffer",
    "SockAddr",
    "SockAddrOut",
    "Strings",
]

T = TypeVar("T", bound=Record)

# What the kernel accepts of argv and envp together is megabytes; more pointers than this are a mistake.
_STRINGS_MAX = 100_000
_STRING_MAX = 32 * 4096
_BLOCK = 64
_IOV_MAX = 1024


class Handle:
    """An address in the memory of a tracee."""

    __slots__ = ("address", "memory")

    def __init__(self, address: int, memory: Memory | None = None) -> None:
        self.address = address
        self.memory = memory

    def __bool__(self) -> bool:
        return self.address != 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([repr(part) for part in self._key()])})"

    def _key(self) -> tuple[Any, ...]:
        return (self.address,)

    def _memory(self) -> Memory:
        if self.memory is None or not self.address:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return self.memory

    def _read_exactly(self, address: int, size: int) -> bytes:
        data = self._memory().read(address, size)
        if len(data) < size:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data


class Buffer(Handle):
    """`size` bytes of memory."""

    __slots__ = ("size",)

    def __init__(self, address: int, size: int, memory: Memory | None = None) -> None:
        super().__init__(address, memory)
        self.size = size

    def _key(self) -> tuple[Any, ...]:
        return (self.address, self.size)

    def read(self, limit: int | None = None) -> bytes:
        """The bytes, at most `limit` of them; OSError(EFAULT) when not all can be read."""
        size = self.size if limit is None else min(limit, self.size)
        return self._read_exactly(self.address, size) if size else b""

    def write(self, data: bytes) -> int:
        """Put as much of the data as there is room for; returns how much that is."""
        fitting = data[: self.size]
        if fitting:
            self._memory().write(self.address, fitting)
        return len(fitting)


class Pointer(Handle, Generic[T]):
    """One structure in memory; see `In`, `Out` and `InOut`."""

    __slots__ = ("abi", "layout", "record")

    def __init__(
        self, address: int, record: type[T], abi: Abi, layout: str = "", memory: Memory | None = None
    ) -> None:
        super().__init__(address, memory)
        self.record = record
        self.abi = abi
        self.layout = layout

    def read(self) -> T:
        """The structure; OSError(EFAULT) when it cannot be read."""
        data = self._read_exactly(self.address, self.record.size(self.abi, self.layout))
        return self.record.unpack(self.abi, data, self.layout)

    def write(self, value: T) -> None:
        """Put a structure there; OSError(EFAULT), or EOVERFLOW when the layout is too narrow for it."""
        self._memory().write(self.address, value.pack(self.abi, self.layout))


class In(Pointer[T]):
    """A structure that the call reads."""

    __slots__ = ()


class Out(Pointer[T]):
    """A structure that the call fills."""

    __slots__ = ()


class InOut(Pointer[T]):
    """A structure that the call reads and then fills."""

    __slots__ = ()


class Array(Pointer[T]):
    """`count` structures in a row."""

    __slots__ = ("count",)

    def __init__(
        self,
        address: int,
        count: int,
        record: type[T],
        abi: Abi,
        layout: str = "",
        memory: Memory | None = None,
    ) -> None:
        super().__init__(address, record, abi, layout, memory)
        self.count = count

    def _key(self) -> tuple[Any, ...]:
        return (self.address, self.count)

    def read_all(self, limit: int | None = None) -> list[T]:
        """The structures, at most `limit` of them."""
        count = max(self.count if limit is None else min(limit, self.count), 0)
        size = self.record.size(self.abi, self.layout)
        data = self._read_exactly(self.address, size * count) if count else b""
        parts = [data[at : at + size] for at in range(0, size * count, size)]
        return [self.record.unpack(self.abi, part, self.layout) for part in parts]

    def write_all(self, values: Sequence[T]) -> None:
        """Put as many structures as there is room for."""
        data = b"".join([value.pack(self.abi, self.layout) for value in values[: self.count]])
        if data:
            self._memory().write(self.address, data)


class IoVecs(Array[io.IoVec]):
    """The memory of a vectored call: pieces that together are one buffer."""

    __slots__ = ()

    def gather(self, limit: int | None = None) -> bytes:
        """The bytes of all the pieces, at most `limit` of them."""
        data = bytearray()
        for piece in self.read_all(_IOV_MAX):
            size = piece.iov_len if limit is None else min(piece.iov_len, limit - len(data))
            if size > 0:
                data += self._read_exactly(piece.iov_base, size)
        return bytes(data)

    def scatter(self, data: bytes) -> int:
        """Put data into the pieces, one after the other; returns how much had room."""
        done = 0
        for piece in self.read_all(_IOV_MAX):
            part = data[done : done + piece.iov_len]
            if part:
                self._memory().write(piece.iov_base, part)
            done += len(part)
        return done


class Strings(Handle):
    """A vector of strings that ends with NULL: argv and envp."""

    __slots__ = ("abi",)

    def __init__(self, address: int, abi: Abi, memory: Memory | None = None) -> None:
        super().__init__(address, memory)
        self.abi = abi

    def read(self, limit: int = _STRINGS_MAX) -> list[bytes]:
        """The strings, at most `limit` of them; NULL reads as none, as for execve(2)."""
        return [self._memory().read_string(pointer, _STRING_MAX) for pointer in self.pointers(limit)]

    def pointers(self, limit: int = _STRINGS_MAX) -> list[int]:
        """The addresses of the strings, at most `limit` of them."""
        if not self.address:
            return []
        word = self.abi.word
        found: list[int] = []
        while len(found) < limit:
            block = self._memory().read(self.address + word * len(found), _BLOCK * word)
            if len(block) < word:
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
            for at in range(0, len(block) - word + 1, word):
                pointer = int.from_bytes(block[at : at + word], "little")
                if not pointer or len(found) == limit:
                    return found
                found.append(pointer)
        return found


class SockAddr(Buffer):
    """A socket address that the call reads."""

    __slots__ = ()

    def parse(self) -> socket.SocketAddress:
        """The address by its family."""
        return socket.parse_address(self.read(128))


class SizedBuffer(Handle):
    """Bytes that the call fills; `size_address` points to the room before the call, to the size after it."""

    __slots__ = ("size_address",)

    def __init__(self, address: int, size_address: int, memory: Memory | None = None) -> None:
        super().__init__(address, memory)
        self.size_address = size_address

    def _key(self) -> tuple[Any, ...]:
        return (self.address, self.size_address)

    def read_size(self) -> int:
        """What `size_address` points to."""
        return int.from_bytes(self._read_exactly(self.size_address, 4), "little")

    def read(self, limit: int | None = None) -> bytes:
        """The bytes, after the call, at most `limit` of them."""
        size = self.read_size()
        return self._read_exactly(self.address, size if limit is None else min(size, limit))

    def write(self, data: bytes) -> None:
        """Put as much of the data as there is room for, and its size; nothing if the program passed NULL."""
        if not self.address:
            return
        fitting = data[: self.read_size()]
        self._memory().write(self.address, fitting)
        self._write_size(len(fitting))

    def _write_size(self, size: int) -> None:
        self._memory().write(self.size_address, size.to_bytes(4, "little"))


class SockAddrOut(SizedBuffer):
    """A socket address that the call fills."""

    __slots__ = ()

    def read(self, limit: int | None = 128) -> bytes:
        """The address, after the call."""
        return super().read(limit)

    def write(self, data: bytes, room: int | None = None) -> None:
        """Put an address there, cut to the room, and its true size; nothing if the program passed NULL.

        The room is what the size is now, if that is not given.
        """
        if self.address:
            self._memory().write(self.address, data[: self.read_size() if room is None else room])
            self._write_size(len(data))
