"""Guardian: one tracer thread, and the events of its tracees.

Theory.  A guardian owns its tracees as ptrace owns them: only this thread may touch them.  It normally has
one, and a handler is then straight-line code on this thread: `Held.run` answers the stop and waits for
the exit stop right there (`wait_return`).

A guardian may have more tracees: it adopted a child that could not be handed over, or it is the shared one.
A handler that waits for its call must then not keep the others waiting, because their progress may be
what its call waits for.  While one handler waits on this thread's own stack, a call of *another* tracee is
decided in a greenlet, which switches back here whenever it waits.  A call that a signal handler makes while
an outer call of the same tracee is interrupted nests on the same stack: it ends first by nature.

Locks: none here.  Threads: `hooks` is called on this thread; the session counts guardians.
"""

from __future__ import annotations

import _thread
import ctypes
import signal
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from diorama.abi.arch import Abi
from diorama.engine import _native
from diorama.engine.ending import guards, hold
from diorama.engine.held import Held
from diorama.engine.told import program_gone
from diorama.errors import TraceeDied

if TYPE_CHECKING:
    from diorama.engine.placement import Placement
    from diorama.engine.rules import Rules
    from diorama.engine.tracee import Tracee


class Hooks(Protocol):
    """What the engine tells and asks; called on the guardian of the tracee concerned."""

    def called(self, held: Held) -> None:
        """Decide about a call; leave the answer in `held`."""

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """`child` was made with these clone flags and has not run yet."""

    def found(self, tracee: Tracee) -> None:
        """A tracee makes its first call, and nobody has told of its making (notifications only)."""

    def executed(self, tracee: Tracee) -> None:
        """The tracee runs a new program."""

    def signalled(self, tracee: Tracee, sig: int) -> None:
        """A signal is being delivered (only if asked for)."""

    def stopped(self, tracee: Tracee, sig: int) -> None:
        """The tracee takes part in a group-stop."""

    def continued(self, tracee: Tracee) -> None:
        """The group-stop is over."""

    def exited(self, tracee: Tracee, status: int) -> None:
        """The tracee ended with this wait status; -1 if nobody can know it."""

    def failed(self) -> None:
        """A guardian met an error of our own (in `sys.exc_info`)."""


class Staff:
    """What the guardians and workers of one view have in common."""

    __slots__ = ("blocked", "hooks", "options", "placement", "rules", "when_done", "when_started")

    def __init__(
        self,
        hooks: Hooks,
        rules: Rules,
        options: _native.Options,
        when_started: Callable[[], None],
        when_done: Callable[[], None],
        placement: Placement | None = None,
    ) -> None:
        self.hooks = hooks
        self.rules = rules
        self.options = options
        self.when_started = when_started
        self.when_done = when_done
        self.blocked = _blocked_signals()
        self.placement = placement
        options.placement = placement.handle if placement else None


def _blocked_signals() -> set[signal.Signals]:
    """Signals that guardians block: all, but for SIGCHLD if nobody in this process wants it.

    Each stop sends the tracer SIGCHLD. Where that is blocked the kernel may not drop it, even if it is
    ignored, and wakes the main thread instead, which costs more than the stop.
    """
    signals = signal.valid_signals()
    mine = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL and signal.SIGCHLD not in mine:
        return signals - {signal.SIGCHLD}
    return signals


_next_event = _native.lib.dio_guardian_next

# What a decision needs of an event: tid, depth, matched, abi, nr, arguments.  Read in one go: each access to
# a field of a ctypes structure costs as much as ten local variables.
CALL = struct.Struct("=4xi8xI4xQ8x4xI16xq6Q")
"""Of an event: thread, depth, what matched, ABI, number and arguments."""

Beginning = Callable[["Guardian"], None]
Handler = Callable[["Guardian", _native.Event], "_native.Answer | None"]


