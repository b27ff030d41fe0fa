"""Structures: records shown as strace(1) shows them, briefly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diorama.abi import fcntl, io, process, signal, socket, stat
from diorama.catalogue.kinds import device_text, mode_text, open_flags_text
from diorama.catalogue.names import Names, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.abi.record import Record

__all__ = ["address_text", "record_data", "record_text"]

_FAMILIES = Names(socket, "AF_")
_CLONE = Names(process, "CLONE_")
_RESOLVE = Names(fcntl, "RESOLVE_")
_POLL = Names(io, "POLL")
_EPOLL = Names(io, "EPOLL", without=("EPOLL_CLOEXEC", "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD"))
_ACTION_FLAGS = Names(signal, "SA_")
_HANDLERS = {0: "SIG_DFL", 1: "SIG_IGN"}
_SHOWN_FIELDS = 8
_INFINITY = (2**64 - 1, 2**32 - 1)


def _stat(value: stat.Stat) -> str:
    kind = value.st_mode & stat.S_IFMT
    device = kind in (stat.S_IFCHR, stat.S_IFBLK)
    last = f"st_rdev={device_text(value.st_rdev)}" if device else f"st_size={value.st_size}"
    return f"{{st_mode={mode_text(value.st_mode)}, {last}, ...}}"


def _statx(value: stat.StatX) -> str:
    mode = mode_text(value.stx_mode)
    return f"{{stx_mask={value.stx_mask:#x}, stx_mode={mode}, stx_size={value.stx_size}, ...}}"


def _open_how(value: fcntl.OpenHow) -> str:
    mode = f", mode={value.mode:#05o}".replace("0o", "0") if value.mode else ""
    resolve = f", resolve={_RESOLVE.many(value.resolve)}" if value.resolve else ""
    return f"{{flags={open_flags_text(value.flags)}{mode}{resolve}}}"


def _clone_args(value: process.CloneArgs) -> str:
    stack = f", stack={value.stack:#x}, stack_size={value.stack_size:#x}" if value.stack else ""
    number = signal.signal_name(value.exit_signal) if value.exit_signal else "0"
    return f"{{flags={_CLONE.many(value.flags)}, exit_signal={number}{stack}, ...}}"


def signal_set_text(value: signal.SigSet) -> str:
    """A set of signals; a nearly full one by what it lacks."""
    numbers = value.signals()
    if len(numbers) > 32:
        missing = [signal.signal_name(number) for number in range(1, 65) if number not in numbers]
        return f"~[{' '.join(missing)}]"
    return f"[{' '.join([signal.signal_name(number) for number in numbers])}]"


def _action(value: signal.SigAction) -> str:
    handler = _HANDLERS.get(value.sa_handler) or hex(value.sa_handler)
    mask = signal_set_text(signal.SigSet(value.sa_mask))
    return f"{{sa_handler={handler}, sa_mask={mask}, sa_flags={_ACTION_FLAGS.many(value.sa_flags)}}}"


def _poll(value: io.PollFd) -> str:
    returned = f", revents={_POLL.many(value.revents)}" if value.revents else ""
    return f"{{fd={value.fd}, events={_POLL.many(value.events)}{returned}}}"


def _epoll(value: io.EpollEvent) -> str:
    return f"{{events={_EPOLL.many(value.events)}, data={value.data:#x}}}"


def _limit(value: process.RLimit) -> str:
    shown = ["RLIM_INFINITY" if part in _INFINITY else str(part) for part in value.values()]
    return f"{{rlim_cur={shown[0]}, rlim_max={shown[1]}}}"


def _pair(value: io.FdPair) -> str:
    return f"[{value.first}, {value.second}]"


def _number(value: io.Number) -> str:
    return f"[{value.value}]"


_TEXTS: dict[type[Record], Callable[[Any], str]] = {
    stat.Stat: _stat,
    stat.StatX: _statx,
    fcntl.OpenHow: _open_how,
    process.CloneArgs: _clone_args,
    process.RLimit: _limit,
    signal.SigSet: signal_set_text,
    signal.SigAction: _action,
    io.PollFd: _poll,
    io.EpollEvent: _epoll,
    io.FdPair: _pair,
    io.Number: _number,
}


def record_text(value: Record) -> str:
    """A record in braces, cut after a few members."""
    special = _TEXTS.get(type(value))
    if special is not None:
        return special(value)
    members = zip(value.FIELD_NAMES, value.values(), strict=True)
    shown = [f"{name}={quote(part) if isinstance(part, bytes) else part}" for name, part in members]
    if len(shown) > _SHOWN_FIELDS:
        shown = [*shown[:_SHOWN_FIELDS], "..."]
    return f"{{{', '.join(shown)}}}"


def record_data(value: Record) -> dict[str, Any]:
    """A record as JSON can hold it."""
    members = zip(value.FIELD_NAMES, value.values(), strict=True)
    return {
        name: part.decode("utf-8", "backslashreplace") if isinstance(part, bytes) else part
        for name, part in members
    }


def address_text(address: socket.SocketAddress) -> str:
    """A socket address in braces."""
    match address:
        case socket.UnixAddress(path):
            name = f"@{quote(path[1:])}" if path[:1] == b"\0" else quote(path)
            return f"{{sa_family=AF_UNIX, sun_path={name}}}" if path else "{sa_family=AF_UNIX}"
        case socket.InetAddress(host, port):
            return f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{host}")}}'
        case socket.Inet6Address(host, port, flowinfo, scope_id):
            rest = f", sin6_flowinfo={flowinfo}, sin6_scope_id={scope_id}"
            return f'{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_addr="{host}"{rest}}}'
        case socket.RawAddress(family, data):
            return f"{{sa_family={_FAMILIES.one(family)}, sa_data={quote(data, 14)}}}"
