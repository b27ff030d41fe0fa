"""Run: `diorama run`, a program in a view."""

from __future__ import annotations

import click

from diorama.cli.options import ViewOptions, view_options
from diorama.cli.program import run_program


@click.command(context_settings={"allow_interspersed_args": False})
@view_options
def command(options: ViewOptions) -> int:
    """Run COMMAND in a view.

    The exit status is the program's, or 128 and the number of the signal that killed it; 125 if diorama
    itself failed, 126 if COMMAND cannot be executed, 127 if it is not found.

    \b
    diorama run --mount zip:data.zip=/mnt -- grep -r needle /mnt
    diorama run --mount /usr/share/dict=/mnt:ro -- head /mnt/words
    diorama run --module hide.py -- bash
    """
    return run_program(options.make_view(), options)