class Guardian:
    """A tracer thread.  `start` returns at once; `RuntimeError` if there can be no more threads."""

    gives_at_once = False

    def __init__(self, staff: Staff) -> None:
        self.staff = staff
        self._handle = ctypes.c_void_p()
        self._event = _native.Event()
        self._event_ref = ctypes.byref(self._event)
        self._event_bytes = memoryview(self._event).cast("B")
        self.answer = _native.Answer()
        self._answer_ref = ctypes.byref(self.answer)
        self._tracees: dict[int, Tracee] = {}
        self._last_dead: Tracee | None = None
        self._waiting: dict[tuple[Tracee, int], Any] = {}
        self._pumping: list[Tracee] = []

    def start(self, begin: Beginning) -> None:
        """Start the thread; `begin` runs on it first and gives it its first tracee."""
        self.staff.when_started()
        try:
            _thread.start_new_thread(self._main, (begin,))
        except RuntimeError:
            self.staff.when_done()
            raise

    def seize(self, tracee: Tracee) -> None:
        """Trace a program that `launch` holds.  On the guardian's thread."""
        _native.check(_native.lib.dio_guardian_seize(self._handle, tracee.tid))
        self._own(tracee)

    def take(self, tracee: Tracee, transit: int) -> None:
        """Take a parked newborn over.  On the guardian's thread."""
        self._own(tracee)
        try:
            _native.check(_native.lib.dio_guardian_take(self._handle, transit))
        except PermissionError:
            self._exited(tracee.tid, -1)
        except ProcessLookupError:
            pass  # EXITED is queued

    def place(self, tracee: Tracee, data: bytes, address: ctypes.c_uint64) -> int:
        """`dio_guardian_place`: 0 or -errno."""
        place = _native.lib.dio_guardian_place
        return int(place(self._handle, tracee.tid, data, len(data), ctypes.byref(address)))

    def wait_return(self, held: Held) -> int:
        """Answer a stop and wait for the exit stop that the answer asks for; the raw result."""
        answer = held.write_answer(self.answer)
        tracee = held.tracee
        if tracee.dead:
            raise TraceeDied
        if self._pumping and self._pumping[-1] is not tracee:
            kind, value = _greenlet_wait(self, (tracee, held.depth), answer)
        else:
            kind, value = self._pump(tracee, held.depth, answer)
        if kind != _native.EVENT_RETURNED:
            raise TraceeDied
        return value

    def give(self, tracee: Tracee, fd: int, *, cloexec: bool) -> int:
        """Give a tracee a descriptor, by calls of its own."""
        from diorama.engine.giving import give

        return give(tracee, fd, cloexec=cloexec)

    def step_aside(self) -> None:
        """Other programs have guardians of their own."""
        return

    def check(self) -> None:
        """A tracee that is stopped keeps its thread id until its guardian has waited for its end."""

    # -- the loop -----------------------------------------------------------------------------

    def _main(self, begin: Beginning) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.staff.blocked)
        me = _thread.get_native_id()
        guards.add(me)
        try:
            self._open(self.staff.options)
            begin(self)
            self._serve(None)
        except BaseException:
            self.staff.hooks.failed()
        finally:
            guards.discard(me)
            self._close()
            self.staff.when_done()

    def _open(self, options: _native.Options) -> None:
        rules = self.staff.rules.handle
        _native.check(
            _native.lib.dio_guardian_open(ctypes.byref(options), rules, ctypes.byref(self._handle))
        )

    def _close(self) -> None:
        _native.lib.dio_guardian_close(self._handle)

    def _serve(self, answer: _native.Answer | None) -> None:
        while self._next(answer) != _native.EVENT_DONE:
            answer = self._deliver()

    def _next(self, answer: _native.Answer | None) -> int:
        result = _next_event(self._handle, answer and self._answer_ref, self._event_ref)
        if result < 0:
            _native.check(result)
        kind: int = self._event.kind
        return kind

    def _pump(self, tracee: Tracee, depth: int, answer: _native.Answer | None) -> tuple[int, int]:
        # The tid is looked up anew each time: execve by a thread that is not the leader changes it.
        event = self._event
        self._pumping.append(tracee)
        try:
            while not tracee.dead:
                kind = self._next(answer)
                mine = event.tid == tracee.tid and event.depth == depth
                if mine and kind in (_native.EVENT_RETURNED, _native.EVENT_ABANDONED):
                    return kind, event.info.rval
                answer = self._deliver()
            return _native.EVENT_EXITED, 0
        finally:
            self._pumping.pop()

    def _deliver(self) -> _native.Answer | None:
        return _HANDLERS[self._event.kind](self, self._event)

    # -- events -------------------------------------------------------------------------------

    def _own(self, tracee: Tracee) -> None:
        tracee.guardian = self
        self._tracees[tracee.tid] = tracee

    def _call(self, event: _native.Event) -> _native.Answer | None:
        if self._pumping and self._pumping[-1].tid != event.tid:
            return _greenlet_call(self)
        return self.decide()

    def decide(self) -> _native.Answer | None:
        """Ask the hooks about the call in the event at hand."""
        tid, depth, matched, abi, nr, *args = CALL.unpack_from(self._event_bytes)
        tracee = self._tracees[tid]
        if tracee.abi.audit != abi:
            tracee.abi = Abi.of_audit(abi)
        held = Held(tracee, nr, tuple(args), matched, depth)
        tracee.guardian = self
        tracee.hold(held)
        try:
            self.staff.hooks.called(held)
        except TraceeDied:
            program_gone()
            return None
        finally:
            tracee.release()
        return None if tracee.dead else held.write_answer(self.answer)

    def _returned(self, event: _native.Event) -> _native.Answer | None:
        waiting = self._waiting.pop((self._tracees[event.tid], event.depth), None)
        return _greenlet_resume(waiting, event.kind, event.info.rval) if waiting else None

    def _ending(self, event: _native.Event) -> _native.Answer:
        answer = self.answer
        answer.action, answer.tid, answer.rval = _native.ACTION_RESULT, event.tid, hold(event.tid)
        return answer

    def _clone(self, event: _native.Event) -> None:
        parent = self._tracees[event.tid]
        self._born(parent, event.other, event.info.args[0])

    def _born(self, parent: Tracee, tid: int, flags: int) -> Tracee:
        child = parent.child(tid, flags)
        self._own(child)
        self.staff.hooks.cloned(parent, child, flags)
        return child

    def _child(self, event: _native.Event) -> Tracee:
        child = self._tracees.get(event.tid)
        if child is None:
            # Its parent was killed between the clone and its event.
            parent = self._tracees.get(event.other) or self._last_dead
            assert parent is not None
            child = self._born(parent, event.tid, 0)
        return child

    def _newborn(self, event: _native.Event) -> None:
        child, transit = self._child(event), event.transit
        del self._tracees[child.tid]
        child.guardian = None
        try:
            Guardian(self.staff).start(lambda guardian: guardian.take(child, transit))
        except RuntimeError:
            self.take(child, transit)

    def _adopted(self, event: _native.Event) -> None:
        self._settled(self._child(event))

    def _settled(self, child: Tracee) -> None:
        """A child stays here."""

    def _on_exec(self, event: _native.Event) -> None:
        self._exec(event)

    def _exec(self, event: _native.Event) -> None:
        """The tracee is stopped until this has been told."""
        tracee = self._tracees.pop(event.other, None) or self._tracees[event.tid]
        tracee.tid = event.tid
        self._tracees[event.tid] = tracee
        tracee.mark_executed()
        self.staff.hooks.executed(tracee)

    def _signal(self, event: _native.Event) -> None:
        self.staff.hooks.signalled(self._tracees[event.tid], event.status)

    def _stopped(self, event: _native.Event) -> None:
        self.staff.hooks.stopped(self._tracees[event.tid], event.status)

    def _continued(self, event: _native.Event) -> None:
        self.staff.hooks.continued(self._tracees[event.tid])

    def _on_exit(self, event: _native.Event) -> None:
        self._exited(event.tid, event.status)

    def _exited(self, tid: int, status: int) -> None:
        tracee = self._tracees.pop(tid, None)
        if tracee is None:
            return
        tracee.dead = True
        self._last_dead = tracee
        for key in [key for key in self._waiting if key[0] is tracee]:
            _greenlet_resume(self._waiting.pop(key), _native.EVENT_EXITED, 0)
        tracee.guardian = None
        self.staff.hooks.exited(tracee, status)


