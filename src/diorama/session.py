"""Session: the library's front door.

A `View` collects what a program is to see (mounts, handlers) and runs programs in it.  What the view handles
decides what is traced: without a mount or handler nothing is, and the program runs at native speed.

Threads: `View` is used from the caller's threads; guardians call back into the router.  `_lock` guards the
list of running programs, their descriptors and the count of guardians, and is never held while a program is
waited for; `_making` lets one thread at a time compile what guardians need.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from diorama.engine.choice import ENGINES, HANDLERS_RUN, NOTIFY, Choice, choose, make_tag, require
from diorama.engine.probe import Features, Paths, probe, resolve, to_native
from diorama.errors import UsageError
from diorama.modules.kinds import Kinds
from diorama.modules.stages import set_maker
from diorama.popen import Popen

if TYPE_CHECKING:
    from types import TracebackType

    from diorama.dispatch.mediator import Mediator
    from diorama.dispatch.network.mediator import NetworkMediator
    from diorama.engine.guardian import Staff
    from diorama.engine.launch import Command, Launched
    from diorama.engine.placement import Placement
    from diorama.view.mounts import Mount

_OF_THE_HOST = ("/proc", "/dev", "/sys")
"""What every other root has as well: programs need them, and nobody else can make them."""

_F = TypeVar("_F", bound=Callable[..., Any])


class View:
    """The world that programs started here see.

    engine: "guardians" (ptrace), "notify" (seccomp user notification), or "auto", which takes notifications
    unless something needs guardians or is better served by them (`diorama.engine.choice`).
    guardians: "each" (a tracer thread for every traced thread) or "shared" (one for all).
    placement: "auto" (a tracee that stops often shares a CPU with its guardian) or "none".
    paths: forces paths of the portable layer, for tests and comparison (`diorama.Paths`).
    grows: mounts may be made while programs run.  Their filters are made for that from the start.
    strict: an error in a module ends the programs instead of costing one EIO.
    seccomp: False stops at every call instead of those that a filter selects.

    A context manager: leaving it ends what still runs.
    """

    def __init__(
        self,
        *,
        engine: str = "auto",
        guardians: str = "each",
        placement: str = "auto",
        grows: bool = False,
        paths: Paths | None = None,
        strict: bool = False,
        seccomp: bool = True,
    ) -> None:
        if guardians not in ("each", "shared"):
            raise UsageError(f"guardians must be 'each' or 'shared', not {guardians!r}")
        if engine not in ENGINES:
            raise UsageError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
        if placement not in ("auto", "none"):
            raise UsageError(f"placement must be 'auto' or 'none', not {placement!r}")
        from diorama.dispatch.router import Router

        self.router = Router(strict=strict, on_failure=self._failed)
        self._engine = engine
        self._shared = guardians == "shared"
        self._placed = placement == "auto" and not self._shared
        self._placement: Placement | None = None
        self._paths = paths or Paths()
        self._seccomp = seccomp
        self._mediator: Mediator | None = None
        self._networks: NetworkMediator | None = None
        self._lock = threading.Condition()
        self._making = threading.Lock()
        self._guardians = 0
        self._running: list[Launched] = []
        self._staff: Staff | None = None
        self._features: Features | None = None
        self.choice: Choice | None = None
        self.failures: list[BaseException] = []
        self.unsaved: list[str] = []
        self.gave_up = False
        self._grows = grows
        self._kinds = Kinds()
        if grows:
            self._files()

    # -- what programs see --------------------------------------------------------------------

    def mount(self, source: Any, target: str | bytes | os.PathLike[str], *options: str) -> None:
        """Mount a path (bind), `scheme:rest`, or a `FileSystem` or `Network` object on `target`.

        Relative paths are the caller's.  A source is found in the view, as the mounts before have left it.
        `UsageError` if the source cannot be mounted there, or while programs run, unless the view grows.
        """
        if not self._grows and self._is_running():
            raise UsageError(f"cannot mount on {os.fsdecode(target)} while programs run: use grows=True")
        from diorama.interfaces.filesystem import FileSystem
        from diorama.interfaces.network import Network
        from diorama.modules.sources import make_mount

        if isinstance(source, (FileSystem, Network)):
            self._files().mount(make_mount(source, *options), target)
        else:
            self._files().mount_source(source, target, options)
        if not self._grows:
            self.router.changed = True

    def unmount(self, target: str | bytes | os.PathLike[str], *, lazy: bool = False) -> None:
        """Take away what was mounted last on `target`.

        `UsageError` if nothing is, or if a program is in it or has something of it open: then `lazy` lets it
        go on with that, while all others see what was there before.
        """
        self._files().unmount(target, lazy=lazy)

    def root(self, directory: str | os.PathLike[str], *options: str, bare: bool = False) -> None:
        """Make a directory of the caller's the root of the view; to be said before anything is mounted.

        The host's `/proc`, `/dev` and `/sys` are mounted in it, unless it is to be `bare`; whatever else is
        wanted is for `mount`.  Programs are looked for in it, and start in the directory of the caller's path
        if it has one, else in `/`.  `UsageError` as for `mount`.
        """
        from diorama.modules.sources import make_mount

        if self._is_running() or self._files().has_mounts:
            raise UsageError(f"cannot make {directory} the root: something is mounted or runs already")
        self._files().mount(make_mount(directory, *options), "/")
        for name in () if bare else _OF_THE_HOST:
            self._files().mount(make_mount(name), name)
        self.router.changed = True

    def cow(self, layer: str | os.PathLike[str]) -> None:
        """Let everything be changed, and keep the changes in `layer`; to be said before anything is mounted.

        A directory of the caller's, made if it is not there, of which `diorama diff`, `commit` and `discard`
        know.  What the caller may read it may change.  `UsageError` if a running view uses the layer.
        """
        from diorama.modules.sources import make_mount

        if self._is_running() or self._files().has_mounts:
            raise UsageError(f"cannot lay {layer} over the root: something is mounted or runs already")
        self._files().mount(make_mount("cow:/", f"layer={os.fspath(layer)}"), "/")
        self.router.changed = True

    def stack(self, network: Any, families: str = "") -> None:
        """Let programs that are started from now on have a network: a path where one is mounted, or a source.

        A source (`lan:x`) is mounted below `/dev/net`, and what it says in `/etc/hosts`. `families` are of
        `diorama.interfaces.stackfile.parse_families`, all but AF_UNIX if there are none. `UsageError`.
        """
        from diorama.interfaces.stackfile import parse_families
        from diorama.modules.networks.choosing import place_for, told_files

        chosen, target = parse_families(families), network
        if not (isinstance(network, str) and network.startswith("/")):
            source, target, options = place_for(network)
            self.mount(source, target, *options)
        self._files()
        assert self._networks is not None
        for file, path in told_files(self._networks.choose(target, chosen), chosen):
            self.mount(file, path)
        self.router.changed = True

    def on(self, *names: str, path: str | bytes | None = None, **arguments: int) -> Callable[[_F], _F]:
        """Register a handler for calls by name, `%class` or `/regex`; a decorator.

        `path` is a glob over the request's path as the program wrote it (fnmatch(3), `*` crosses `/`),
        `arguments` are exact values of integer fields; both are settled without entering Python.  The
        handler registered last is asked first; what it lets run goes on to the ones before.
        """

        def register(handler: _F) -> _F:
            self.router.add(handler, names, path=path, arguments=arguments)
            return handler

        return register

    def answer(
        self,
        *names: str,
        result: int | None = None,
        error: int | None = None,
        path: str | bytes | None = None,
        **arguments: int,
    ) -> None:
        """Answer calls always alike, with a result or an errno; predicates as for `on`.

        Settled without entering Python, unless a handler registered later is asked first.
        """
        if (result is None) == (error is None):
            raise UsageError("an answer is either result=NUMBER or error=ERRNO")
        value = result if error is None else -error
        self.router.add_answer(value or 0, names, path=path, arguments=arguments)

    def load(self, file: str | os.PathLike[str]) -> None:
        """Run a module file and call its `load(view)`."""
        from diorama.dispatch.modulefile import load_module

        load_module(os.fspath(file), self)

    def observe(self, observer: Any) -> None:
        """Tell `observer` of clones, execs, signals and ends (`router.Observer`)."""
        self.router.observers.append(observer)

    # -- running programs ---------------------------------------------------------------------

    def Popen(self, args: Any, **options: Any) -> Popen:
        """Start a program; behaves as `subprocess.Popen`."""
        return Popen(args, view=self, **options)

    def run(
        self,
        args: Any,
        *,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program to its end; as `subprocess.run`."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        if capture_output:
            options["stdout"] = options["stderr"] = subprocess.PIPE
        with self.Popen(args, **options) as process:
            try:
                out, err = process.communicate(input, timeout=timeout)
            except BaseException:
                process.kill()
                raise
            status = process.wait()
        if check and status:
            raise subprocess.CalledProcessError(status, args, output=out, stderr=err)
        return subprocess.CompletedProcess(args, status, out, err)

    def prepare(self) -> Choice | None:
        """Settle what the next program needs: its engine and why; None if nothing is handled or observed.

        The first launch does it otherwise. `UsageError` if the engine that was asked for cannot be had.
        """
        return None if self._prepare() is None else self.choice

    def launch(self, command: Command) -> tuple[Launched, tuple[int, int] | None]:
        """Start a command: its record, and (errno, step) if the exec failed."""
        from diorama.engine.launch import launch

        self._sweep()
        staff = self._prepare()
        tag = make_tag() if staff and self.choice is not None and self.choice.engine == NOTIFY else None
        start = launch if self._networks is None else self._networks.launch
        launched = start(command, self._filter(tag) if staff and self._seccomp else b"", tag)
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

        end_all({launched.pid, *[tracee.pid for tracee in list(self.router.tracees)]})

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

    def close(self) -> None:
        """End every program of the view and remove what it put on disk."""
        with self._lock:
            running = list(self._running)
        for launched in running:
            self.forget(launched)
        with self._lock:
            self._lock.wait_for(lambda: self._guardians == 0)
        placement, self._placement, self._staff = self._placement, None, None
        if placement is not None:
            placement.close()
        if self._mediator is not None:
            for line in self._mediator.close():
                self.unsaved.append(line)
                print(f"diorama: {line}", file=sys.stderr)
            self.gave_up = self._mediator.gave_up

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- behind the scenes --------------------------------------------------------------------

    def _files(self) -> Mediator:
        if self._mediator is None:
            from diorama.dispatch.mediator import Mediator
            from diorama.dispatch.network.mediator import NetworkMediator
            from diorama.modules.filesystems.implicit import make_implicit

            self._mediator = Mediator(grows=self._grows, kinds=self._kinds, implicit=make_implicit)
            self.router.add_base(self._mediator)
            self._networks = NetworkMediator(self._mediator.files, grows=self._grows)
            self.router.add_inner(self._networks)
        return self._mediator

    def _filter(self, tag: int | None) -> bytes:
        from diorama.engine._native import PARK_TAG
        from diorama.engine.filter import compile_filter

        if tag is not None:
            tests = self.router.conditions()
            return compile_filter(self.router.wanted(), tag=tag, notify=True, only_if=tests)
        wanted = self.router.wanted()
        if self._placement is not None:
            from diorama.engine.placement import with_masks

            wanted = dict(with_masks(wanted))
        return compile_filter(wanted, tag=PARK_TAG, only_if=self.router.conditions())

    def _is_running(self) -> bool:
        self._sweep()
        with self._lock:
            return bool(self._running)

    def _sweep(self) -> None:
        """Release programs that have ended."""
        with self._lock:
            ended = [one for one in self._running if one.ended and select.select([one.life_fd], [], [], 0)[0]]
        for launched in ended:
            self.forget(launched)

    def _prepare(self) -> Staff | None:
        """What guardians need; None when nothing is virtualised or watched."""
        if self.router.is_idle:
            return None
        with self._making:
            if self._staff is None or self.router.changed:
                self._staff = self._make_staff()
            return self._staff

    def _make_staff(self) -> Staff:
        from diorama.engine import _native
        from diorama.engine.descent import filters_of
        from diorama.engine.guardian import Staff

        features = self._features = probe()
        require(features)
        self.choice = choose(self._engine, features, list(self._needs()), list(self._leanings()))
        options = _native.Options()
        options.paths = to_native(resolve(self._paths, features))
        options.shared = self._shared or features.yama >= 2
        options.signals = any(observer.wants_signals for observer in self.router.observers)
        options.no_filter = not self._seccomp
        options.our_filters = (filters_of(os.getpid()) or 0) + (1 if self._seccomp else 0)
        if self._grows and self._kinds.device is None:
            self._serve_fuse()
        notifies = self.choice.engine == NOTIFY
        rules = self.router.compile(tells_clones=not notifies)
        if self._mediator is not None:
            options.decider = self._mediator.decider().handle
        self._place(shared=bool(options.shared) or notifies)
        return Staff(
            self.router, rules, options, self._guardian_started, self._guardian_done, self._placement
        )

    def _serve_fuse(self) -> None:
        """Let programs be FUSE servers, where they find a directory of devices."""
        from diorama.modules.filesystems.fuse.device import FuseDevice
        from diorama.modules.sources import make_mount

        self._kinds.device = FuseDevice()
        with contextlib.suppress(UsageError):
            self._files().mount(make_mount(self._kinds.device), "/dev/fuse")

    def _place(self, *, shared: bool) -> None:
        from diorama.engine.placement import Placement, has_choice

        if self._placement is None and self._placed and not shared and has_choice():
            self._placement = Placement()

    def _needs(self) -> Iterator[str]:
        """What only guardians can do."""
        if self.router.observers:
            yield "clones, execs, signals and ends of programs are to be observed"
        if self._shared:
            yield "one guardian for all is asked for"
        if self._paths != Paths():
            yield "a path of the portable layer is forced"
        if not self._seccomp:
            yield "seccomp is not to be used"

    def _leanings(self) -> Iterator[str]:
        """What guardians do better."""
        if self.router.has_handlers:
            yield HANDLERS_RUN

    def _listen(self, launched: Launched, staff: Staff, fd: int, tag: int) -> None:
        from diorama.engine.notify import Pool

        assert self._features is not None
        pool = Pool(staff, fd, self._features, tag)
        pool.registry.enter(self.router.root(launched.pid))
        pool.start()

    def _trace(self, launched: Launched, staff: Staff) -> None:
        from diorama.engine.guardian import Guardian

        tracee = self.router.root(launched.pid)
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

    def _failed(self) -> None:
        """An error of a module or of ours under `strict`: remember it and end the programs."""
        error = sys.exc_info()[1]
        if error is not None:
            self.failures.append(error)
        with self._lock:
            for launched in self._running:
                launched.shut()


@set_maker
def _make_stage(on_served: Callable[[Mount], None]) -> View:
    view = View(grows=True)
    view._kinds.on_served = on_served  # pyright: ignore[reportPrivateUsage]
    return view
