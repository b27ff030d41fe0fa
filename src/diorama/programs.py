"""Programs: those of one view that run, and who traces them.

What the view handles decides what is traced: without a mount or handler nothing is, and programs run at
native speed. `Tracing` is what was asked for; which engine it is to be is chosen at the first launch
(`diorama.engine.choice`), and again when something else is handled.

Threads: used from the caller's threads, and told of guardians by them. `_lock` guards the list of running
programs, their descriptors and the count of guardians, and is never held while a program is waited for;
`_making` lets one thread at a time compile what guardians need.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diorama.engine.choice import (
    ENGINES,
    GUARDIANS,
    HANDLERS_RUN,
    NOTIFY,
    Choice,
    choose,
    make_tag,
    require,
    require_no_listener_above,
)
from diorama.engine.probe import Features, Paths, probe, resolve, to_native
from diorama.errors import UsageError

if TYPE_CHECKING:
    from diorama.dispatch.mediator import Mediator
    from diorama.dispatch.network.mediator import NetworkMediator
    from diorama.dispatch.router import Router
    from diorama.engine.guardian import Staff
    from diorama.engine.launch import Command, Launched
    from diorama.engine.placement import Placement

__all__ = ["Programs", "Tracing"]


@dataclass(frozen=True, slots=True)
class Tracing:
    """How programs are to be traced: the arguments of `diorama.View` of these names."""

    engine: str = "auto"
    guardians: str = "each"
    placement: str = "auto"
    paths: Paths | None = None
    seccomp: bool = True

    def __post_init__(self) -> None:
        if self.guardians not in ("each", "shared"):
            raise UsageError(f"guardians must be 'each' or 'shared', not {self.guardians!r}")
        if self.engine not in ENGINES:
            raise UsageError(f"engine must be one of {', '.join(ENGINES)}, not {self.engine!r}")
        if self.placement not in ("auto", "none"):
            raise UsageError(f"placement must be 'auto' or 'none', not {self.placement!r}")


class Programs:
    """The programs of a view.

    `before` is called before it is settled what they need. The mediators are there once something is mounted.
    """

    def __init__(self, router: Router, tracing: Tracing, before: Callable[[], None]) -> None:
        self._router = router
        self._before = before
        self._engine = tracing.engine
        self._shared = tracing.guardians == "shared"
        self._placed = tracing.placement == "auto" and not self._shared
        self._placement: Placement | None = None
        self._paths = tracing.paths or Paths()
        self._seccomp = tracing.seccomp
        self.mediator: Mediator | None = None
        self.networks: NetworkMediator | None = None
        self._lock = threading.Condition()
        self._making = threading.Lock()
        self._guardians = 0
        self._running: list[Launched] = []
        self._staff: Staff | None = None
        self._features: Features | None = None
        self.choice: Choice | None = None

    def are_running(self) -> bool:
        """Whether any process of them is left."""
        self._sweep()
        with self._lock:
            return bool(self._running)

    def prepare(self) -> Staff | None:
        """What guardians need, settled now; None when nothing is virtualised or watched."""
        if self._router.is_idle:
            return None
        with self._making:
            if self._staff is None or self._router.changed:
                self._staff = self._make_staff()
            return self._staff

    def launch(self, command: Command) -> tuple[Launched, tuple[int, int] | None]:
        """Start a command: its record, and (errno, step) if the exec failed."""
        from diorama.engine.launch import launch

        self._sweep()
        staff = self.prepare()
        tag = make_tag() if staff and self.choice is not None and self.choice.engine == NOTIFY else None
        start = launch if self.networks is None else self.networks.launch
        launched = start(self._as_chosen(command), self._filter(tag) if staff and self._seccomp else b"", tag)
        with self._lock:
            self._running.append(launched)
        if staff is None:
            return launched, launched.go()
        if tag is not None:
            return launched, launched.go(lambda fd: self._listen(launched, staff, fd, tag))
        try:
            self._trace(launched, staff)
        except BaseException:
            with self._lock:
                self._running.remove(launched)
            launched.cancel()
            raise
        return launched, launched.go()

    def _as_chosen(self, command: Command) -> Command:
        """The command as it is to be run where programs run as a user that was chosen."""
        if self.mediator is None or self.mediator.files.tasks.identity is None:
            return command
        # What a file gives who executes it is the view's to say.
        command = replace(command, no_new_privs=True)
        if self.mediator.files.runs_as is None or command.uid is not None:
            return command
        uid, gid, groups = self.mediator.files.runs_as
        return replace(command, uid=uid, gid=gid, groups=groups)

    def forget(self, launched: Launched) -> None:
        """Release what belongs to a program whose processes have all ended."""
        with self._lock:
            if launched not in self._running:
                return
            self._running.remove(launched)
            launched.closed = True
            launched.shut()
            os.close(launched.life_fd)
            os.close(launched.pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(launched.init_pid, 0)

    def abandon(self, launched: Launched) -> None:
        """End a program whose first process was killed, and all that is traced in this view."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(launched.pidfd, signal.SIGKILL)
        from diorama.engine.descent import end_all

        end_all({launched.pid, *[tracee.pid for tracee in list(self._router.tracees)]})

    def outlive(self, launched: Launched) -> None:
        """Wait until the last process that descends from an ended program has ended."""
        with self._lock:
            if launched not in self._running:
                return
            life_fd = os.dup(launched.life_fd)
        while os.read(life_fd, 4):
            continue
        os.close(life_fd)
        self.forget(launched)

    def end(self) -> None:
        """End all of them, and return when nobody traces any more."""
        with self._lock:
            running = list(self._running)
        for launched in running:
            self.forget(launched)
        with self._lock:
            self._lock.wait_for(lambda: self._guardians == 0)
        placement, self._placement, self._staff = self._placement, None, None
        if placement is not None:
            placement.close()

    def shut(self) -> None:
        """Have all of them ended, without waiting for it."""
        with self._lock:
            for launched in self._running:
                launched.shut()

    def _sweep(self) -> None:
        """Release programs that have ended."""
        with self._lock:
            ended = [one for one in self._running if one.ended and one.has_told()]
        for launched in ended:
            self.forget(launched)

    def _filter(self, tag: int | None) -> bytes:
        from diorama.engine._native import PARK_TAG
        from diorama.engine.filter import compile_filter

        if tag is not None:
            tests = self._router.conditions()
            return compile_filter(self._router.wanted(), tag=tag, notify=True, only_if=tests)
        wanted = self._router.wanted()
        if self._placement is not None:
            from diorama.engine.placement import with_masks

            wanted = dict(with_masks(wanted))
        return compile_filter(wanted, tag=PARK_TAG, only_if=self._router.conditions())

    def _make_staff(self) -> Staff:
        from diorama.engine import _native
        from diorama.engine.descent import filters_of
        from diorama.engine.guardian import Staff

        features = self._features = probe()
        require(features)
        self.choice = choose(self._engine, features, list(self._needs()), list(self._leanings()))
        if self.choice.engine == GUARDIANS:
            require_no_listener_above(features)
        options = _native.Options()
        options.paths = to_native(resolve(self._paths, features))
        options.shared = self._shared or features.yama >= 2
        options.signals = any(observer.wants_signals for observer in self._router.observers)
        options.no_filter = not self._seccomp
        options.our_filters = (filters_of(os.getpid()) or 0) + (1 if self._seccomp else 0)
        self._before()
        notifies = self.choice.engine == NOTIFY
        rules = self._router.compile(tells_clones=not notifies)
        if self.mediator is not None:
            options.decider = self.mediator.decider().handle
        self._place(shared=bool(options.shared) or notifies)
        return Staff(
            self._router, rules, options, self._guardian_started, self._guardian_done, self._placement
        )

    def _place(self, *, shared: bool) -> None:
        from diorama.engine.placement import Placement, has_choice

        if self._placement is None and self._placed and not shared and has_choice():
            self._placement = Placement()

    def _needs(self) -> Iterator[str]:
        """What only guardians can do."""
        if self._router.observers:
            yield "clones, execs, signals and ends of programs are to be observed"
        if self._shared:
            yield "one guardian for all is asked for"
        if self._paths != Paths():
            yield "a path of the portable layer is forced"
        if not self._seccomp:
            yield "seccomp is not to be used"

    def _leanings(self) -> Iterator[str]:
        """What guardians do better."""
        if self._router.has_handlers:
            yield HANDLERS_RUN

    def _listen(self, launched: Launched, staff: Staff, fd: int, tag: int) -> None:
        from diorama.engine.notify import Pool

        assert self._features is not None
        pool = Pool(staff, fd, self._features, tag)
        pool.registry.enter(self._router.root(launched.pid))
        pool.start()

    def _trace(self, launched: Launched, staff: Staff) -> None:
        from diorama.engine.guardian import Guardian

        tracee = self._router.root(launched.pid)
        outcome: list[BaseException | None] = []
        ready = threading.Lock()
        ready.acquire()

        def begin(guardian: Guardian) -> None:
            try:
                guardian.seize(tracee)
                outcome.append(None)
            except OSError as error:
                outcome.append(error)
            ready.release()

        Guardian(staff).start(begin)
        ready.acquire()
        if outcome[0] is not None:
            raise UsageError(f"cannot trace a program: {outcome[0]}; `diorama doctor` tells more")

    def _guardian_started(self) -> None:
        with self._lock:
            self._guardians += 1

    def _guardian_done(self) -> None:
        with self._lock:
            self._guardians -= 1
            if not self._guardians:
                self._lock.notify_all()