_HANDLERS: dict[int, Handler] = {
    _native.EVENT_CALL: Guardian._call,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_RETURNED: Guardian._returned,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_ABANDONED: Guardian._returned,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_ENDING: Guardian._ending,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_CLONE: Guardian._clone,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_NEWBORN: Guardian._newborn,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_ADOPTED: Guardian._adopted,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_EXEC: Guardian._on_exec,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_SIGNAL: Guardian._signal,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_STOPPED: Guardian._stopped,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_CONTINUED: Guardian._continued,  # pyright: ignore[reportPrivateUsage]
    _native.EVENT_EXITED: Guardian._on_exit,  # pyright: ignore[reportPrivateUsage]
}


# -- several tracees on one thread ------------------------------------------------------------


def _greenlet_call(guardian: Guardian) -> _native.Answer | None:
    """Decide a call while a handler of another tracee waits on this thread's stack."""
    from greenlet import getcurrent, greenlet

    task = greenlet(guardian.decide, parent=getcurrent())
    return _greenlet_step(task)


def _greenlet_step(task: Any, *values: Any) -> _native.Answer | None:
    # What comes back is the answer to pass on, whether the task is done or waits for its result.
    answer: _native.Answer | None = task.switch(*values)
    return answer


def _greenlet_resume(task: Any, kind: int, value: int) -> _native.Answer | None:
    from greenlet import getcurrent

    task.parent = getcurrent()
    return _greenlet_step(task, (kind, value))


def _greenlet_wait(guardian: Guardian, key: tuple[Tracee, int], answer: _native.Answer) -> tuple[int, int]:
    from greenlet import getcurrent

    task: Any = getcurrent()
    guardian._waiting[key] = task  # pyright: ignore[reportPrivateUsage]
    result: tuple[int, int] = task.parent.switch(answer)
    return result
