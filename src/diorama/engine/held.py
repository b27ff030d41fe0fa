"""Held: a call of the program while a handler decides about it.

The engine hands a `Held` to the hooks; they may run calls in its place and then leave an answer. `Keeper`
is all that a `Held` needs of the engine: a guardian is one, and what stands for a guardian while a notified
call is decided.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from diorama.engine import _native

if TYPE_CHECKING:
    import ctypes

    from diorama.engine.tracee import Tracee

Args = tuple[int, ...]
_WORD = (1 << 64) - 1
_CHANGES = (_native.ACTION_CHANGE, _native.ACTION_CHANGE_SEE)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor of this process as an outcome: the program gets a copy, `fd` is closed here.

    Example: `return Descriptor(os.open("/etc/hostname", os.O_RDONLY))`.
    """

    fd: int
    cloexec: bool = True

    def give_now(self, tracee: Tracee) -> int:
        """Give it while the call goes on: its number in the tracee; `OSError`."""
        try:
            return tracee.give(self.fd, cloexec=self.cloexec)
        finally:
            os.close(self.fd)


class Keeper(Protocol):
    """Who keeps a tracee in its call; used on the thread that decides only."""

    gives_at_once: bool

    def wait_return(self, held: Held) -> int:
        """Let the tracee do what the answer in `held` says and wait for its result, which is raw."""
        ...

    def place(self, tracee: Tracee, data: bytes, address: ctypes.c_uint64) -> int:
        """Put data into the tracee's arena: 0 or -errno."""
        ...

    def give(self, tracee: Tracee, fd: int, *, cloexec: bool) -> int:
        """Give the tracee a descriptor of ours: its number there; `OSError`."""
        ...

    def step_aside(self) -> None:
        """The thread that decides is about to wait: see to it that others are decided about meanwhile."""
        ...

    def check(self) -> None:
        """Raise `TraceeDied` unless the tracee is still in its call."""
        ...


class Held:
    """One call: its number and six arguments as the program made them, and what becomes of it."""

    __slots__ = (
        "_action",
        "_asked",
        "_rval",
        "args",
        "depth",
        "execed",
        "given",
        "left_entry",
        "matched",
        "nr",
        "original",
        "tracee",
    )

    def __init__(self, tracee: Tracee, nr: int, args: Args, matched: int, depth: int) -> None:
        self.tracee = tracee
        self.nr = nr
        self.args = args
        self.matched = matched
        self.depth = depth
        self.left_entry = False
        self.execed = False
        self.original: int | None = None
        self.given: Descriptor | None = None
        self._action = _native.ACTION_RUN
        self._asked: tuple[int, Args] = nr, args
        self._rval = 0

    def run(self, nr: int | None = None, args: Args | None = None) -> int:
        """Make a call in the program's place, the call itself by default; its result or `OSError`."""
        value = self.run_raw(nr, args)
        if -4096 < value < 0:
            raise OSError(-value, os.strerror(-value))
        return value

    def run_raw(self, nr: int | None = None, args: Args | None = None) -> int:
        """As `run`, with -errno for an error."""
        if self.execed:
            raise RuntimeError("execve has replaced the program; no call can run in its place any more")
        nr = self.nr if nr is None else nr
        args = self.args if args is None else args
        same = nr == self.nr and args == self.args
        self._set(_native.ACTION_RUN_SEE if same else _native.ACTION_CHANGE_SEE, nr, args)
        value = self.tracee.keeper.wait_return(self)
        self.left_entry = True
        if same:
            self.original = value
        return value

    def answer_run(self) -> None:
        """Let it run as it is: what it gave if it has run already, or now."""
        if self.original is not None:
            self.answer_result(self.original)
        elif self.left_entry:
            self._set(_native.ACTION_CHANGE, self.nr, self.args)
        else:
            self._action = _native.ACTION_RUN

    def answer_change(self, nr: int, args: Args) -> None:
        """Let another call run in its place; its result is the program's."""
        if (nr, args) == (self.nr, self.args) and self.original is None:
            self.answer_run()
        else:
            self._set(_native.ACTION_CHANGE, nr, args)

    def answer_result(self, value: int) -> None:
        """Give the program this value, -errno for an error."""
        self._action = _native.ACTION_RESULT
        self._rval = value if value < 1 << 63 else value - (1 << 64)

    def answer_give(self, descriptor: Descriptor) -> None:
        """Give the program a descriptor; its number there is the result.  `OSError` if it cannot be given."""
        if self.tracee.keeper.gives_at_once:
            self.given = descriptor
        else:
            self.answer_result(descriptor.give_now(self.tracee))

    @property
    def answered(self) -> int | None:
        """The result that the program is to get, if that is the answer."""
        return self._rval if self._action == _native.ACTION_RESULT else None

    @property
    def number(self) -> int | None:
        """The call that is to run, if that is the answer."""
        if self._action == _native.ACTION_RESULT:
            return None
        return self._asked[0] if self._action in _CHANGES else self.nr

    @property
    def is_changed(self) -> bool:
        """Whether what is to run is not, or not only, what the program asked for."""
        return self._action not in (_native.ACTION_RUN, _native.ACTION_RESULT)

    def write_answer(self, answer: _native.Answer) -> _native.Answer:
        """Fill in what the native library is told."""
        answer.tid = self.tracee.tid
        answer.action = action = self._action
        if action == _native.ACTION_RESULT:
            answer.rval = self._rval
        elif action in _CHANGES:
            answer.nr, args = self._asked
            answer.args[:] = [arg & _WORD for arg in args]
        return answer

    def _set(self, action: int, nr: int, args: Args) -> None:
        self._action = action
        self._asked = nr, args
