"""Discard: `diorama discard`, a layer and its changes removed."""

from __future__ import annotations

import click


@click.command()
@click.argument("layer", type=click.Path())
def command(layer: str) -> int:
    """Remove LAYER with all changes in it; the host stays as it is."""
    from diorama.modules.filesystems.layers.layer import open_layer

    open_layer(layer).discard()
    return 0
