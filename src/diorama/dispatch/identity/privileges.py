"""Privileges: calls that Linux lets those make who have a capability.

Who lacks it in the view is told so, whatever the host would let the supervisor do.  Who has it may try: what
the host forbids is the errno of Linux and one warning.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, Final

from diorama.abi import capability as abi
from diorama.abi import socket as socket_abi
from diorama.abi.mount import OPEN_TREE_CLONE
from diorama.abi.netlink import NETLINK_AUDIT
from diorama.catalogue import mounts, sockets, system, time
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.dispatch.subscription import ArgumentTest
from diorama.engine._native import TEST_EQ
from diorama.errors import Unsupported, warn_once

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.identity.state import Identities

_NEEDED: Final[dict[type[Request], int]] = {
    mounts.Acct: abi.CAP_SYS_PACCT,
    mounts.SwapOff: abi.CAP_SYS_ADMIN,
    mounts.SwapOn: abi.CAP_SYS_ADMIN,
    system.DeleteModule: abi.CAP_SYS_MODULE,
    system.FInitModule: abi.CAP_SYS_MODULE,
    system.InitModule: abi.CAP_SYS_MODULE,
    system.IoPerm: abi.CAP_SYS_RAWIO,
    system.IoPl: abi.CAP_SYS_RAWIO,
    system.KexecFileLoad: abi.CAP_SYS_BOOT,
    system.KexecLoad: abi.CAP_SYS_BOOT,
    system.SetDomainName: abi.CAP_SYS_ADMIN,
    system.SetHostName: abi.CAP_SYS_ADMIN,
    system.VHangUp: abi.CAP_SYS_TTY_CONFIG,
    time.ClockSetTime: abi.CAP_SYS_TIME,
    time.STime: abi.CAP_SYS_TIME,
    time.SetTimeOfDay: abi.CAP_SYS_TIME,
}
_FORBIDDEN: Final = "the host does not permit it, whoever a program is in the view"
_RAW: Final = (socket.AF_INET, socket.AF_INET6)
_MOUNTING: Final = (
    mounts.FsMount,
    mounts.FsOpen,
    mounts.FsPick,
    mounts.Mount,
    mounts.MountSetAttr,
    mounts.MoveMount,
    mounts.PivotRoot,
    mounts.Umount2,
)


@answers(*_NEEDED)
def privileged(identities: Identities, call: Any) -> Outcome:
    """A call that needs a capability whatever its arguments are."""
    if not identities.of(call.tracee).has(_NEEDED[type(call)]):
        raise fail(errno.EPERM)
    try:
        return int(call.run())
    except PermissionError as error:
        if error.errno == errno.EPERM:
            warn_once(call.NAME, _FORBIDDEN)
        raise


@answers(system.Reboot)
def reboot(identities: Identities, call: system.Reboot) -> Outcome:
    """The machine is not the view's."""
    if not identities.of(call.tracee).has(abi.CAP_SYS_BOOT):
        raise fail(errno.EPERM)
    raise Unsupported(call.NAME, "a view has no machine to restart or halt", errno.EPERM)


@answers(*_MOUNTING)
def mounting(identities: Identities, call: Any) -> Outcome:
    """Who could mount over what its root uses would be root."""
    if not identities.of(call.tracee).has(abi.CAP_SYS_ADMIN):
        raise fail(errno.EPERM)
    return None


@answers(mounts.OpenTree, mounts.OpenTreeAttr)
def open_tree(identities: Identities, call: mounts.OpenTree | mounts.OpenTreeAttr) -> Outcome:
    """A copy of a mount, or one with other attributes, is as good as a mount."""
    changes = call.flags & OPEN_TREE_CLONE or (isinstance(call, mounts.OpenTreeAttr) and call.size)
    if changes and not identities.of(call.tracee).has(abi.CAP_SYS_ADMIN):
        raise fail(errno.EPERM)
    return None


@answers(sockets.Socket)
def make_socket(identities: Identities, call: sockets.Socket) -> Outcome:
    """Packets as they are on the wire are for CAP_NET_RAW; the audit log is about the users of the host."""
    is_raw = call.family == socket.AF_PACKET or (
        call.family in _RAW and call.type & socket_abi.SOCK_TYPE_MASK == socket.SOCK_RAW
    )
    if is_raw and not identities.of(call.tracee).has(abi.CAP_NET_RAW):
        raise fail(errno.EPERM)
    if call.family == socket.AF_NETLINK and call.protocol == NETLINK_AUDIT:
        raise fail(errno.EPROTONOSUPPORT)
    return None


def socket_tests() -> tuple[ArgumentTest, ...]:
    """Which sockets these are: most are none of them."""
    flags = (0, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    first, *others = [socket.SOCK_RAW | flag for flag in flags]
    return (
        ArgumentTest("family", TEST_EQ, socket.AF_PACKET),
        ArgumentTest("type", TEST_EQ, first, tuple(others)),
        ArgumentTest("protocol", TEST_EQ, NETLINK_AUDIT),
    )
