"""Commit: `diorama commit`, a layer's changes made on the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from diorama.cli import OWN_FAILURE

if TYPE_CHECKING:
    from diorama.modules.filesystems.layers.commit import Obstacle
    from diorama.modules.filesystems.layers.layer import Layer


@click.command()
@click.option("--partial", is_flag=True, help="Do what can be done, and leave the rest in the layer.")
@click.option("--dry-run", is_flag=True, help="Only tell what cannot be done.")
@click.argument("layer", type=click.Path())
def command(layer: str, *, partial: bool, dry_run: bool) -> int:
    """Make the changes of LAYER in the directory that it belongs to, and empty it.

    What cannot be done is told first, and then nothing is done unless --partial says so.  Each file appears
    at a stroke.  Who interrupts it runs it again.
    """
    from diorama.modules.filesystems.layers import commit
    from diorama.modules.filesystems.layers.changes import find_changes
    from diorama.modules.filesystems.layers.layer import open_layer

    opened = open_layer(layer)
    try:
        changes = list(find_changes(opened))
        found = list(commit.obstacles(changes, opened.lower))
        for obstacle in found:
            _tell(opened, obstacle)
        if dry_run or (found and not partial):
            return OWN_FAILURE if found else 0
        count, failed = commit.apply(opened, without=frozenset(obstacle.path for obstacle in found))
        for obstacle in failed:
            _tell(opened, obstacle)
        found += failed
        if not found:
            commit.clear(opened)
    finally:
        opened.close()
    click.echo(f"{count} changes made, {len(found)} left in {layer}")
    return OWN_FAILURE if found else 0


def _tell(layer: Layer, obstacle: Obstacle) -> None:
    path = os.fsdecode(layer.lower.rstrip(b"/") + obstacle.path)
    click.echo(f"cannot commit {path}: {obstacle.why}", err=True)
