"""Exec: `diorama exec`, a command in a view that runs."""

from __future__ import annotations

import click


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("view")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG]...")
def command(view: str, command: tuple[str, ...]) -> int:
    """Run COMMAND in the running VIEW, by its name or its number as `diorama ls` shows them.

    It has the mounts, network, names, user and clock that the view was given, and the caller's environment,
    directory, descriptors and terminal. The exit status is as for `diorama run`.

    \b
    diorama exec blue -- bash
    diorama exec 4711 -- cat /mnt/log
    """
    from diorama.control.client import outer_view, speak
    from diorama.control.joining import join, keep_closed

    words = list(command[1:] if command[0] == "--" else command)
    if not words:
        raise click.UsageError("Missing argument 'COMMAND [ARG]...'.")
    keep_closed()
    return join(speak(outer_view(view)), words)
