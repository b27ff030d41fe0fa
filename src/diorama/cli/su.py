"""Su: `diorama su`, another user for a command, from inside a view."""

from __future__ import annotations

import os
from pathlib import Path

import click

from diorama.cli.program import become


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-c", "--command", "script", metavar="COMMAND", help="Have the shell run COMMAND.")
@click.option("-s", "--shell", metavar="FILE", help="Run this shell instead of the user's.")
@click.option("-l", "--login", is_flag=True, help="Begin anew: in the user's home, with a login shell.")
@click.argument("user", default="root", metavar="[USER]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARG]...")
def command(
    user: str, arguments: tuple[str, ...], *, script: str | None, shell: str | None, login: bool
) -> int:
    """Be another user in the view that this is run in, root by default.

    USER is a name of the view's /etc/passwd or a number, with `:GROUP` for another group. Its shell is run,
    with HOME, SHELL, USER and LOGNAME as su(1) sets them. No password is asked for: a view is no boundary.

    \b
    diorama su
    diorama su -s /bin/sh daemon -c id
    """
    from diorama.cli.inside import be_user

    account = be_user(user)
    shell, home = shell or account.shell, account.home
    if account.uid or login:
        os.environ.update(USER=account.name, LOGNAME=account.name)
    os.environ.update(HOME=home, SHELL=shell)
    if login:
        _begin_anew(home)
    name = os.path.basename(shell)
    words = [f"-{name}" if login else name, *(() if script is None else ("-c", script)), *arguments]
    return become(words, shell)


def _begin_anew(home: str) -> None:
    kept = ("TERM", "HOME", "SHELL", "USER", "LOGNAME", "PATH")
    for variable in set(os.environ) - set(kept):
        del os.environ[variable]
    os.chdir(home if Path(home).is_dir() else "/")
