"""Stop: one ptrace-stop and the four actions on it, for anyone who writes a tracer.

This is the portable layer on its own: the caller does its own fork, PTRACE_SEIZE (with
PTRACE_O_TRACESYSGOOD) and wait4, and asks here what a system call stop is and what becomes of it.  All
methods must be called on the tracer thread; they raise `ProcessLookupError` once the tracee is dead.

    stop = Stop.read(tid)                    # after wait4 told of a system call stop
    if stop.nr == SYS_getppid:
        if stop.skip(42):                    # True: resume to the exit stop and set it there
            ...
"""

from __future__ import annotations

import ctypes
from typing import Any

from diorama.engine import _native
from diorama.engine.probe import Paths, probe, resolve, to_native

Six = tuple[int, int, int, int, int, int]
_OPS = ("none", "entry", "exit", "seccomp")


def default_paths() -> Paths:
    """The paths that this kernel has, found by probing it."""
    return resolve(Paths(), probe())


class Stop:
    """A system call stop, as PTRACE_GET_SYSCALL_INFO tells it (ptrace(2))."""

    __slots__ = ("_info", "_paths", "tid")

    def __init__(self, tid: int, info: _native.Info, paths: _native.Paths) -> None:
        self.tid = tid
        self._info = info
        self._paths = paths

    @classmethod
    def read(cls, tid: int, paths: Paths | None = None) -> Stop:
        """What the stopped tracee `tid` is about to do, or has done."""
        info, native = _native.Info(), to_native(paths or default_paths())
        _native.check(
            _native.lib.dio_stop_read(tid, ctypes.byref(native), _native.OP_NONE, ctypes.byref(info))
        )
        return cls(tid, info, native)

    @property
    def kind(self) -> str:
        """`entry`, `seccomp`, `exit`, or `none` for any other stop."""
        return _OPS[int(self._info.op)]

    @property
    def audit_arch(self) -> int:
        """AUDIT_ARCH_* of the call."""
        return int(self._info.abi)

    @property
    def instruction_pointer(self) -> int:
        """Behind the system call instruction."""
        return int(self._info.ip)

    @property
    def stack_pointer(self) -> int:
        """The tracee's."""
        return int(self._info.sp)

    @property
    def nr(self) -> int:
        """Number of the call; entry and seccomp stops."""
        return int(self._info.nr)

    @property
    def args(self) -> Six:
        """Its six arguments; entry and seccomp stops."""
        one, two, three, four, five, six = self._info.args
        return one, two, three, four, five, six

    @property
    def result(self) -> int:
        """What the call gave, -errno for an error; exit stops."""
        return int(self._info.rval)

    def change(self, nr: int, args: Six) -> None:
        """Run this call instead.  The argument registers stay changed: restore them at the exit stop."""
        words = _native.Six(*args)
        self._do(_native.lib.dio_stop_change, nr, words)

    def skip(self, result: int, *, other_filters: bool = False) -> bool:
        """Do not run the call.  True if the result must be set at the exit stop (`set_result`).

        `other_filters` says that the tracee has seccomp filters besides the tracer's, which would judge
        the number -1 at an entry stop.
        """
        return bool(self._do(_native.lib.dio_stop_skip, result, int(other_filters)))

    def set_result(self, result: int) -> None:
        """What the program sees; -errno for an error; exit stops."""
        self._do(_native.lib.dio_stop_result, result)

    def set_instruction_pointer(self, address: int) -> None:
        """Continue there; exit stops."""
        self._do(_native.lib.dio_stop_set_ip, address)

    def rewind(self) -> None:
        """Make the call come again; exit stops.

        Resume with PTRACE_SYSCALL.  One PTRACE_EVENT_STOP may come first; the entry stop with the same
        instruction and stack pointer is the one to `change` to the next call of a sequence.
        """
        self._do(_native.lib.dio_stop_rewind)

    def _do(self, function: Any, *args: object) -> int:
        result = function(self.tid, ctypes.byref(self._paths), ctypes.byref(self._info), *args)
        return _native.check(result)
