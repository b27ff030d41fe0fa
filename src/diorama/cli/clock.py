"""Clock: `diorama clock`, another clock for one command, or a change of the view's, from inside a view."""

from __future__ import annotations

import click

from diorama.cli.program import become


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("change", metavar="CHANGE,...")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG]...]")
def command(change: str, command: tuple[str, ...]) -> int:
    """Run COMMAND with a clock of its own, or change that of this shell, in a view with a clock.

    \b
    diorama clock scale=60 -- make check
    diorama clock at=2030-01-01T00:00:00Z
    """
    from diorama.cli.inside import change_clock

    words = list(command[1:] if command and command[0] == "--" else command)
    change_clock(change, own=bool(words))
    if not words:
        return 0
    return become(words)
