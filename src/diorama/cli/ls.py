"""Ls: `diorama ls`, the views of this user that run."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def command(*, as_json: bool) -> int:
    """List the running views of this user, with their programs and mounts.

    \b
    diorama ls
    diorama ls --json
    """
    from diorama.control.client import descriptions

    found = descriptions()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return 0
    rows = [("VIEW", "NAME", "ENGINE", "MOUNTS", "PROGRAMS"), *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
    return 0


def _row(view: dict[str, Any]) -> tuple[str, ...]:
    programs = [f"{program['pid']} {_shown(program['command'])}" for program in view["programs"]]
    if "trouble" in view:
        return str(view["pid"]), view["name"] or "-", "-", "-", f"({view['trouble']})"
    mounts = str(len(view["mounts"]))
    return str(view["pid"]), view["name"] or "-", view["engine"] or "-", mounts, "; ".join(programs)


def _shown(command: str) -> str:
    """A command on one line, without what does something to a terminal, or what none can show."""
    return "".join([one if one.isprintable() else "?" for one in " ".join(command.split())])
