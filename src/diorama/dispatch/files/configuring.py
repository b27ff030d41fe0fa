"""Configuring: file systems made step by step, fsopen(2), fspick(2), fsconfig(2) and fsmount(2)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.abi import mount as abi
from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.mounts import FsConfig, FsMount, FsOpen, FsPick
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.contexts import Context, Phase
from diorama.dispatch.files.loose import attributes_of, give_root
from diorama.dispatch.files.mounts import set_flags, sources_of, usage_errors
from diorama.dispatch.files.state import Files, fail
from diorama.engine.held import Descriptor
from diorama.errors import UsageError

if TYPE_CHECKING:
    from diorama.dispatch.files.sources import Sources

_KEY_MAX: Final = 256
_IGNORED: Final = frozenset(
    {"async", "dirsync", "lazytime", "mand", "nolazytime", "nomand", "silent", "sync"}
)
"""What the kernel takes for every file system, and has no meaning for those of ours."""


@answers(FsOpen)
def open_context(files: Files, call: FsOpen) -> Outcome:
    """Begin to configure a file system."""
    if call.flags & ~abi.FSOPEN_CLOEXEC:
        raise fail(errno.EINVAL)
    kind = os.fsdecode(call.type)
    with usage_errors(call.NAME):
        files.mounting.check_type(kind)
    _, fd = files.contexts.add(kind, Phase.PARAMETERS)
    return Descriptor(fd, cloexec=bool(call.flags & abi.FSOPEN_CLOEXEC))


@answers(FsPick)
def pick(files: Files, call: FsPick) -> Outcome:
    """Begin to configure what is mounted."""
    known = abi.FSPICK_CLOEXEC | abi.FSPICK_SYMLINK_NOFOLLOW | abi.FSPICK_NO_AUTOMOUNT | abi.FSPICK_EMPTY_PATH
    if call.flags & ~known:
        raise fail(errno.EINVAL)
    task = files.task(call.tracee)
    rule = call.PATHS[0]
    place = sources_of(files, call).find(
        call.path, call.dirfd, follow=rule.follows(call), accepts_empty=rule.accepts_empty(call)
    )
    files.mounting.check_own(task.tree, call.NAME, place)
    _, fd = files.contexts.add(place.mount.type, Phase.RECONFIGURING, place.mount)
    return Descriptor(fd, cloexec=bool(call.flags & abi.FSPICK_CLOEXEC))


@answers(FsConfig)
def configure(files: Files, call: FsConfig) -> Outcome:
    """Set a parameter, or have it made."""
    _check(call)
    task = files.task(call.tracee)
    context = files.contexts.find(files.tasks, task, call.fd)
    with context.lock:
        if call.command in (abi.FSCONFIG_CMD_CREATE, abi.FSCONFIG_CMD_CREATE_EXCL):
            _create(files, sources_of(files, call), context)
        elif call.command == abi.FSCONFIG_CMD_RECONFIGURE:
            _reconfigure(files, context)
        else:
            _set(context, os.fsdecode(call.key or b""), _value(call))
    return 0


def _check(call: FsConfig) -> None:
    """What a command needs, and does not take (fs/fsopen.c)."""
    key, value, extra = call.key is not None, bool(call.value), call.auxiliary
    if call.fd < 0:
        raise fail(errno.EINVAL)
    fits = {
        abi.FSCONFIG_SET_FLAG: key and not value and not extra,
        abi.FSCONFIG_SET_STRING: key and value and not extra,
        abi.FSCONFIG_SET_BINARY: key and value and 0 < extra <= 1 << 20,
        abi.FSCONFIG_SET_PATH: key and value and (extra == AT_FDCWD or extra >= 0),
        abi.FSCONFIG_SET_PATH_EMPTY: key and value and (extra == AT_FDCWD or extra >= 0),
        abi.FSCONFIG_SET_FD: key and not value and extra >= 0,
        abi.FSCONFIG_CMD_CREATE: not (key or value or extra),
        abi.FSCONFIG_CMD_CREATE_EXCL: not (key or value or extra),
        abi.FSCONFIG_CMD_RECONFIGURE: not (key or value or extra),
    }.get(call.command)
    if fits is None:
        raise fail(errno.EOPNOTSUPP)
    if not fits or (call.key is not None and len(call.key) >= _KEY_MAX):
        raise fail(errno.EINVAL)


def _value(call: FsConfig) -> str | None:
    """What a parameter is set to, as an option of mount(8) has it; None for a flag."""
    tid, fd = call.tracee.tid, call.auxiliary
    if call.command == abi.FSCONFIG_SET_FLAG:
        return None
    if call.command == abi.FSCONFIG_SET_FD:
        return f"/proc/{tid}/fd/{fd}"
    if call.command == abi.FSCONFIG_SET_BINARY:
        raise fail(errno.EINVAL)
    text = os.fsdecode(call.tracee.memory.read_string(call.value))
    if call.command == abi.FSCONFIG_SET_STRING or fd == AT_FDCWD or text.startswith("/"):
        return text
    if not text and call.command == abi.FSCONFIG_SET_PATH:
        raise fail(errno.ENOENT)
    return f"/proc/{tid}/fd/{fd}/{text}".rstrip("/")


def _set(context: Context, key: str, value: str | None) -> None:
    if context.phase not in (Phase.PARAMETERS, Phase.RECONFIGURING):
        raise fail(errno.EBUSY)
    if key == "source" and context.phase is Phase.PARAMETERS:
        if value is None or context.source is not None:
            context.tell("a source is one name")
            raise fail(errno.EINVAL)
        context.source = value
    elif value is None and key in ("ro", "rw"):
        context.options = [option for option in context.options if option not in ("ro", "rw")]
        context.options.append(key)
    elif value is not None or key not in _IGNORED:
        context.options.append(key if value is None else f"{key}={value}")


def _create(files: Files, sources: Sources, context: Context) -> None:
    if context.phase is not Phase.PARAMETERS:
        raise fail(errno.EBUSY)
    context.phase = Phase.FAILED
    try:
        options = [option for option in context.options if option != "rw"]
        context.mount = files.mounting.new(context.type, context.source or "", options, sources)
    except UsageError as error:
        context.tell(str(error))
        raise fail(error.code) from None
    except OSError as error:
        context.tell(error.strerror or str(error))
        raise
    context.phase = Phase.MADE


def _reconfigure(files: Files, context: Context) -> None:
    if context.phase is not Phase.RECONFIGURING or context.mount is None:
        raise fail(errno.EBUSY)
    options, context.options = context.options, []
    unknown = [option for option in options if option not in ("ro", "rw")]
    if unknown:
        context.tell(f"cannot be changed while mounted: {unknown[0]}")
        raise fail(errno.EINVAL)
    if options:
        files.mounting.set_read_only([context.mount], read_only=options[-1] == "ro")


@answers(FsMount)
def make_mount(files: Files, call: FsMount) -> Outcome:
    """A mount of what was made, which is not put anywhere yet."""
    if call.flags & ~abi.FSMOUNT_CLOEXEC:
        raise fail(errno.EINVAL)
    names, read_only = attributes_of(call.attributes)
    task = files.task(call.tracee)
    context = files.contexts.find(files.tasks, task, call.fd)
    with context.lock:
        mount = context.mount
        if mount is None:
            raise fail(errno.EINVAL)
        if context.phase is not Phase.MADE:
            raise fail(errno.EBUSY)
        context.phase = Phase.MOUNTED
        set_flags(mount, names)
        mount.read_only = mount.read_only or read_only
        return give_root(files, call, mount, os.O_CLOEXEC if call.flags & abi.FSMOUNT_CLOEXEC else 0)
