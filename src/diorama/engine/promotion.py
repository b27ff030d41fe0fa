"""Promotion: a guardian for one notified call, on the thread of its worker (`native/promote.c`)."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.engine import _native
from diorama.engine.guardian import Guardian
from diorama.errors import TraceeDied, Unsupported

if TYPE_CHECKING:
    from diorama.engine.held import Held
    from diorama.engine.notify import Pool
    from diorama.engine.tracee import Tracee

__all__ = ["Promotion", "untaggable"]

_NUMBERS: Final = 512
_REFUSED: Final = "cannot be changed: the program has another tracer, or has closed its memory"


def untaggable() -> tuple[bytes, bytes]:
    """For each number of the native and the other ABI, whether a call cannot carry the tag.

    It cannot if it has six arguments, or makes a child, which would inherit the register.
    """
    from diorama.catalogue import index

    tables: list[bytes] = []
    for abi in (*Abi.native(), None)[:2]:
        table = bytearray(_NUMBERS)
        for number, spelling in index.spellings(abi).items() if abi is not None else ():
            width = max((arg.index + arg.span for arg in spelling.args), default=0)
            makes_child = spelling.name in ("clone", "clone3", "fork", "vfork")
            if number < _NUMBERS and (width > 5 or spelling.is_multiplexed or makes_child):
                table[number] = 1
        tables.append(bytes(table))
    return tables[0], tables[1]


class Promotion(Guardian):
    """The guardian.  `begin` first, then what a guardian does, then `finish` or `end`."""

    def __init__(self, pool: Pool, notice: _native.Event) -> None:
        super().__init__(pool.staff)
        self._pool = pool
        self._notice = notice
        self._ended = False

    def begin(self, held: Held) -> None:
        """Become the tracer of the tracee, which is then held at the entry of its call.

        `TraceeDied`; `Unsupported` if it has another tracer, or its memory is closed to us.
        """
        tracee = held.tracee
        self._open(self._pool.options)
        self._own(tracee)
        promote = _native.lib.dio_guardian_promote
        error = -int(promote(self._handle, self._pool.handle, ctypes.byref(self._notice)))
        if not error:
            return
        tracee.guardian = None
        if error == errno.EPERM:
            self._close()
            raise Unsupported(_name_of(held), _REFUSED, errno.EPERM)
        if error == errno.ESRCH:
            raise TraceeDied  # the worker ends this when the handlers have left
        self.end()
        raise OSError(error, os.strerror(error))

    def wait_return(self, held: Held) -> int:
        """As `Guardian.wait_return`."""
        self._make_way(held)
        return super().wait_return(held)

    def finish(self, held: Held) -> None:
        """Give the answer that the handlers have left, and go on until the tracee is let go."""
        if not held.tracee.dead:
            self._make_way(held)
            self._serve(held.write_answer(self.answer))
        self.end()

    def end(self) -> None:
        """Hear out what there is to hear, and be a tracer no more."""
        if self._ended:
            return
        self._ended = True
        self._serve(None)
        self._close()

    def step_aside(self) -> None:
        """Let another worker receive at once."""
        _native.lib.dio_listener_step_in(self._pool.handle)

    def _make_way(self, held: Held) -> None:
        """A call that cannot carry the tag comes by the listener, where somebody must let it through."""
        number = held.number
        table = self._pool.untaggable[held.tracee.abi is not Abi.native()[0]]
        if number is not None and 0 <= number < _NUMBERS and table[number]:
            _native.lib.dio_listener_step_in(self._pool.handle)

    # -- events -------------------------------------------------------------------------------

    def _born(self, parent: Tracee, tid: int, flags: int) -> Tracee:
        child = super()._born(parent, tid, flags)
        self._pool.registry.enter(child)
        return child

    def _settled(self, child: Tracee) -> None:
        """A child is let go when the next event is asked for."""
        self._tracees.pop(child.tid, None)
        child.guardian = None

    def _exec(self, event: _native.Event) -> None:
        registry = self._pool.registry
        tracee = self._tracees.get(event.other) or self._tracees[event.tid]
        registry.replace(tracee, event.tid)
        tracee.guardian = self  # stopped until this has been told
        super()._exec(event)
        registry.forget(tracee, event.other)
        registry.enter(tracee)

    def _exited(self, tid: int, status: int) -> None:
        tracee = self._tracees.get(tid)
        super()._exited(tid, status)
        if tracee is not None:
            self._pool.registry.forget(tracee, tid)


def _name_of(held: Held) -> str:
    from diorama.catalogue import index

    spelling = index.spelling(held.tracee.abi, held.nr)
    return spelling.name if spelling is not None else f"call {held.nr}"
