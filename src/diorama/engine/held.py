"""Held: a call of the program while a handler decides about it.

The guardian hands a `Held` to the hooks; they may run calls in its place and then leave an answer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diorama.engine import _native

if TYPE_CHECKING:
    from diorama.engine.tracee import Tracee

Args = tuple[int, ...]
_WORD = (1 << 64) - 1
_CHANGES = (_native.ACTION_CHANGE, _native.ACTION_CHANGE_SEE)


class Held:
    """One call: its number and six arguments as the program made them, and what becomes of it."""

    __slots__ = (
        "_action",
        "_asked",
        "_rval",
        "args",
        "depth",
        "execed",
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
        guardian = self.tracee.guardian
        assert guardian is not None
        value = guardian.wait_return(self, self.answer)
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

    @property
    def answer(self) -> _native.Answer:
        """What the native library is told: the guardian's one answer, to be given at once."""
        guardian = self.tracee.guardian
        assert guardian is not None
        answer = guardian.answer
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
