"""Name: `diorama name`, what the view is called that this is run in."""

from __future__ import annotations

import os

import click

from diorama.errors import UsageError


@click.command()
@click.option("-P", "--prompt", is_flag=True, help="Print what a shell may show: HOST[VIEW], HOST outside.")
@click.argument("new", required=False, metavar="[NAME]")
def command(new: str | None, *, prompt: bool) -> int:
    """Print the name of the view that this is run in, its number if it has none; or give it a NAME.

    \b
    diorama name
    diorama name blue
    PS1='$(diorama name -P)$ '
    """
    from diorama.control.client import ask, own_view

    if new is not None:
        ask(own_view(), {"do": "name", "name": new})
        return 0
    try:
        found = ask(own_view(), {"do": "describe"})
    except UsageError:
        if not prompt:
            raise
        click.echo(os.uname().nodename)
        return 0
    name = found["name"] or str(found["pid"])
    click.echo(f"{os.uname().nodename}[{name}]" if prompt else name)
    return 0
