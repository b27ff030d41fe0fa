"""Explain: `diorama explain CALL`, what a call is to diorama."""

from __future__ import annotations

import click

from diorama.errors import UsageError


@click.command()
@click.argument("call")
def command(call: str) -> int:
    """Tell which request CALL is a spelling of, or why diorama leaves it alone.

    CALL is a name, a class (%file) or a regular expression (/stat).

    \b
    diorama explain openat
    diorama explain %network
    """
    from diorama import catalogue

    try:
        click.echo(catalogue.explain(call))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return 0
