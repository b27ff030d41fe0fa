"""Notify: calls that come by seccomp user notification, decided by a pool of workers.

The programs are not traced. A worker takes a call from the listener (`native/notify.c` says how workers
take turns), asks the hooks, and answers. What an answer cannot express, a call that is to be changed or
others in its place, takes a guardian for that one call: the worker's thread becomes the tracer of the
tracee until nothing of it is held any more (`Promotion`, `native/promote.c`).

Nobody tells of clones, execs and ends here. So a tracee is made known at its first call (`Registry`), and
what its task inherits is found out then, or told by the promotion in which it was made.

Threads: one call of a tracee is decided at a time, by one worker. The pool's counts and the registry have a
lock each, never held while something is waited for.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.engine import _native
from diorama.engine.guardian import CALL, Guardian
from diorama.engine.held import Descriptor, Held
from diorama.engine.tracee import CLONE_THREAD, Tracee
from diorama.errors import TraceeDied, Unsupported, errno_of

if TYPE_CHECKING:
    from diorama.engine.guardian import Staff
    from diorama.engine.probe import Features

__all__ = ["Pool", "untaggable"]

# A thread id that was seen so short ago cannot be another thread's: the kernel hands out all others before.
_FRESH: Final = 0.02
_SWEEP_AT: Final = 256
_THREAD_FLAGS: Final = CLONE_THREAD | 0x100 | 0x200 | 0x400 | 0x800  # VM, FS, FILES, SIGHAND
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


class Registry:
    """The tracees that have made a call, by thread id. Any thread."""

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self._lock = threading.Lock()
        self._finding = threading.RLock()
        self._known: dict[int, tuple[Tracee, int]] = {}
        self._seen: dict[int, float] = {}
        self._sweep_at = _SWEEP_AT

    def enter(self, tracee: Tracee) -> None:
        """Make a tracee known."""
        with self._lock:
            self._known[tracee.tid] = tracee, _start_of(tracee.tid)
            self._seen[tracee.tid] = time.monotonic()
            has_grown = len(self._known) > self._sweep_at
            if has_grown:
                self._sweep_at = 2 * len(self._known)
        if has_grown:
            self._sweep()

    def find(self, tid: int) -> Tracee:
        """The tracee that makes a call; made known if it is new. `TraceeDied` if it is gone meanwhile."""
        now = time.monotonic()
        known = self._known.get(tid)
        if known is not None and (now - self._seen.get(tid, 0.0) < _FRESH or known[1] == _start_of(tid)):
            self._seen[tid] = now
            return known[0]
        with self._finding:
            return self._find_out(tid, known[0] if known is not None else None)

    def leave(self, tracee: Tracee, status: int = -1) -> None:
        """Forget a tracee that has ended."""
        with self._lock:
            if self._known.get(tracee.tid, (None, 0))[0] is not tracee:
                return
            del self._known[tracee.tid]
            self._seen.pop(tracee.tid, None)
        tracee.dead = True
        self._staff.hooks.exited(tracee, status)

    def replace(self, tracee: Tracee, tid: int) -> None:
        """A tracee is about to take over this thread id: who has it has ended."""
        known, _ = self._known.get(tid, (None, 0))
        if known is not None and known is not tracee:
            self.leave(known)

    def close(self) -> None:
        """The program has ended."""
        for tracee, _ in list(self._known.values()):
            self.leave(tracee)

    def forget(self, tracee: Tracee, tid: int) -> None:
        """A tracee is known by this thread id no longer."""
        with self._lock:
            if self._known.get(tid, (None, 0))[0] is tracee:
                del self._known[tid]
                self._seen.pop(tid, None)

    def _find_out(self, tid: int, before: Tracee | None) -> Tracee:
        """One at a time: threads of a process that come at once must find one leader."""
        known, _ = self._known.get(tid, (None, 0))
        if known is not None and known is not before:
            return known  # by another worker, meanwhile
        if known is not None:
            self.leave(known)
        pid = _process_of(tid)
        if pid != tid:
            leader = self.find(pid)
            tracee = leader.child(tid, _THREAD_FLAGS)
            self._staff.hooks.cloned(leader, tracee, _THREAD_FLAGS)
        else:
            tracee = Tracee(tid, tid, Abi.native()[0])
            self._staff.hooks.found(tracee)
        self.enter(tracee)
        return tracee

    def _sweep(self) -> None:
        for tracee, start in list(self._known.values()):
            if _start_of(tracee.tid) != start:
                self.leave(tracee)
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._known))


def _process_of(tid: int) -> int:
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            text = status.read()
    except (FileNotFoundError, ProcessLookupError):
        raise TraceeDied from None
    return int(text[text.index(b"\nTgid:") + 6 :].split(None, 1)[0])


def _start_of(tid: int) -> int:
    """When a thread was made (proc(5), starttime); 0 if it is gone or has ended.

    The first thread of a process may end before the others, and still stands for the process.
    """
    try:
        with open(f"/proc/{tid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    has_ended = fields[0] in (b"Z", b"X") and int(fields[17]) < 2
    return 0 if has_ended else int(fields[19])


class Pool:
    """The workers of one program. `start` returns at once."""

    def __init__(self, staff: Staff, fd: int, features: Features, tag: int) -> None:
        from diorama.engine.probe import features_to_native

        self.staff = staff
        self.registry = Registry(staff)
        self.handle = ctypes.c_void_p()
        self.untaggable = untaggable()
        self.options = _promoted(staff.options, self.untaggable, tag)
        self._lock = threading.Lock()
        self._workers = 0
        self._features = features_to_native(features)
        _native.check(
            _native.lib.dio_listener_open(
                fd,
                ctypes.byref(self._features),
                staff.rules.handle,
                staff.options.decider,
                ctypes.byref(self.handle),
            )
        )

    def start(self) -> None:
        """Start the first worker."""
        self.grow()

    def grow(self) -> None:
        """Start one more; `RuntimeError` if there can be no more threads."""
        with self._lock:
            self._workers += 1
        self.staff.when_started()
        try:
            _thread.start_new_thread(self._main, ())
        except RuntimeError:
            self._done()
            raise

    def _main(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.staff.blocked)
        try:
            _native.check(_native.lib.dio_worker_begin())
            Worker(self).serve()
        except BaseException:
            self.staff.hooks.failed()
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._workers -= 1
            last = not self._workers
        if last:
            self.registry.close()
            _native.lib.dio_listener_close(self.handle)
        self.staff.when_done()


def _promoted(options: _native.Options, tables: tuple[bytes, bytes], tag: int) -> _native.Options:
    ours = _native.Options.from_buffer_copy(options)
    ours.promoted, ours.no_filter, ours.signals = 1, 1, 0
    ours.tag, ours.untaggable[:] = tag, tables
    return ours


class Worker:
    """One thread that takes calls from the listener; what keeps a tracee in its call meanwhile."""

    __slots__ = (
        "_event", "_event_bytes", "_event_ref", "_pool", "_promotion", "_reply", "_reply_ref", "gives_at_once"
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._event = _native.Event()
        self._event_ref = ctypes.byref(self._event)
        self._event_bytes = memoryview(self._event).cast("B")
        self._reply = _native.Reply()
        self._reply_ref = ctypes.byref(self._reply)
        self._promotion: Promotion | None = None
        self.gives_at_once = True

    def serve(self) -> None:
        """Take calls until there are no more, or others suffice."""
        advance, handle, event = _native.lib.dio_listener_next, self._pool.handle, self._event
        answered = False
        while True:
            _native.check(advance(handle, self._reply_ref if answered else None, self._event_ref))
            if event.kind != _native.EVENT_CALL:
                return
            if event.lone:
                self._grow()
            answered = self._decide(event)

    def _grow(self) -> None:
        try:
            self._pool.grow()
        except RuntimeError:
            return  # calls wait until this one is decided

    def _decide(self, event: _native.Event) -> bool:
        """Ask the hooks about a call; whether the reply is to be sent."""
        try:
            tracee = self._pool.registry.find(event.tid)
        except TraceeDied:
            return self._fail(errno.EIO)
        except OSError as error:  # our own want: of descriptors, for one
            return self._fail(errno_of(error))
        _, depth, matched, abi, nr, *args = CALL.unpack_from(self._event_bytes)
        if tracee.abi.audit != abi:
            tracee.abi = Abi.of_audit(abi)
        held = Held(tracee, nr, tuple(args), matched, depth)
        try:
            self._ask(tracee, held)
            return self._conclude(held)
        except TraceeDied:
            if self._promotion is None:
                return self._fail(errno.EIO)
            self._promotion.end()
            return False
        finally:
            self._promotion = None

    def _fail(self, error: int) -> bool:
        """Answer with an error. A tracee that is gone does not get it, and one that is not must not wait."""
        reply = self._reply
        reply.cookie, reply.kind, reply.value = self._event.cookie, _native.REPLY_VALUE, -error
        return True

    def _ask(self, tracee: Tracee, held: Held) -> None:
        """Nothing of the tracee is touched once it may go on: its next call may be another worker's.

        A call that is abandoned (siglongjmp) keeps it until the promotion ends.
        """
        tracee.guardian = self
        tracee.hold(held)
        try:
            self._pool.staff.hooks.called(held)
        finally:
            tracee.release()
            tracee.guardian = None

    def _conclude(self, held: Held) -> bool:
        if held.is_changed and held.given is None and self._promotion is None:
            self._promote_or_refuse(held)
        if self._promotion is not None:
            self._promotion.finish(held)
            return False
        reply = self._reply
        reply.cookie = self._event.cookie
        if held.given is not None:
            return self._send_descriptor(held.given)
        value = held.answered
        reply.kind = _native.REPLY_RUN if value is None else _native.REPLY_VALUE
        reply.value = value or 0
        return True

    def _promote_or_refuse(self, held: Held) -> None:
        """For a call that is to be changed: if it cannot be, that is an errno and one warning."""
        from diorama.errors import warn_once

        try:
            self._promote(held)
        except Unsupported as error:
            warn_once(error.call, error.why)
            held.answer_result(-(error.errno or errno.EPERM))

    def _send_descriptor(self, given: Descriptor) -> bool:
        """At once, so that it can be closed."""
        reply = self._reply
        reply.kind, reply.fd, reply.tid = _native.REPLY_GIVE, given.fd, self._event.tid
        reply.fd_flags = os.O_CLOEXEC if given.cloexec else 0
        error = int(_native.lib.dio_listener_reply(self._pool.handle, self._reply_ref))
        os.close(given.fd)
        if not error:
            return False
        reply.kind, reply.value = _native.REPLY_VALUE, error
        return True

    # -- keeping a tracee in its call ---------------------------------------------------------

    def wait_return(self, held: Held) -> int:
        """Promote the tracee and go on there."""
        return self._promote(held).wait_return(held)

    def place(self, tracee: Tracee, data: bytes, address: ctypes.c_uint64) -> int:
        """Promote the tracee and go on there: only a call that is changed points at what is placed."""
        return self._promote(tracee.held).place(tracee, data, address)

    def give(self, tracee: Tracee, fd: int, *, cloexec: bool) -> int:
        """By the listener."""
        flags = os.O_CLOEXEC if cloexec else 0
        give = _native.lib.dio_listener_give
        return _native.check(int(give(self._pool.handle, self._event.cookie, fd, flags)))

    def check(self) -> None:
        """The call's cookie tells whether the tracee is still in it."""
        if _native.lib.dio_listener_valid(self._pool.handle, self._event.cookie):
            raise TraceeDied

    def _promote(self, held: Held) -> Promotion:
        assert self._promotion is None
        promotion = self._promotion = Promotion(self._pool, self._event)
        try:
            promotion.begin(held)
        except OSError:
            self._promotion = None
            held.tracee.guardian = self  # it still waits for its answer, and the handler may go on
            raise
        return promotion


class Promotion(Guardian):
    """A guardian for one notified call, on the worker's own thread."""

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
