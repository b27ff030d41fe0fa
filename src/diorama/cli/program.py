"""Program: one command in a view, from start to exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diorama.cli import OWN_FAILURE
from diorama.cli.terminal import Interrupted, Terminal

if TYPE_CHECKING:
    from diorama.cli.options import ViewOptions
    from diorama.control.server import Control, Uncontrolled
    from diorama.popen import Popen
    from diorama.session import View

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def run_program(view: View, options: ViewOptions) -> int:
    """Run the command, wait until the last process of the view has ended, and return the exit status.

    `--kill-on-exit`, or a signal after the program's own end, ends the rest instead.
    """
    from diorama.engine.descent import adopt_orphans

    first = _startup(view, options)
    adopt_orphans()
    with Terminal() as terminal, view, _control(view, options) as control, terminal.closing():
        view.has_had_enough = terminal.has_had_enough
        _prepare(view)
        if options.verbose:
            _tell_engine(view)
        status = _run_first(view, first, terminal)
        if status is None:
            status = _run_command(view, options, control, terminal)
    if view.failures or (view.unsaved and not status):
        status = OWN_FAILURE
    if view.gave_up:  # whoever still waits for a file system is not waited for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run_first(view: View, files: list[str], terminal: Terminal) -> int | None:
    """Run the start-up files; the exit status if somebody has ended that, and with it the view."""
    if not files:
        return None
    from diorama.control.startup import run_startup

    try:
        run_startup(view, files, terminal.interruptible)
    except Interrupted as interrupted:
        return 128 + int(interrupted.args[0])
    return None


def _run_command(
    view: View, options: ViewOptions, control: Control | Uncontrolled, terminal: Terminal
) -> int:
    try:
        # Descriptors that the caller's shell opened for the program are the program's.
        process = view.Popen(list(options.command), close_fds=False, on_stop=terminal.stopped)
    except OSError as error:
        return _cannot_start(options, error)
    control.runs(process.pid, list(options.command))
    return _wait(process, terminal, control, kill_on_exit=options.kill_on_exit)


def _startup(view: View, options: ViewOptions) -> list[str]:
    """What is to be run first."""
    from diorama.control.startup import startup_files

    try:
        return startup_files(options.rc, wanted=not options.no_rc)
    except BaseException:
        view.close()
        raise


def _prepare(view: View) -> None:
    """Settle what programs need; `UsageError`, which names the view around if that is what is in the way."""
    from diorama.errors import UsageError

    try:
        view.prepare()
    except UsageError:
        outer = _view_around()
        if outer is None:
            raise
        told = f"cannot handle or trace calls inside of the view {outer}, which handles some already"
        raise UsageError(told) from None


def _view_around() -> str | int | None:
    """The innermost view that this process is in, and that handles something, as far as it can be found."""
    from diorama.control.client import ask, own_views
    from diorama.errors import UsageError

    for path in own_views():
        with contextlib.suppress(UsageError):
            above = ask(path, {"do": "describe"})
            if above["engine"] is not None:
                outer: str | int = above["name"] or above["pid"]
                return outer
    return None


def _tell_engine(view: View) -> None:
    choice = view.prepare()
    told = "no engine: nothing is handled" if choice is None else f"engine {choice.engine}: {choice.reason}"
    print(f"diorama: {told}", file=sys.stderr)


def _control(view: View, options: ViewOptions) -> Control | Uncontrolled:
    """How the view is found by others; not at all where there is no place for that, unless it is named."""
    from diorama.control.server import Control, Uncontrolled
    from diorama.errors import UsageError

    try:
        return Control(view, options.name, options.log)
    except UsageError as error:
        if options.name is not None or options.log is not None:
            view.close()
            raise
        if options.verbose:
            print(f"diorama: {error}; the view cannot be found by others", file=sys.stderr)
        return Uncontrolled()


def _wait(process: Popen, terminal: Terminal, control: Control | Uncontrolled, *, kill_on_exit: bool) -> int:
    with terminal.attached(process.pid):
        returned = process.wait()
    control.ended(process.pid)
    if not (kill_on_exit or terminal.told_to_end):
        with contextlib.suppress(Interrupted), terminal.interruptible():
            process.wait_all()
            control.wait()
    return returned if returned >= 0 else 128 - returned


def _architecture(options: ViewOptions) -> str:
    """What to do about a program of another machine, if it is one: there is nobody to ask but the file."""
    from diorama.abi.binfmt import HEAD
    from diorama.abi.machines import machine_of

    try:
        with open(os.path.join(options.root or "/", os.path.abspath(options.command[0])[1:]), "rb") as file:
            machine = machine_of(file.read(HEAD))
    except OSError:
        return ""
    if machine is None or machine.is_own:
        return ""
    return f": a program of {machine.name}; --arch {machine.name} runs it"


def become(words: Sequence[str], program: str | None = None) -> int:
    """Be another program from now on, which is looked for in PATH; the exit status if that cannot be."""
    program = program or words[0]
    try:
        os.execvp(program, list(words))
    except OSError as error:
        unknown = "/" not in program and _is_missing(program)
        reason = "command not found" if unknown else (error.strerror or str(error)).lower()
        print(f"diorama: cannot run {program}: {reason}", file=sys.stderr)
        return NOT_FOUND if unknown or isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def _is_missing(name: str) -> bool:
    """Whether no directory of PATH has it.

    One that is closed to us makes the search end with EACCES; shells look past it.
    """
    import shutil

    return shutil.which(name, mode=os.F_OK) is None


def _cannot_start(options: ViewOptions, error: OSError) -> int:
    name, is_ours = options.command[0], options.root is None
    if error.errno == errno.ENOEXEC:
        missing, reason = False, os.strerror(errno.ENOEXEC) + _architecture(options)
    elif "/" in name:
        missing, reason = isinstance(error, FileNotFoundError), os.strerror(error.errno or 0)
    elif not is_ours:
        missing = isinstance(error, FileNotFoundError)
        reason = "command not found" if missing else os.strerror(error.errno or 0)
    else:
        missing = _is_missing(name)
        reason = "command not found" if missing else os.strerror(error.errno or 0)
    print(f"diorama: {name}: {reason}", file=sys.stderr)
    return NOT_FOUND if missing else NOT_EXECUTABLE
