"""Tracee: a traced thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diorama.engine.memory import Memory
from diorama.errors import TraceeDied

if TYPE_CHECKING:
    from diorama.abi.arch import Abi
    from diorama.engine.held import Held, Keeper

CLONE_THREAD = 0x00010000


class Tracee:
    """One traced thread, from its clone to its end.

    `pid` is its thread group.  `abi` is that of the call being handled.
    """

    __slots__ = ("__weakref__", "_held", "abi", "dead", "guardian", "memory", "pid", "tid")

    def __init__(self, tid: int, pid: int, abi: Abi) -> None:
        self.tid = tid
        self.pid = pid
        self.abi = abi
        self.dead = False
        self.guardian: Keeper | None = None
        self.memory = Memory(self)
        self._held: list[Held] = []

    def __repr__(self) -> str:
        return f"<Tracee {self.tid} of process {self.pid}>"

    @property
    def syscall(self) -> Syscalls:
        """System calls made by the tracee in place of the call that is being handled."""
        return Syscalls(self)

    @property
    def keeper(self) -> Keeper:
        """Who keeps it in its call; `TraceeDied` if it is gone."""
        if self.guardian is None:
            raise TraceeDied
        return self.guardian

    @property
    def gives_at_once(self) -> bool:
        """Whether a descriptor given as the outcome costs no call of the tracee's own."""
        return self.keeper.gives_at_once

    def step_aside(self) -> None:
        """Who decides about its call is about to wait for something that another program may have to do."""
        self.keeper.step_aside()

    def give(self, fd: int, *, cloexec: bool = True) -> int:
        """Give it a descriptor of this process while one of its calls is handled: its number there.

        `OSError`, EMFILE for one, if that is not possible. `fd` stays open here.
        """
        return self.keeper.give(self, fd, cloexec=cloexec)

    def child(self, tid: int, flags: int) -> Tracee:
        """The record of a new task made with these clone flags."""
        return Tracee(tid, self.pid if flags & CLONE_THREAD else tid, self.abi)

    def hold(self, held: Held) -> None:
        """Remember the innermost call that a handler decides about."""
        self._held.append(held)

    def release(self) -> None:
        """Forget it."""
        self._held.pop()

    def mark_executed(self) -> None:
        """The program that made the held calls is gone."""
        for held in self._held:
            held.execed = True

    @property
    def held(self) -> Held:
        """The call being decided; RuntimeError outside of a handler."""
        if not self._held:
            raise RuntimeError("a tracee can make calls only while one of its calls is being handled")
        return self._held[-1]


class Syscalls:
    """System calls in the tracee by name: `tracee.syscall.lseek(fd, 0, SEEK_END)`.

    Arguments are the kernel's own for the tracee's ABI: integers, or bytes, which are placed in its
    memory as a NUL-terminated string.  The result is an integer; errors raise `OSError`.
    """

    __slots__ = ("_tracee",)

    def __init__(self, tracee: Tracee) -> None:
        self._tracee = tracee

    def __getattr__(self, name: str) -> Any:
        from diorama.abi.numbers import NUMBERS

        number = NUMBERS[self._tracee.abi.title].get(name)
        if number is None:
            raise AttributeError(f"no system call {name!r} on {self._tracee.abi.title}")
        tracee = self._tracee

        def call(*args: int | bytes) -> int:
            words = [tracee.memory.place(a + b"\0") if isinstance(a, bytes) else a for a in args]
            words += [0] * (6 - len(words))
            return tracee.held.run(number, tuple(words))

        return call
