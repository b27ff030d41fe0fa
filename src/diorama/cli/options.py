"""Options: what `run` and `trace` have in common, and the view that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from diorama.errors import UsageError

if TYPE_CHECKING:
    from diorama.session import View


@dataclass(frozen=True, slots=True)
class Mount:
    """`SOURCE=TARGET[:OPTION,...]`, taken apart."""

    source: str
    target: str
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Mount:
        """Split before the target: at the first `=/` that can be it, so that a source may contain `=`.

        If there is none, at such a `=`.
        """
        at = _target(text, "=/")
        at = _target(text, "=") if at < 0 else at
        target, _, options = text[at + 1 :].partition(":")
        if not (at > 0 and target):
            raise UsageError(f"cannot mount {text!r}: write SOURCE=TARGET[:OPTION,...]")
        return cls(text[:at], target, tuple(option for option in options.split(",") if option))


def _target(text: str, mark: str) -> int:
    """Where a mark stands before the target; -1 if nowhere.

    Of a command it is in the last word that has it, and ends what of that word has no colon behind a mark.
    What is called is ended by a parenthesis.
    """
    if text.startswith("py:"):
        return max(text.find(mark, text.rfind(")") + 1), -1)
    if not text.startswith("fuse:"):
        return text.find(mark)
    begin = text.rfind(" ", 0, text.rfind(mark) + 1) + 1
    at = text.find(mark, begin)
    while (following := text.find(mark, at + 1)) >= 0 and ":" not in text[at:following]:
        at = following
    return at


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """The options that make a view, and the command to run in it."""

    root: str | None = None
    bare: bool = False
    remember: bool = False
    cow: str | None = None
    mount: tuple[str, ...] = ()
    binfmt: tuple[str, ...] = ()
    arch: tuple[str, ...] = ()
    net: str | None = None
    clock: tuple[str, ...] = ()
    user: str | None = None
    hostname: str | None = None
    uname: tuple[str, ...] = ()
    cpus: int | None = None
    memory: str | None = None
    grow: bool = False
    write_through: bool = False
    module: tuple[str, ...] = ()
    engine: str = "auto"
    guardians: str = "each"
    placement: str = "auto"
    force: tuple[str, ...] = ()
    strict: bool = False
    kill_on_exit: bool = False
    name: str | None = None
    log: str | None = None
    rc: str | None = None
    no_rc: bool = False
    seccomp: bool = True
    verbose: bool = False
    command: tuple[str, ...] = ()

    def make_view(self) -> View:
        """The view, with its mounts and modules in the order of the command line.

        Modules come last: what they handle is asked before the mounts are.
        """
        from diorama import Paths, View
        from diorama.engine.launch import raise_limit

        raise_limit()
        paths = Paths.parse(self.force) if self.force else None
        view = View(
            engine=self.engine,
            guardians=self.guardians,
            placement=self.placement,
            grows=self.grow,
            write_through=self.write_through,
            paths=paths,
            strict=self.strict,
            seccomp=self.seccomp,
        )
        try:
            self._furnish(view)
        except BaseException:
            view.close()
            raise
        return view

    def _furnish(self, view: View) -> None:
        self._lay_root(view)
        if self.cow is not None and self.root is None:
            view.cow(self.cow)
        self._tell_system(view)
        for text in self.mount:
            mount = Mount.parse(text)
            view.mount(mount.source, mount.target, *mount.options)
        for entry in self.binfmt:
            view.binfmt(entry)
        for name in self.arch:
            view.arch(name)
        if self.net is not None:
            view.stack(self.net)
        self._choose(view)
        for file in self.module:
            view.load(file)

    def _lay_root(self, view: View) -> None:
        if self.root is not None:
            view.root(self.root, *(["remember"] if self.remember else []), bare=self.bare, layer=self.cow)
        elif self.bare:
            raise UsageError("--bare says what is in another root: it needs --root DIR")
        elif self.remember:
            raise UsageError("--remember is about --root DIR; of a mount it is an option")

    def _choose(self, view: View) -> None:
        """What programs begin with."""
        for change in self.clock:
            view.clock.change(change)
        if self.user is not None:
            view.user(self.user)

    def _tell_system(self, view: View) -> None:
        if self.hostname is None and self.cpus is None and self.memory is None and not self.uname:
            return
        from diorama.view.system import System

        view.system(System.parse(",".join(self.uname), self.hostname, self.cpus, self.memory))


_DECORATORS = (
    click.option(
        "--root",
        metavar="DIR",
        help="Make DIR the root of the view, with the host's /proc, /dev and /sys in it.",
    ),
    click.option("--bare", is_flag=True, help="With --root: nothing of the host in it."),
    click.option(
        "--remember",
        is_flag=True,
        help="With --root: remember owners, modes, devices and attributes that the host cannot have.",
    ),
    click.option(
        "--cow",
        metavar="LAYER",
        help="Let everything be changed, in DIR with --root, and keep the changes in the directory LAYER.",
    ),
    click.option(
        "--mount",
        multiple=True,
        metavar="SOURCE=TARGET[:OPTION,...]",
        help="Mount a path, or SCHEME:REST (zip:a.zip, memory:, disk:a.img), on TARGET.",
    ),
    click.option(
        "--binfmt",
        multiple=True,
        metavar="ENTRY",
        help="Run files of a format by an interpreter: an entry of binfmt_misc.",
    ),
    click.option(
        "--arch",
        multiple=True,
        metavar="NAME",
        help="Run programs of another architecture (aarch64, riscv64, ...) too, by qemu-user.",
    ),
    click.option(
        "--net",
        metavar="SOURCE[,OPTION...]|PATH",
        help="Have another network: none:, host:, lan:NAME, packet:WIRE, or where one is mounted.",
    ),
    click.option("--hostname", metavar="NAME", help="Tell programs that this is the name of the machine."),
    click.option(
        "--uname",
        multiple=True,
        metavar="FIELD=VALUE,...",
        help="Tell other names: sysname, nodename, release, version, machine, domainname.",
    ),
    click.option("--cpus", type=int, metavar="N", help="Tell programs of N CPUs."),
    click.option("--memory", metavar="SIZE", help="Tell programs of so much memory: 512M, 4G."),
    click.option(
        "--user",
        metavar="NAME|UID[:GROUP]",
        help="Run as this user of the view, with its groups, and with Linux's rules for changing that.",
    ),
    click.option(
        "--clock",
        multiple=True,
        metavar="CHANGE,...",
        help="Have another clock: at=DATE, offset=TIME, scale=NUMBER, freeze, step=TIME, advance=TIME.",
    ),
    click.option(
        "--grow", is_flag=True, help="Let programs mount at any time, with `diorama mount` or mount(8)."
    ),
    click.option(
        "--write-through",
        is_flag=True,
        help="Let FUSE servers have each write before it returns, instead of all when a file is closed.",
    ),
    click.option("--module", multiple=True, metavar="FILE.py", help="Load a module: call its load(view)."),
    click.option(
        "--engine",
        type=click.Choice(["auto", "guardians", "notify"]),
        default="auto",
        help="Trace (ptrace), or be notified (seccomp); auto takes what serves the view better.",
    ),
    click.option(
        "--guardians",
        type=click.Choice(["each", "shared"]),
        default="each",
        help="A tracer thread for each traced thread, or one for all.",
    ),
    click.option(
        "--placement",
        type=click.Choice(["auto", "none"]),
        default="auto",
        help="Let a guardian and a tracee that stops often share a CPU, or leave it to the scheduler.",
    ),
    click.option(
        "--force",
        multiple=True,
        metavar="NAME=PATH",
        help="Force a path of the portable layer, as `diorama doctor` lists them.",
    ),
    click.option("--name", metavar="NAME", help="Call the view so, for `diorama ls` and `diorama exec`."),
    click.option("--log", metavar="FILE", help="Add the lines of `diorama debug` to FILE."),
    click.option("--rc", metavar="FILE", help="Run FILE in the view first, instead of the start-up files."),
    click.option("--no-rc", is_flag=True, help="Run no start-up files first."),
    click.option("--strict", is_flag=True, help="An error in a module ends the program."),
    click.option("--kill-on-exit", is_flag=True, help="End what still runs when the program has ended."),
    click.option(
        "--no-seccomp",
        "seccomp",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Stop at every call, without a filter.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Tell which engine is used, and why."),
    click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG]..."),
)


def view_options(function: Callable[..., int]) -> Callable[..., int]:
    """Decorator: the options above, passed on as one `ViewOptions`."""

    @wraps(function)
    def command(**values: Any) -> int:
        mine = {name: values.pop(name) for name in ViewOptions.__slots__}
        return function(ViewOptions(**mine), **values)

    for decorate in reversed(_DECORATORS):
        command = decorate(command)
    return command
