"""Notify: calls that come by seccomp user notification, decided by a pool of workers.

The programs are not traced. A worker takes a call from the listener (`native/notify.c` says how workers
take turns), asks the hooks, and answers. What an answer cannot express, a call that is to be changed or
others in its place, takes a guardian for that one call: the worker's thread becomes the tracer of the
tracee until nothing of it is held any more (`diorama.engine.promotion`).

Nobody tells of clones, execs and ends here. So a tracee is made known at its first call
(`diorama.engine.registry`), and what its task inherits is found out then, or told by the promotion in which
it was made.

When the program has ended, a worker may still be in the kernel, looking for it into a file system that does
not answer. Who is in the same look a moment later is left where it is: the view ends without it. A look
changes nothing (`diorama.engine.looking`); who does anything else is waited for, however long it takes.

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
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.engine import _native
from diorama.engine.guardian import CALL
from diorama.engine.held import Descriptor, Held
from diorama.engine.looking import look_of
from diorama.engine.promotion import Promotion, untaggable
from diorama.engine.registry import Registry
from diorama.engine.told import program_gone
from diorama.errors import TraceeDied, Unsupported, errno_of

if TYPE_CHECKING:
    from diorama.engine.guardian import Staff
    from diorama.engine.probe import Features
    from diorama.engine.tracee import Tracee

__all__ = ["Pool"]

_PATIENCE: Final = 1.0


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
        self._workers: set[Worker] = set()
        self._left: set[Worker] = set()
        self._patience: threading.Timer | None = None
        self._looks: dict[Worker, str] = {}
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
        worker = Worker(self)
        with self._lock:
            self._workers.add(worker)
        self.staff.when_started()
        try:
            _thread.start_new_thread(self._main, (worker,))
        except RuntimeError:
            self._done(worker)
            raise

    def ended(self) -> None:
        """The program has ended: who is still deciding about its calls has a moment to return."""
        with self._lock:
            if self._patience is None and len(self._workers) > 1:
                self._wait()

    def _wait(self) -> None:
        """Look again in a moment who is where he is now."""
        self._looks = {worker: look for worker in self._workers if (look := look_of(worker.thread))}
        self._patience = threading.Timer(_PATIENCE, self._leave)
        self._patience.daemon = True
        self._patience.start()

    def _main(self, worker: Worker) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.staff.blocked)
        worker.thread = threading.get_native_id()
        try:
            _native.check(_native.lib.dio_worker_begin())
            worker.serve()
        except BaseException:
            self.staff.hooks.failed()
        finally:
            self._done(worker)

    def _done(self, worker: Worker) -> None:
        with self._lock:
            was_left = worker in self._left
            self._workers.discard(worker)
            self._left.discard(worker)
            is_last = not self._workers and not was_left
            is_unused = not (self._workers or self._left)
        if is_last:
            self.registry.close()
            if self._patience is not None:
                self._patience.cancel()
        if is_unused:
            _native.lib.dio_listener_close(self.handle)
        if not was_left:
            self.staff.when_done()

    def _leave(self) -> None:
        """Go on without those who are in the same look still."""
        with self._lock:
            looks = self._looks.items()
            left = {who for who, look in looks if who in self._workers and look_of(who.thread) == look}
            self._left |= left
            self._workers -= left
            is_last = bool(left) and not self._workers
            if self._workers:
                self._wait()
        if is_last:
            self.registry.close()
        for _ in left:
            self.staff.when_done()


def _promoted(options: _native.Options, tables: tuple[bytes, bytes], tag: int) -> _native.Options:
    ours = _native.Options.from_buffer_copy(options)
    ours.promoted, ours.no_filter, ours.signals = 1, 1, 0
    ours.tag, ours.untaggable[:] = tag, tables
    return ours


class Worker:
    """One thread that takes calls from the listener; what keeps a tracee in its call meanwhile."""

    __slots__ = (
        "_event", "_event_bytes", "_event_ref", "_pool", "_promotion", "_reply", "_reply_ref",
        "gives_at_once", "thread",
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
        self.thread = 0

    def serve(self) -> None:
        """Take calls until there are no more, or others suffice."""
        advance, handle, event = _native.lib.dio_listener_next, self._pool.handle, self._event
        answered = False
        while True:
            _native.check(advance(handle, self._reply_ref if answered else None, self._event_ref))
            if event.kind != _native.EVENT_CALL:
                if event.kind == _native.EVENT_DONE:
                    self._pool.ended()
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
            program_gone()
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
                program_gone()
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
        """At once, which closes it here."""
        reply = self._reply
        reply.kind, reply.fd, reply.tid = _native.REPLY_GIVE, given.fd, self._event.tid
        reply.fd_flags = os.O_CLOEXEC if given.cloexec else 0
        error = int(_native.lib.dio_listener_reply(self._pool.handle, self._reply_ref))
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

    def step_aside(self) -> None:
        """Let another worker receive at once."""
        _native.lib.dio_listener_step_in(self._pool.handle)

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
