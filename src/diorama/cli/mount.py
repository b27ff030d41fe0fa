"""Mount: `diorama mount`, from inside a view."""

from __future__ import annotations

import click


@click.command()
@click.option("-o", "--options", multiple=True, metavar="OPTION,...", help="Options: ro, rbind and others.")
@click.option("-t", "--type", "kind", default="diorama", metavar="TYPE", help="A type as for mount(8).")
@click.option("-r", "--read-only", is_flag=True, help="The same as -o ro.")
@click.option("--move", is_flag=True, help="SOURCE is a mount, which is put on TARGET instead.")
@click.argument("source")
@click.argument("target")
def command(
    source: str, target: str, *, options: tuple[str, ...], kind: str, read_only: bool, move: bool
) -> int:
    """Mount SOURCE on TARGET in the view that this is run in.

    SOURCE is a path, or SCHEME:REST, as for `diorama run --mount`; it is found in the view. The view must
    have been started with --grow, or have mounts of that kind.

    \b
    diorama mount zip:data.zip /mnt
    diorama mount -o ro ~/src /usr/src
    """
    from diorama.cli.inside import mount

    asked = [option for part in options for option in part.split(",") if option]
    asked += ["ro"] * (read_only and "ro" not in asked) + ["move"] * move
    mount(source, target, asked, kind)
    return 0
