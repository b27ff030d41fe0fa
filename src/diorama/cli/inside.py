"""Inside: the calls about mounts, as a process in a view makes them.

A file system type `diorama` is there in a view in which mounts can be made, and nowhere else.  That is how
to tell that one is in such a view.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from diorama.abi import mount as abi
from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.mounts import FsConfig, FsMount, FsOpen, MoveMount, Umount2
from diorama.engine.ourcall import OurMemory, make_call
from diorama.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from diorama.catalogue.model import Request
    from diorama.dispatch.identity.lookup import Account

__all__ = ["be_user", "change_clock", "choose_stack", "mount", "unmount"]

_TYPE: Final = "diorama"
_ATTRIBUTES: Final = {
    "nosuid": abi.MOUNT_ATTR_NOSUID,
    "nodev": abi.MOUNT_ATTR_NODEV,
    "noexec": abi.MOUNT_ATTR_NOEXEC,
    "noatime": abi.MOUNT_ATTR_NOATIME,
    "nodiratime": abi.MOUNT_ATTR_NODIRATIME,
    "nosymfollow": abi.MOUNT_ATTR_NOSYMFOLLOW,
}
_MESSAGE: Final = 4096
_TIMEX: Final = 256
"""More than a `struct timex`, which a kernel reads before it says that it knows no such clock."""


def mount(source: str, target: str, options: Sequence[str] = (), type: str = _TYPE) -> None:
    """Mount a source on a target, `move` it there, or say why not by a `UsageError`."""
    _need_view()
    with _told(f"cannot mount on {target}"):
        os.stat(target if "move" in options or os.path.lexists(target) else os.path.dirname(target) or ".")
    if "move" in options:
        if len(options) > 1:
            raise UsageError(f"cannot move {source}: no other option goes with that")
        with _told(f"cannot move {source} to {target}", {errno.EINVAL: f"{source} is no mount of the view"}):
            _call(MoveMount(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), 0))
        return
    with _told(f"cannot mount {source}", {errno.ENODEV: f"unknown file system type {type!r}"}):
        context = _call(FsOpen(os.fsencode(type), abi.FSOPEN_CLOEXEC))
    try:
        made = _make(context, source, options)
    finally:
        os.close(context)
    try:
        with _told(f"cannot mount {source} on {target}", {errno.EINVAL: "one of them is a directory"}):
            _call(MoveMount(made, b"", AT_FDCWD, os.fsencode(target), abi.MOVE_MOUNT_F_EMPTY_PATH))
    finally:
        os.close(made)


def _make(context: int, source: str, options: Sequence[str]) -> int:
    attributes = sum(_ATTRIBUTES[option] for option in set(options) if option in _ATTRIBUTES)
    try:
        _set(context, "source", source)
        for option in options:
            name, found, value = option.partition("=")
            if option not in _ATTRIBUTES:
                _set(context, name, value if found else None)
        _call(FsConfig(context, abi.FSCONFIG_CMD_CREATE, None, 0, 0))
        return _call(FsMount(context, abi.FSMOUNT_CLOEXEC, attributes))
    except OSError as error:
        raise UsageError(_message(context) or f"cannot mount {source}: {_reason(error)}") from None


def choose_stack(path: str, families: str) -> list[str]:
    """Let this process have the network that is mounted on a path: the families asked for; `UsageError`."""
    from diorama.interfaces.stackfile import ATTRIBUTE, parse_families

    parse_families(families)
    nothing = "no network is mounted there"
    reasons = dict.fromkeys((errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA), nothing)
    with _told(f"cannot use {path}", reasons):
        os.setxattr(path, ATTRIBUTE, families.encode())
    return [name for name in families.split(",") if name]


def change_clock(text: str, *, own: bool) -> None:
    """Change the clock that this process has, or give it one of its own that differs so; `UsageError`."""
    from diorama.catalogue.time import ClockAdjTime
    from diorama.view.clockspec import CALL, CHANGE, OWN, parse

    memory = OurMemory()
    words = f"{OWN if own else CHANGE}:{parse(text).words}".encode()
    outside = "this is not inside a view with a clock: start one with `diorama run --clock`"
    reasons = dict.fromkeys((errno.EINVAL, errno.EFAULT, errno.EPERM, errno.EOPNOTSUPP), outside)
    reasons[errno.ERANGE] = "it would show a time that none can"
    with _told(f"cannot set the clock to {text}", reasons):
        _call(ClockAdjTime(CALL, memory.place(words.ljust(_TIMEX, b"\0"))), memory)


def be_user(user: str) -> Account:
    """Let this process be a user of the view, `NAME|UID[:GROUP]`; `UsageError`."""
    from diorama.dispatch.identity.lookup import Accounts
    from diorama.view.account import ATTRIBUTE, PATH, write_identity

    accounts = Accounts(lambda path: Path(path).read_bytes())
    identity = accounts.identity(user)
    outside = "this is not inside a view with users: start one with `diorama run --user USER`"
    promised = "this process has promised to gain no privileges (no_new_privs)"
    is_bound = b"\nNoNewPrivs:\t1" in Path("/proc/self/status").read_bytes()
    reasons = {errno.EOPNOTSUPP: outside, errno.EPERM: promised if is_bound else outside}
    with _told(f"cannot become {user}", reasons):
        os.setxattr(PATH, ATTRIBUTE, write_identity(identity))
    return accounts.find(user.partition(":")[0])


def unmount(target: str, *, lazy: bool = False) -> None:
    """Take away what is mounted on a target, or say why not by a `UsageError`."""
    _need_view()
    reasons = {
        errno.EINVAL: "nothing is mounted there",
        errno.EBUSY: "in use, by a process in it or by what is mounted on it; --lazy lets it go on",
        errno.EPERM: "it is mounted outside of the view",
    }
    with _told(f"cannot unmount {target}", reasons):
        _call(Umount2(os.fsencode(target), abi.MNT_DETACH if lazy else 0))


def _need_view() -> None:
    try:
        os.close(_call(FsOpen(_TYPE.encode(), abi.FSOPEN_CLOEXEC)))
    except OSError as error:
        told = "this is not inside a view in which mounts can be made: start one with `diorama run --grow`"
        if error.errno == errno.EPERM:  # outside of all views it is that for ordinary users, too
            told += "; with --user, only its root may"
        raise UsageError(told) from None


def _set(context: int, key: str, value: str | None) -> None:
    command = abi.FSCONFIG_SET_FLAG if value is None else abi.FSCONFIG_SET_STRING
    memory = OurMemory()
    address = 0 if value is None else memory.place(os.fsencode(value) + b"\0")
    _call(FsConfig(context, command, os.fsencode(key), address, 0), memory)


def _message(context: int) -> str:
    """What the context has to tell of a failure."""
    try:
        text = os.fsdecode(os.read(context, _MESSAGE)).rstrip("\n")
    except OSError:
        return ""
    return text.removeprefix("e ").partition(": ")[2]


@contextmanager
def _told(what: str, reasons: dict[int, str] | None = None) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        told = (reasons or {}).get(error.errno or 0) or _reason(error)
        raise UsageError(f"{what}: {told}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _call(request: Request, memory: OurMemory | None = None) -> int:
    memory = memory or OurMemory()
    number, args = request.encode(Abi.native()[0], memory)
    return make_call(number, *args)
