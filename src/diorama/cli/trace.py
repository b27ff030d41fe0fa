"""Trace: `diorama trace`, a program in a view, and its system calls as lines."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from diorama.cli.options import ViewOptions, view_options
from diorama.cli.program import run_program
from diorama.errors import UsageError
from diorama.observe.jsonl import Jsonl
from diorama.observe.lines import Lines
from diorama.observe.selection import Selection
from diorama.observe.text import Text
from diorama.observe.trace import Trace, Writer

if TYPE_CHECKING:
    from diorama.session import View


def _open(output: str | None, stack: ExitStack) -> int:
    """The descriptor to write to, closed with the stack; the program does not inherit it."""
    if output is None:
        # A copy: the program may be given another standard error by its own redirections, never we.
        fd = os.dup(2)
    else:
        try:
            fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}") from None
    stack.callback(os.close, fd)
    return fd


def _attach(view: View, selection: Selection, writer: Writer) -> None:
    # Registered after all modules, so outermost: it shows what the program asked and got.
    trace = Trace(writer, selection.shows)
    if selection.subscribed:
        view.on(*selection.subscribed)(trace.handle)
    view.observe(trace)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of standard error.")
@click.option(
    "-e", "expressions", multiple=True, metavar="EXPR", help="Which calls: names, %class, /regex, !..."
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@view_options
def command(options: ViewOptions, output: str | None, expressions: tuple[str, ...], *, as_json: bool) -> int:
    """Run COMMAND in a view and print the system calls of all its threads.

    \b
    diorama trace -- true
    diorama trace -e %file,close -o trace.txt -- make
    diorama trace -e '!futex,/poll' --json -o trace.jsonl -- python3 script.py
    """
    selection = Selection.parse(expressions)
    with ExitStack() as stack:
        lines = Lines(_open(output, stack))
        view = options.make_view()
        writer = Jsonl(lines.write) if as_json else Text(lines.write, always_tid=output is not None)
        _attach(view, selection, writer)
        return run_program(view, options)
