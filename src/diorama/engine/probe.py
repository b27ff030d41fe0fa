"""Probe: what this kernel offers, and which path each action takes.

The native library finds out with a throw-away child, never by kernel version.  Tests force paths to show
that all of them behave alike.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from diorama.engine import _native
from diorama.errors import UsageError

_CHOICES = {"info": _native.INFO_PATHS, "skip": _native.SKIP_PATHS, "rewind": _native.REWIND_PATHS}


@dataclass(frozen=True, slots=True)
class Features:
    """What a throw-away child showed about this kernel and this process's rights.

    `yama` is the value of /proc/sys/kernel/yama/ptrace_scope, 0 without Yama (Yama.rst). `user_notif` is 1
    when a seccomp listener can be had, 2 when somebody above this process has one, which excludes another.
    """

    get_syscall_info: bool
    set_syscall_info: bool
    skip_by_exit: bool
    set_ip: bool
    seccomp_filter: bool
    ptrace_allowed: bool
    pidfd: bool
    yama: int
    user_notif: int = 0
    notif_killable: bool = False
    notif_addfd: bool = False
    notif_sync: bool = False


_NUMBERS = ("yama", "user_notif")


@dataclass(frozen=True, slots=True)
class Paths:
    """How the portable layer does its work; `auto` takes the best that the kernel has.

    info: kernel (PTRACE_SET_SYSCALL_INFO) or registers.
    skip: kernel (op=EXIT at a seccomp stop), registers (one stop), exit (result at the exit stop).
    rewind: kernel (SET_IP), restart (the kernel's restart code), registers.
    """

    info: str = "auto"
    skip: str = "auto"
    rewind: str = "auto"

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Paths:
        """Read `name=path` words, as `--force` takes them."""
        chosen: dict[str, str] = {}
        for text in texts:
            name, _, path = text.partition("=")
            if path not in _CHOICES.get(name, ()):
                known = "; ".join(f"{key}={'|'.join(values)}" for key, values in _CHOICES.items())
                raise UsageError(f"cannot force {text!r}: use {known}")
            chosen[name] = path
        return cls(**chosen)


def features_to_native(features: Features) -> _native.Features:
    """The structure that the native library takes."""
    native = _native.Features()
    for name in Features.__slots__:
        setattr(native, name, int(getattr(features, name)))
    return native


def probe() -> Features:
    """Ask the kernel (about 1 ms: forks, traces and ends one child)."""
    native = _native.Features()
    _native.check(_native.lib.dio_probe(ctypes.byref(native)))
    flags = {name: bool(getattr(native, name)) for name in Features.__slots__ if name not in _NUMBERS}
    return Features(**flags, yama=int(native.yama), user_notif=int(native.user_notif))


def resolve(paths: Paths, features: Features) -> Paths:
    """Replace each `auto`; raise `UsageError` for a forced path that this kernel lacks."""
    native = to_native(paths)
    if _native.lib.dio_paths_resolve(ctypes.byref(features_to_native(features)), ctypes.byref(native)):
        raise UsageError(f"this kernel cannot do {paths}; see `diorama doctor`")
    info, skip, rewind = int(native.info), int(native.skip), int(native.rewind)
    return Paths(_native.INFO_PATHS[info], _native.SKIP_PATHS[skip], _native.REWIND_PATHS[rewind])


def to_native(paths: Paths) -> _native.Paths:
    """The structure that the native library takes."""
    return _native.Paths(
        _native.INFO_PATHS.index(paths.info),
        _native.SKIP_PATHS.index(paths.skip),
        _native.REWIND_PATHS.index(paths.rewind),
        0,
    )
