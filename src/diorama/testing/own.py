"""Own: this process as its own tracee, so that answers can be tried on the real kernel without tracing.

Requests are encoded and made as system calls of the calling thread; the memory is its own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.record import Record
from diorama.catalogue.handles import Buffer, Out
from diorama.engine.held import Descriptor
from diorama.engine.ourcall import make_call

if TYPE_CHECKING:
    from diorama.catalogue.model import Request

__all__ = ["OwnExecution", "OwnMemory", "OwnTracee"]

T = TypeVar("T", bound=Record)

class OwnMemory:
    """The memory of this process; bad addresses are EFAULT here too."""

    def __init__(self) -> None:
        self._placed: list[Any] = []
        self._fd = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._fd)

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes."""
        try:
            return os.pread(self._fd, size, address)
        except OSError:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes before NUL."""
        return self.read(address, limit).partition(b"\0")[0]

    def write(self, address: int, data: bytes) -> None:
        """Write all of `data`."""
        try:
            os.pwrite(self._fd, data, address)
        except OSError:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None

    def place(self, data: bytes) -> int:
        """Put data at an address that stays valid as long as this object."""
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self._placed.append(buffer)
        return ctypes.addressof(buffer)


class OwnTracee:
    """The calling thread; also makes the handles that decoded requests have.

    `gives_at_once` as for a tracee of an engine that can give descriptors.
    """

    def __init__(self, *, gives_at_once: bool = False) -> None:
        self.gives_at_once = gives_at_once
        self.tid = threading.get_native_id()
        self.pid = os.getpid()
        self.abi = Abi.native()[0]
        self.memory = OwnMemory()

    @property
    def syscall(self) -> Any:
        """Calls by name."""
        return _Syscalls(self)

    def step_aside(self) -> None:
        """Nobody else is decided about."""
        return

    def give(self, fd: int, *, cloexec: bool = True) -> int:
        """A copy of a descriptor."""
        number = os.dup(fd)
        os.set_inheritable(number, not cloexec)
        return number

    def out(self, record: type[T], layout: str = "") -> Out[T]:
        """Room for a structure."""
        size = record.size(self.abi, layout)
        return Out(self.memory.place(bytes(size)), record, self.abi, layout, self.memory)

    def buffer(self, size: int, data: bytes = b"") -> Buffer:
        """Room for bytes."""
        return Buffer(self.memory.place(data.ljust(size, b"\0")), size, self.memory)


class _Syscalls:
    def __init__(self, tracee: OwnTracee) -> None:
        self._tracee = tracee

    def __getattr__(self, name: str) -> Any:
        tracee = self._tracee
        number = NUMBERS[tracee.abi.title][name]

        def call(*args: int | bytes) -> int:
            words = [tracee.memory.place(arg + b"\0") if isinstance(arg, bytes) else arg for arg in args]
            return make_call(number, *words)

        return call


class OwnExecution:
    """Makes requests; `ask` lets a base answer them first, as a view would."""

    def __init__(self, base: Any, tracee: OwnTracee | None = None) -> None:
        self.base = base
        self.tracee = tracee or OwnTracee()

    def run(self, request: Request) -> int:
        """Make a request as it is."""
        number, args = request.encode(self.tracee.abi, self.tracee.memory)
        return make_call(number, *args)

    def ask(self, request: Request) -> int:
        """Make a request in the view; its result, or `OSError`."""
        bound = request.bound(self)
        outcome = self.base.answer(bound)
        if isinstance(outcome, int):
            return outcome
        if isinstance(outcome, Descriptor):
            try:
                return self.tracee.give(outcome.fd, cloexec=outcome.cloexec)
            finally:
                os.close(outcome.fd)
        return self.run(bound if outcome is None else outcome)
