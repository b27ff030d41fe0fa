"""Diff: `diorama diff`, what a layer changes."""

from __future__ import annotations

import grp
import json
import os
import pwd
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from diorama.modules.filesystems.layers.changes import Change

_LETTERS = {"added": "A", "changed": "M", "removed": "D"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.argument("layer", type=click.Path())
def command(layer: str, *, as_json: bool) -> int:
    """Tell what the views on LAYER have added (A), changed (M) and removed (D).

    For each name: its path, its type, its permissions, its owner, and what is different about it.  A file
    that was copied to the layer and is as the original is no change.

    \b
    diorama run --cow changes -- make install
    diorama diff changes
    """
    from diorama.modules.filesystems.layers.changes import find_changes
    from diorama.modules.filesystems.layers.layer import open_layer

    opened = open_layer(layer)
    try:
        for change in find_changes(opened):
            if as_json:
                click.echo(json.dumps(change.as_json(opened.lower)))
            else:
                click.echo(line_of(change, opened.lower))
    finally:
        opened.close()
    return 0


def line_of(change: Change, lower: bytes) -> str:
    """A change in one line."""
    path = os.fsdecode(lower.rstrip(b"/") + change.path)
    shown = path if path.isprintable() else json.dumps(path)
    owner = f"{_name_of_user(change.owner.uid)}:{_name_of_group(change.owner.gid)}"
    words = [_LETTERS[change.how], shown, change.kind, f"{change.owner.mode:04o}", owner]
    if change.what:
        words.append(f"({', '.join(change.what)})")
    return " ".join(words)


def _name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_of_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
