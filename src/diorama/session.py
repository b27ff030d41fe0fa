"""Session: the library's front door.

A `View` collects what a program is to see (mounts, handlers) and runs programs in it.  What the view handles
decides what is traced: without a mount or handler nothing is, and the program runs at native speed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from diorama.engine.choice import Choice
from diorama.engine.probe import Paths
from diorama.errors import UsageError
from diorama.modules.kinds import Kinds
from diorama.modules.stages import set_maker
from diorama.popen import Popen
from diorama.programs import Programs, Tracing

if TYPE_CHECKING:
    from types import TracebackType

    from diorama.dispatch.mediator import Mediator
    from diorama.dispatch.network.mediator import NetworkMediator
    from diorama.interfaces.clock import ViewClock
    from diorama.modules.filesystems.fuse.connections import Connections
    from diorama.modules.filesystems.sysfs.mounting import SystemDirectories
    from diorama.modules.formats import ChosenFormats
    from diorama.view.mounts import Mount, MountTree
    from diorama.view.system import System

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
    write_through: FUSE servers get each write(2) before it returns, instead of all when a file is closed.
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
        write_through: bool = False,
        paths: Paths | None = None,
        strict: bool = False,
        seccomp: bool = True,
    ) -> None:
        tracing = Tracing(engine, guardians, placement, paths, seccomp)
        from diorama.dispatch.router import Router

        self.router = Router(strict=strict, on_failure=self._failed)
        self.programs = Programs(self.router, tracing, self._complete)
        self._mediator: Mediator | None = None
        self._networks: NetworkMediator | None = None
        self.failures: list[BaseException] = []
        self.unsaved: list[str] = []
        self.gave_up = False
        self.has_had_enough: Callable[[], bool] = bool
        """Whether whoever closes it waits no longer for file systems that do not answer."""
        self._grows = grows
        self._writes_through = write_through
        self._clock: ViewClock | None = None
        self._kinds = Kinds()
        self._told: System | None = None
        self._system_directories: SystemDirectories | None = None
        self._connections: Connections | None = None
        if grows:
            from diorama.modules.filesystems.fuse.connections import Connections

            self._connections = Connections()
            self._files()

    # -- what programs see --------------------------------------------------------------------

    def mount(self, source: Any, target: str | bytes | os.PathLike[str], *options: str) -> None:
        """Mount a path (bind), `scheme:rest`, or a `FileSystem`, `Network` or `Device` on `target`.

        Relative paths are the caller's.  A source is found in the view, as the mounts before have left it.
        `UsageError` if the source cannot be mounted there, or while programs run, unless the view grows.
        """
        if not self._grows and self.programs.are_running():
            raise UsageError(f"cannot mount on {os.fsdecode(target)} while programs run: use grows=True")
        from diorama.interfaces.device import Device
        from diorama.interfaces.filesystem import FileSystem
        from diorama.interfaces.network import Network
        from diorama.modules.sources import make_mount

        if isinstance(source, str) and source.startswith("clock:") and self._clock is None:
            self.clock.change("")  # programs are to set it, so they must have one
        if isinstance(source, (FileSystem, Network, Device)):
            self._files().mount(make_mount(source, *options), target)
        else:
            self._files().mount_source(source, target, options)
        if not self._grows:
            self.router.changed = True

    def mounts(self) -> list[dict[str, str]]:
        """What is mounted, in the order of mounting: source, target and type of each."""
        return [] if self._mediator is None else self._mediator.list_mounts()

    def unmount(self, target: str | bytes | os.PathLike[str], *, lazy: bool = False) -> None:
        """Take away what was mounted last on `target`.

        `UsageError` if nothing is, or if a program is in it or has something of it open: then `lazy` lets it
        go on with that, while all others see what was there before.
        """
        self._files().unmount(target, lazy=lazy)

    def root(
        self,
        directory: str | os.PathLike[str],
        *options: str,
        bare: bool = False,
        layer: str | os.PathLike[str] | None = None,
    ) -> None:
        """Make a directory of the caller's the root of the view; to be said before anything is mounted.

        The host's `/proc`, `/dev` and `/sys` are mounted in it, unless it is to be `bare`; whatever else is
        wanted is for `mount`.  Programs are looked for in it, and start in the directory of the caller's path
        if it has one, else in `/`.  With a `layer`, that has what is changed, as for `cow`.  `UsageError` as
        for `mount`.
        """
        from diorama.modules.sources import make_mount

        if self.programs.are_running() or self._files().has_mounts:
            raise UsageError(f"cannot make {directory} the root: something is mounted or runs already")
        source: str | os.PathLike[str] = directory
        if layer is not None:
            source, options = f"cow:{os.fspath(directory)}", (f"layer={os.fspath(layer)}", *options)
        self._files().mount(make_mount(source, *options), "/")
        for name in () if bare else _OF_THE_HOST:
            self._files().mount(make_mount(name), name)
        self.router.changed = True

    def cow(self, layer: str | os.PathLike[str]) -> None:
        """Let everything be changed, and keep the changes in `layer`; to be said before anything is mounted.

        A directory of the caller's, made if it is not there, of which `diorama diff`, `commit` and `discard`
        know.  What the caller may read it may change.  `UsageError` if a running view uses the layer.
        """
        from diorama.modules.sources import make_mount

        if self.programs.are_running() or self._files().has_mounts:
            raise UsageError(f"cannot lay {layer} over the root: something is mounted or runs already")
        self._files().mount(make_mount("cow:/", f"layer={os.fspath(layer)}"), "/")
        self.router.changed = True

    def binfmt(self, entry: str | bytes) -> None:
        """Run files of a format by an interpreter: an entry as for binfmt_misc (`diorama.abi.binfmt`).

        The interpreter is found in the view; with flag F it is a program of the caller's.  `UsageError`.
        """
        self._formats.add(entry)
        self.router.changed = True

    def arch(self, name: str) -> None:
        """Run programs of another architecture (`aarch64`) by the caller's qemu-user; `UsageError`."""
        self._formats.add_machine(name)
        self.router.changed = True

    @cached_property
    def _formats(self) -> ChosenFormats:
        from diorama.modules.formats import ChosenFormats

        return ChosenFormats(self.mount)

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

    def user(self, who: str) -> None:
        """Let programs run as `NAME|UID[:GROUP]`, with names of the view's own /etc/passwd and /etc/group.

        To be said when all is mounted that these are in.  `UsageError` for who is unknown there.
        """
        from diorama.dispatch.identity.choosing import choose_user

        if self.programs.are_running() or self._files().files.tasks.identity is not None:
            raise UsageError(f"cannot run as {who}: programs run already, or have another user")
        self.router.add_inner(choose_user(self._files(), who))

    def system(self, system: System) -> None:
        """Tell programs of other names, CPUs or memory of their system; to be said once, before they run."""
        from diorama.dispatch.names.mediator import NamesMediator

        if self.programs.are_running():
            raise UsageError("cannot tell of another system while programs run")
        self._told = system
        self.router.add_inner(NamesMediator(self._files().files, system))

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

    @property
    def clock(self) -> ViewClock:
        """The clock of the view, which has its own from the first use of this on, before programs run."""
        if self._clock is None:
            if self.programs.are_running():
                raise UsageError("cannot give a view a clock while programs run: use its clock before")
            from diorama.dispatch.clock.mediator import ClockMediator
            from diorama.interfaces.clock import ViewClock

            files = self._files()
            made = ClockMediator(files.files, files.decider())
            self.router.add_inner(made)
            self._clock = ViewClock(made.clocks.of_view)
        return self._clock

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

    def debug(self, change: str, write: Callable[[str], None], pid: int | None = None) -> frozenset[str]:
        """Tell how calls are decided from now on: `+files,-net`, of all or of a process; what is on then.

        `UsageError` for what cannot be switched, or if nothing is handled.
        """
        from diorama.dispatch.debugging import debugging_of

        if self.router.is_idle:
            raise UsageError("nothing is handled in this view, so no call is seen")
        return debugging_of(self.router, self._mediator, write).change(change, pid)

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
        return None if self.programs.prepare() is None else self.programs.choice

    def close(self) -> None:
        """End every program of the view and remove what it put on disk."""
        self.programs.end()
        if self._mediator is not None:
            for line in self._mediator.close(self.has_had_enough):
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
            from diorama.modules.filesystems.sysfs.mounting import SystemDirectories

            self._mediator = Mediator(grows=self._grows, kinds=self._kinds, implicit=make_implicit)
            self._mediator.files.writes_through = self._writes_through
            self._system_directories = SystemDirectories(self._mediator.files)
            self._mediator.files.mounting.on_attach = self._attached
            self.router.add_base(self._mediator)
            self._networks = NetworkMediator(self._mediator.files, grows=self._grows)
            self.router.add_inner(self._networks)
            self.programs.mediator, self.programs.networks = self._mediator, self._networks
        return self._mediator

    def _serve_only(self) -> None:
        """Let programs be FUSE servers of the host, of which is seen only what makes them that."""
        files = self._files().files
        files.serves_only = True
        self._serve_fuse()

    def _attached(self, tree: MountTree, mount: Mount) -> None:
        """Something is mounted."""
        if self._system_directories is not None:
            self._system_directories.follow(tree, mount)
        if self._connections is not None:
            self._connections.follow(mount)

    def _complete(self) -> None:
        """What a view has besides, where it was mounted before and what it is made of is known."""
        if self._told is not None and self._system_directories is not None:
            self._system_directories.tell(self._told)
        self._serve_fuse()

    def _serve_fuse(self) -> None:
        """Let programs be FUSE servers, in a view that grows, where they find a directory of devices."""
        serves = self._grows or (self._mediator is not None and self._mediator.files.serves_only)
        if not serves or self._kinds.device is not None:
            return
        from diorama.modules.filesystems.fuse.connections import PLACE
        from diorama.modules.filesystems.fuse.device import FuseDevice
        from diorama.modules.sources import make_mount

        self._kinds.device = FuseDevice()
        with contextlib.suppress(UsageError):
            self._files().mount(make_mount(self._kinds.device), "/dev/fuse")
            if self._connections is not None and os.path.isdir(PLACE):
                self._files().mount(make_mount(self._connections), PLACE)

    def _failed(self) -> None:
        """An error of a module or of ours under `strict`: remember it and end the programs."""
        error = sys.exc_info()[1]
        if error is not None:
            self.failures.append(error)
        self.programs.shut()


@set_maker
def _make_stage(on_served: Callable[[Mount], None], bare: bool) -> View:
    view = View(grows=not bare)
    if bare:
        view._serve_only()  # pyright: ignore[reportPrivateUsage]
    view._kinds.on_served = on_served  # pyright: ignore[reportPrivateUsage]
    return view
