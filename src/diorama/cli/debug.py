"""Debug: `diorama debug`, lines that tell how calls are decided, while programs run."""

from __future__ import annotations

import click

from diorama.cli.program import become


@click.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[VIEW] [+TAG|-TAG]... [-- COMMAND...]")
def command(words: tuple[str, ...]) -> int:
    """Tell on the standard error of a view, or in its --log, which calls are made and how they are decided.

    Inside a view, with a COMMAND: for that and all that it starts. With a VIEW: for all of it. Without tags
    those are printed that are on. Tags are files, io, mounts, net, processes, memory, signals, ipc,
    identity, clock, names, and all.

    \b
    diorama debug +files,-net -- make
    diorama debug blue +net
    diorama debug blue -all
    """
    from diorama.control.client import ask, outer_view, own_view

    view, tags, argv = _parse(list(words))
    if argv and view is not None:
        raise click.UsageError("a COMMAND is run in the view that this is run in: leave VIEW out")
    message = {"do": "debug", "tags": ",".join(tags), "here": bool(argv)}
    answer = ask(own_view() if view is None else outer_view(view), message)
    if not argv:
        click.echo(",".join(answer["tags"]) or "none")
        return 0
    return become(argv)


def _parse(words: list[str]) -> tuple[str | None, list[str], list[str]]:
    """VIEW, tags and command."""
    view = words.pop(0) if words and words[0][:1] not in ("+", "-") else None
    tags: list[str] = []
    while words and words[0] != "--" and words[0][:1] in ("+", "-"):
        tags.append(words.pop(0))
    argv = words[1:] if words[:1] == ["--"] else words
    return view, tags, argv
