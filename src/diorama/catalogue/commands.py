"""Commands: arguments whose meaning depends on another field, of fcntl(2) and ioctl(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from diorama.abi import fcntl, ioctl, signal
from diorama.abi.fcntl import FLock
from diorama.catalogue.handles import Pointer
from diorama.catalogue.kinds import AddressKind, UChoice, ULongKind, open_flags_text
from diorama.catalogue.names import Names

if TYPE_CHECKING:
    from diorama.catalogue.io import Fcntl
    from diorama.catalogue.kinds import Shown

_LOCK_TYPES = Names(fcntl, "F_RDLCK", "F_WRLCK", "F_UNLCK")
_REQUESTS = Names(ioctl, "T", "F", "S", "B", "R", "N", "P", title="TC*, TIOC*, FIO*, SIOC*, ...")
_WHENCE = Names(fcntl, "SEEK_")
_SEALS = Names(fcntl, "F_SEAL_")
_LOCKS = frozenset({fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW})
_LOCKS_64 = frozenset({
    fcntl.F_GETLK64,
    fcntl.F_SETLK64,
    fcntl.F_SETLKW64,
    fcntl.F_OFD_GETLK,
    fcntl.F_OFD_SETLK,
    fcntl.F_OFD_SETLKW,
})
_WITHOUT_ARGUMENT = frozenset({
    fcntl.F_GETFD,
    fcntl.F_GETFL,
    fcntl.F_GETOWN,
    fcntl.F_GETSIG,
    fcntl.F_GETLEASE,
    fcntl.F_GETPIPE_SZ,
    fcntl.F_GET_SEALS,
})


def lock_of(call: Fcntl) -> Pointer[FLock] | None:
    """The lock that a locking command of fcntl(2) points to; None for other commands."""
    if call.command not in _LOCKS | _LOCKS_64 or call.spelling is None:
        return None
    layout = "flock64" if call.command in _LOCKS_64 else "flock"
    return Pointer(call.argument, FLock, call.spelling.abi, layout, call.memory)


def _lock_text(lock: FLock) -> str:
    return (
        f"{{l_type={_LOCK_TYPES.one(lock.l_type)}, l_whence={_WHENCE.one(lock.l_whence)},"
        f" l_start={lock.l_start}, l_len={lock.l_len}}}"
    )


class FcntlArgumentKind(ULongKind):
    """The third argument of fcntl(2); commands without one show nothing."""

    __slots__ = ()

    def text(self, value: Any, shown: Shown) -> str:
        command: int = getattr(shown.request, "command", -1)
        if command in _WITHOUT_ARGUMENT:
            return ""
        if command == fcntl.F_SETFL:
            return open_flags_text(value)
        if command == fcntl.F_SETFD:
            return "FD_CLOEXEC" if value == fcntl.FD_CLOEXEC else str(value)
        if command == fcntl.F_ADD_SEALS:
            return _SEALS.many(value)
        if command == fcntl.F_SETSIG:
            return signal.signal_name(value)
        if command in _LOCKS | _LOCKS_64:
            return self._lock(value, shown)
        return str(value) if value < 1 << 31 else hex(value)

    def _lock(self, value: int, shown: Shown) -> str:
        pointer = lock_of(shown.request)  # type: ignore[arg-type]
        try:
            return _lock_text(pointer.read()) if pointer else hex(value)
        except OSError:
            return hex(value)


class IoctlRequestKind(UChoice):
    """The request number of ioctl(2), by name or by what is coded in it."""

    __slots__ = ()

    def text(self, value: Any, shown: Shown) -> str:
        known = self.names.by_value().get(value)
        if known:
            return known
        direction, kind, number, size = ioctl.split_request(value)
        return f"_IOC({direction}, {kind:#x}, {number:#x}, {size:#x})"


FcntlArgument = Annotated[int, FcntlArgumentKind()]
IoctlRequest = Annotated[int, IoctlRequestKind(_REQUESTS)]
IoctlArgument = Annotated[int, AddressKind()]
