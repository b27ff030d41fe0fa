"""Stack: `diorama stack`, another network for one command, from inside a view."""

from __future__ import annotations

import click

from diorama.cli.program import become


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "-f",
    "--families",
    default="",
    metavar="FAMILY,...",
    help="Only for these address families: inet, inet6, netlink, others, or numbers.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell which families.")
@click.argument("path")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG]...")
def command(path: str, command: tuple[str, ...], *, families: str, verbose: bool) -> int:
    """Run COMMAND with the network stack that is mounted on PATH in the view that this is run in.

    \b
    diorama stack /dev/net/office -- ping db
    diorama stack -f netlink /dev/net/none -- ip addr
    """
    from diorama.cli.inside import choose_stack

    words = list(command[1:] if command[0] == "--" else command)
    if not words:
        raise click.UsageError("Missing argument 'COMMAND [ARG]...'.")
    chosen = choose_stack(path, families)
    if verbose:
        told = ", ".join(chosen) if chosen else "all address families but unix"
        click.echo(f"diorama: {path} for {told}", err=True)
    return become(words)
