"""Umount: `diorama umount`, from inside a view."""

from __future__ import annotations

import click


@click.command()
@click.option("-l", "--lazy", is_flag=True, help="Even if it is in use: who is in it goes on there.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
def command(targets: tuple[str, ...], *, lazy: bool) -> int:
    """Take away what was mounted last on TARGET in the view that this is run in."""
    from diorama.cli.inside import unmount

    for target in targets:
        unmount(target, lazy=lazy)
    return 0
